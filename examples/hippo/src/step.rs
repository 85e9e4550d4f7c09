//! A step: a reactor to its topics that runs a command for each message and publishes how it ended.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use balcony_event_log::{Headers, Message, Record};
use balcony_job::{Ended, Job};
use balcony_projector::{
    Delivery, DeliveryPolicy, Moment, Newest, Publisher, ReactError, Reactor, Start, Topics, cloud_event,
};
use serde_json::{Value, json};

use crate::config::{self, Config};
use crate::jobs::Jobs;

/// A step of the configuration.
pub(crate) struct Step {
    config: config::Step,
    /// What it reads, with the tractor's topic at the end.
    topics: Vec<Arc<str>>,
    publish: Option<Arc<str>>,
    output: Arc<str>,
    finish: Arc<str>,
    folder: PathBuf,
    jobs: Jobs,
    opened: Arc<OnceLock<Opened>>,
}

/// What steps work with, once the installation is open.
pub(crate) struct Opened {
    pub(crate) newest: Newest,
    /// The folder that notes which commands run.
    pub(crate) notes: PathBuf,
}

/// Marks what the tractor hauls: for which step, and where it stood.
pub(crate) const FOR_STEP: &str = "ce_hippostep";
pub(crate) const FROM: &str = "ce_hippofrom";
/// The longest text in a command's environment, and of its output that is kept, in bytes.
const LONGEST: usize = 16 << 10;
/// The most variables of one message.
const MOST: usize = 200;
/// How long the log and the read model may be away while a command's end is to be published.
const PATIENCE: Duration = Duration::from_hours(24);

impl Step {
    pub(crate) fn new(config: &config::Step, whole: &Config, topics: &Topics, opened: &Arc<OnceLock<Opened>>) -> Self {
        let read = config.subscribe.iter().map(String::as_str).chain([config::HAUL]);
        Self {
            topics: read.map(|topic| topics.get(topic).clone()).collect(),
            publish: config.publish.as_ref().map(|topic| topics.get(topic).clone()),
            output: topics.get(config::OUTPUT).clone(),
            finish: topics.get(config::FINISH).clone(),
            folder: whole.folder.clone(),
            jobs: Jobs::new(topics),
            opened: opened.clone(),
            config: config.clone(),
        }
    }
}

impl Reactor for Step {
    type Event = Record;

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
        let is_for_it = record.headers.get(FOR_STEP).is_none_or(|step| step == self.config.name.as_bytes());
        is_for_it && is_of_type(record, &self.config.types)
    }

    /// A job has ended once its finish message is in the log. What is delivered again has ended, or was under way.
    async fn react(&self, delivery: &Delivery<Record>, publisher: &Publisher) -> Result<(), ReactError> {
        let (id, message) = (delivery.id, &delivery.event);
        let opened =
            self.opened.get().ok_or_else(|| ReactError::Retry("only hippo itself runs commands".to_owned()))?;
        let has_ended = self.jobs.has_ended(&opened.newest, id).await;
        if has_ended.map_err(|error| ReactError::Retry(error.to_string()))? {
            return Ok(());
        }
        let config::Step { name, command, timeout, host, port, .. } = &self.config;
        let mut environment = environment(message);
        environment.extend([("HIPPO_STEP".into(), name.clone()), ("HIPPO_JOB_ID".into(), id.to_string())]);
        if let Some(port) = port {
            let host = host.clone().unwrap_or_else(|| "127.0.0.1".to_owned());
            environment.extend([("HIPPO_HOST".into(), host), ("HIPPO_PORT".into(), port.to_string())]);
        }
        let note = opened.notes.join(id.to_string());
        let job = Job { command, folder: &self.folder, environment, timeout: *timeout, note };
        let Ended { failure, stdout, stderr, duration } = job.run(&message.payload).await;

        let is_success = failure.is_none();
        let output = json!({
            "job_id": id, "step": name, "message": place(message), "failure": failure,
            "stdout": kept(&stdout), "stderr": kept(&stderr),
        });
        let finish = json!({
            "hippo_name": name, "job_name": command.join(" "), "job_id": id, "is_success": is_success,
            "finish_time": Moment::now(), "duration_time": duration.as_secs_f64(),
        });
        let key = if message.key.is_empty() { id.to_string().into_bytes() } else { message.key.clone() };
        let event = |kind, payload| event(name, kind, &key, payload);
        if let (true, Some(topic)) = (is_success, &self.publish) {
            let payload = stdout.strip_suffix(b"\n").unwrap_or(&stdout).to_vec();
            publisher.publish(topic, event("message", payload)).await?;
        }
        publisher.publish(&self.output, event("output", output.to_string().into())).await?;
        publisher.publish(&self.finish, event("finish", finish.to_string().into())).await.map(drop)
    }
}

/// What a command finds in its environment: where the message stood first, its key, its headers, and the fields of its
/// payload when that is an object in JSON.
fn environment(message: &Record) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut all = vec![
        ("HIPPO_MESSAGE".to_owned(), place(message)),
        ("HIPPO_TIME".to_owned(), Moment::from_milliseconds(message.timestamp).to_string()),
        ("HIPPO_KEY".to_owned(), text(&message.key)),
    ];
    all.extend(message.headers.iter().map(|(name, value)| (variable("HEADER", name), text(value))));
    if let Ok(Value::Object(fields)) = serde_json::from_slice(&message.payload) {
        let value = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        all.extend(fields.into_iter().map(|(name, field)| (variable("MESSAGE", &name), value(field))));
    }
    all.retain(|(_, value)| value.len() <= LONGEST && !value.contains('\0'));
    all.truncate(MOST);
    all
}

/// The name of a variable: no other program's begins like it.
fn variable(kind: &str, name: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    format!("{kind}_{}", name.chars().map(letter).take(100).collect::<String>())
}

/// The end of what was printed, as a text that every database takes.
fn kept(printed: &[u8]) -> String {
    String::from_utf8_lossy(&printed[printed.len().saturating_sub(LONGEST)..]).replace('\0', "\u{fffd}")
}

/// Where a record stood first, as one text.
pub(crate) fn place(record: &Record) -> String {
    let here = || format!("{}/{}/{}", record.partition.topic, record.partition.partition, record.offset);
    record.headers.get(FROM).map_or_else(here, |from| String::from_utf8_lossy(from).into_owned())
}

/// Whether the record is an event of one of these types, or any when there are none.
pub(crate) fn is_of_type(record: &Record, types: &[String]) -> bool {
    types.is_empty() || types.iter().any(|one| cloud_event::is_of_type(record, one))
}

/// A CloudEvent of the step or frontier called `name`. Its id comes from whoever publishes it.
pub(crate) fn event(name: &str, kind: &str, key: &[u8], payload: Vec<u8>) -> Message {
    let mut headers = Headers::from_iter([
        ("ce_specversion", "1.0".to_owned()),
        ("ce_source", format!("/hippo/{name}")),
        ("ce_type", format!("hippo.{kind}.v1")),
        ("ce_time", Moment::now().to_string()),
    ]);
    if serde_json::from_slice::<serde::de::IgnoredAny>(&payload).is_ok() {
        headers.push("content-type", b"application/json");
    }
    Message { key: key.to_vec(), headers, payload }
}
