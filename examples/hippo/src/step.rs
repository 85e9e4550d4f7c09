//! A step: a reactor to its topics that runs a command for each message and publishes how it ended.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use balcony_event_log::{Headers, Message, Record};
use balcony_projector::{Decode, Delivery, DeliveryPolicy, Moment, Publisher, ReactError, Reactor, Start, Topics};
use serde_json::{Value, json};

use crate::config::{self, Config};
use crate::job;
use crate::jobs;
use crate::memory::Memory;

/// A step of the configuration.
pub(crate) struct Step {
    config: config::Step,
    /// What it reads, with the tractor's topic at the end.
    topics: Vec<Arc<str>>,
    publish: Option<Arc<str>>,
    output: Arc<str>,
    finish: Arc<str>,
    folder: PathBuf,
    opened: Arc<OnceLock<Opened>>,
}

/// What a step works with, once the installation is open.
pub(crate) struct Opened {
    pub(crate) memory: Memory,
    /// The folder that notes which commands run.
    pub(crate) notes: PathBuf,
}

/// A message that starts a step.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    /// Where it stood first: topic, partition and offset.
    place: String,
    /// When it was appended, in milliseconds since 1970.
    at: i64,
    key: Vec<u8>,
    headers: Headers,
    payload: Vec<u8>,
}

/// Marks what the tractor hauls: for which step.
pub(crate) const FOR_STEP: &str = "ce_hippostep";
/// Where what was hauled or copied stood.
pub(crate) const FROM: &str = "ce_hippofrom";
/// The longest text in a command's environment, in bytes; what is longer is on its standard input alone.
const LONGEST: usize = 16 << 10;
/// How long the log and the read model may be away while a command's end is to be published.
const PATIENCE: Duration = Duration::from_hours(24);

impl Step {
    /// The step that `config` describes.
    pub(crate) fn new(config: &config::Step, whole: &Config, topics: &Topics, opened: &Arc<OnceLock<Opened>>) -> Self {
        let read = config.subscribe.iter().map(String::as_str).chain([config::HAUL]);
        Self {
            topics: read.map(|topic| topics.get(topic).clone()).collect(),
            publish: config.publish.as_ref().map(|topic| topics.get(topic).clone()),
            output: topics.get(config::OUTPUT).clone(),
            finish: topics.get(config::FINISH).clone(),
            folder: whole.folder.clone(),
            opened: opened.clone(),
            config: config.clone(),
        }
    }
}

impl Reactor for Step {
    type Event = Started;

    fn name(&self) -> &str {
        &self.config.name
    }

    fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    fn start(&self) -> Start {
        Start::Beginning
    }

    fn policy(&self) -> DeliveryPolicy {
        let patience = self.config.timeout + PATIENCE;
        DeliveryPolicy { in_flight: self.config.concurrency, attempts: u32::MAX, patience, ..DeliveryPolicy::default() }
    }

    fn wants(&self, record: &Record) -> bool {
        let hauled_for = record.headers.get(FOR_STEP).is_none_or(|step| step == self.config.name.as_bytes());
        hauled_for && is_of_type(record, &self.config.types)
    }

    /// A job is done once its finish message is in the log. What is delivered again is done already or was under way.
    async fn react(&self, delivery: &Delivery<Started>, publisher: &Publisher) -> Result<(), ReactError> {
        let (job_id, message) = (delivery.id, &delivery.event);
        let opened = self.opened.get().ok_or_else(|| ReactError::Retry("hippo is not open".to_owned()))?;
        let has_ended = jobs::has_ended(&opened.memory, job_id).await;
        if has_ended.map_err(|error| ReactError::Retry(format!("{error:#}")))? {
            return Ok(());
        }
        let mut environment = message.environment();
        environment
            .extend([("HIPPO_STEP".into(), self.config.name.clone()), ("HIPPO_JOB_ID".into(), job_id.to_string())]);
        if let Some(port) = self.config.port {
            let host = self.config.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned());
            environment.extend([("HIPPO_HOST".into(), host), ("HIPPO_PORT".into(), port.to_string())]);
        }
        let ended = job::run(&self.config, &self.folder, &opened.notes, job_id, environment, &message.payload).await;

        let job = job_id.to_string();
        let key = if message.key.is_empty() { job.as_bytes() } else { &message.key };
        let source = format!("/hippo/{}", self.config.name);
        if let (None, Some(topic)) = (&ended.failure, &self.publish) {
            let line = ended.stdout.strip_suffix(b"\n").unwrap_or(&ended.stdout);
            publisher.publish(topic, event(&source, "hippo.message.v1", key, line.to_vec())).await?;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LONGEST)..]).into_owned();
        let output = json!({
            "job_id": job_id, "step": self.config.name, "message": message.place, "failure": ended.failure,
            "stdout": text(&ended.stdout), "stderr": text(&ended.stderr),
        });
        publisher.publish(&self.output, event(&source, "hippo.output.v1", key, output.to_string().into())).await?;
        let finish = json!({
            "hippo_name": self.config.name, "job_name": self.config.command.join(" "), "job_id": job_id,
            "is_success": ended.failure.is_none(), "finish_time": now(),
            "duration_time": ended.duration.as_secs_f64(),
        });
        publisher.publish(&self.finish, event(&source, "hippo.finish.v1", key, finish.to_string().into())).await?;
        Ok(())
    }
}

impl Decode for Started {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let Record { partition, offset, timestamp, key, headers, payload } = record.clone();
        let from = headers.get(FROM).map(|from| String::from_utf8_lossy(from).into_owned());
        let place = from.unwrap_or_else(|| place(&partition.topic, partition.partition, offset));
        Ok(Some(Self { place, at: timestamp, key, headers, payload }))
    }
}

impl Started {
    /// What a command finds in its environment: where the message stood, its key, its headers, and the fields of its
    /// payload when that is an object in JSON.
    fn environment(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut all = vec![
            ("HIPPO_MESSAGE".to_owned(), self.place.clone()),
            ("HIPPO_TIME".to_owned(), Moment::from_milliseconds(self.at).to_string()),
            ("HIPPO_KEY".to_owned(), text(&self.key)),
        ];
        all.extend(self.headers.iter().map(|(name, value)| (variable("HEADER", name), text(value))));
        if let Ok(Value::Object(fields)) = serde_json::from_slice(&self.payload) {
            let value = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            all.extend(fields.into_iter().map(|(name, field)| (variable("MESSAGE", &name), value(field))));
        }
        all.retain(|(_, value)| value.len() <= LONGEST && !value.contains('\0'));
        all.truncate(200);
        all
    }
}

/// The name of a variable, which no name of another program's begins like.
fn variable(kind: &str, name: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    format!("{kind}_{}", name.chars().map(letter).take(100).collect::<String>())
}

/// A place in the log, as one text.
pub(crate) fn place(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}/{partition}/{offset}")
}

/// This moment.
pub(crate) fn now() -> Moment {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Moment::from_milliseconds(i64::try_from(since.as_millis()).unwrap_or(0))
}

/// Whether the record is an event of one of these types, or any when there are none.
pub(crate) fn is_of_type(record: &Record, types: &[String]) -> bool {
    let its = record.headers.get("ce_type").unwrap_or_default();
    types.is_empty() || types.iter().any(|one| one.as_bytes() == its)
}

/// A CloudEvent; its id comes from whoever publishes it.
pub(crate) fn event(source: &str, its_type: &str, key: &[u8], payload: Vec<u8>) -> Message {
    let mut headers = Headers::new();
    for (name, value) in [("specversion", "1.0"), ("source", source), ("type", its_type), ("time", &now().to_string())]
    {
        headers.push(&format!("ce_{name}"), value.as_bytes());
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(&payload).is_ok() {
        headers.push("content-type", b"application/json");
    }
    Message { key: key.to_vec(), headers, payload }
}
