//! A step: a reactor to its topics that runs a command for each message and publishes how it ended.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use balcony_event_log::{Message, Record};
use balcony_job::{Environment, Job};
use balcony_projector::{Delivery, DeliveryPolicy, Moment, Newest, Publisher, ReactError, Reactor, Start, Topics};
use balcony_projector::{Tractor, cloud_event};
use balcony_store::Uuid;
use serde_json::json;

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
    tractor: Tractor,
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
            tractor: tractor(topics),
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
        self.tractor.is_for(record, &self.config.name) && cloud_event::is_of_one_of(record, &self.config.types)
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
        let config::Step { name, command, timeout, .. } = &self.config;
        let (place, environment) = (self.tractor.place(message), self.environment(id, message));
        let note = opened.notes.join(id.to_string());
        let job = Job { command, folder: &self.folder, environment, timeout: *timeout, note };
        let ended = job.run(&message.payload).await;

        let is_success = ended.failure.is_none();
        let output = json!({
            "job_id": id, "step": name, "message": place, "failure": ended.failure,
            "stdout": ended.last_of_stdout(), "stderr": ended.last_of_stderr(),
        });
        let finish = json!({
            "hippo_name": name, "job_name": command.join(" "), "job_id": id, "is_success": is_success,
            "finish_time": Moment::now(), "duration_time": ended.duration.as_secs_f64(),
        });
        let key = if message.key.is_empty() { id.to_string().into_bytes() } else { message.key.clone() };
        let event = |kind, payload| event(name, kind, &key, payload);
        if let (true, Some(topic)) = (is_success, &self.publish) {
            let payload = ended.stdout.strip_suffix(b"\n").unwrap_or(&ended.stdout).to_vec();
            publisher.publish(topic, event("message", payload)).await?;
        }
        publisher.publish(&self.output, event("output", output.to_string().into())).await?;
        publisher.publish(&self.finish, event("finish", finish.to_string().into())).await.map(drop)
    }
}

impl Step {
    /// What a command finds in its environment: which job it is, where the message stood first, its key, its headers, and the
    /// fields of its payload when that is an object in JSON.
    fn environment(&self, id: Uuid, message: &Record) -> Environment {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut all = Environment::new();
        all.set("HIPPO_STEP", &self.config.name);
        all.set("HIPPO_JOB_ID", id.to_string());
        if let Some(port) = self.config.port {
            all.set("HIPPO_HOST", self.config.host.as_deref().unwrap_or("127.0.0.1"));
            all.set("HIPPO_PORT", port.to_string());
        }
        all.set("HIPPO_MESSAGE", self.tractor.place(message));
        all.set("HIPPO_TIME", Moment::from_milliseconds(message.timestamp).to_string());
        all.set("HIPPO_KEY", text(&message.key));
        message.headers.iter().for_each(|(name, value)| all.set_of("HEADER", name, text(value)));
        all.set_fields("MESSAGE", &message.payload);
        all
    }
}

/// What hauls messages to steps again.
pub(crate) fn tractor(topics: &Topics) -> Tractor {
    Tractor::new("hippo", topics.get(config::HAUL).clone())
}

/// A CloudEvent of the step or frontier called `name`. Its id comes from whoever publishes it.
pub(crate) fn event(name: &str, kind: &str, key: &[u8], payload: Vec<u8>) -> Message {
    cloud_event::message(&format!("/hippo/{name}"), &format!("hippo.{kind}.v1"), key, payload)
}
