//! What is peculiar to the lines of one program.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use balcony_event_log::Message;

use super::place::Topic;
use crate::{Application, Settings, Topics};

/// What is peculiar to the lines of one program: its topics, the names that it gives, what it checks.
pub(in crate::operations) struct Format {
    pub(super) topics: Topics,
    /// The extension attribute that says where the record stood.
    pub(super) position: String,
    /// The type of a wrapper. It is never in a log.
    pub(super) wrapper_type: String,
    /// The source of a wrapper.
    pub(super) source: String,
    check: Option<Arc<Check>>,
}

type Check = dyn Fn(&Message) -> Result<Cow<'static, str>, String> + Send + Sync;

impl Format {
    pub(super) fn new(application: &Application, settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self::with_topics(application, settings.topics(application)?))
    }

    pub(in crate::operations) fn with_topics(application: &Application, topics: Topics) -> Self {
        let name = application.namespace();
        Self {
            topics,
            position: format!("{name}position"),
            wrapper_type: format!("{name}.log.record.v1"),
            source: format!("/{name}"),
            check: application.import_check().cloned(),
        }
    }

    /// Checks a CloudEvent. Gives the topic into which it goes where its line does not say so, if that is known.
    pub(super) fn check(&self, message: &Message) -> anyhow::Result<Option<Topic>> {
        let Some(check) = &self.check else {
            let version = message.headers.get("ce_specversion").unwrap_or_default();
            if version != b"1.0" {
                let version = String::from_utf8_lossy(version);
                bail!("is no CloudEvent: the attribute specversion is {version:?}, not 1.0");
            }
            let mut topics = self.topics.iter();
            let only = topics.next().filter(|_| topics.next().is_none());
            return Ok(only.map(|_| Topic::FIRST));
        };
        let short = check(message).map_err(|reason| anyhow!("{}", without_line(&reason)))?;
        Ok(Some(Topic::called(&short, &self.topics)?))
    }

    /// The topic of a line that says neither where its record stood nor what it is.
    pub(super) fn only_topic(&self, known: Option<Topic>) -> anyhow::Result<Topic> {
        known.with_context(|| {
            format!("does not say which topic it belongs to: the attribute {} is missing", self.position)
        })
    }
}

/// To serde_json every line is line 1.
pub(super) fn without_line(reason: &str) -> &str {
    reason.rsplit_once(" at line ").map_or(reason, |(reason, _)| reason)
}

#[cfg(test)]
pub(super) mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{Catalogue, TopicSpec};

    #[derive(Deserialize)]
    struct Added {
        #[serde(rename = "order_id")]
        _order_id: String,
        #[serde(rename = "item_id")]
        _item_id: String,
    }

    /// The program `orders`, which checks its events as other programs do theirs.
    pub(in super::super) fn orders() -> Application {
        let topics = [TopicSpec::forever("events"), TopicSpec::kept_for("views", std::time::Duration::from_secs(60))];
        Application::new("orders", topics, |_| Catalogue::new()).with_import_check(check)
    }

    fn check(message: &Message) -> Result<Cow<'static, str>, String> {
        let header = |name| message.headers.get(name).map(String::from_utf8_lossy).unwrap_or_default();
        let version = header("ce_specversion");
        if version != "1.0" {
            return Err(format!("is no CloudEvent: the attribute specversion is {version:?}, not 1.0"));
        }
        if header("ce_time").is_empty() {
            return Err("is no CloudEvent: the attribute time is missing".into());
        }
        let event_type = header("ce_type");
        let topic = match &*event_type {
            "orders.item.added.v1" => "events",
            "orders.page.viewed.v1" => "views",
            _ => return Ok("events".into()),
        };
        if topic == "events"
            && let Err(error) = serde_json::from_slice::<Added>(&message.payload)
        {
            return Err(format!("the data is no {event_type}: {error}"));
        }
        if message.key.is_empty() {
            return Err("the attribute partitionkey is missing; it is the order's id".into());
        }
        Ok(topic.into())
    }

    /// What is peculiar to the lines of `application`.
    pub(in super::super) fn format_of(application: &Application) -> Format {
        Format::with_topics(application, Topics::with_prefix("t.", application.topics()))
    }
}
