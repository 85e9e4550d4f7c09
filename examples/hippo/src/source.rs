//! Sources: topics of other programs, copied record by record.

use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{EventLog, Incoming, LogError, Message, Positions, Topic};
use balcony_event_log::{embedded::EmbeddedLog, kafka::KafkaLog};
use balcony_projector::Deployment;
use balcony_store::Uuid;

use crate::config::{self, Config};
use crate::memory::{Announcement, Memory};
use crate::step::{FROM, is_of_type, place};

/// The pause before a log that cannot be read is opened again.
const PAUSE: Duration = Duration::from_secs(5);

/// Copies what `source` has, and what comes, to `topic`; in order and each record once. Whoever drops it ends it.
pub(crate) async fn copy(
    source: config::Source,
    config: Arc<Config>,
    deployment: Deployment,
    topic: Arc<str>,
    memory: Memory,
) {
    loop {
        if let Err(error) = try_copy(&source, &config, &deployment, &topic, &memory).await {
            tracing::warn!(topic = source.topic, error = format!("{error:#}"), "the source cannot be read");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn try_copy(
    source: &config::Source,
    config: &Config,
    deployment: &Deployment,
    topic: &str,
    memory: &Memory,
) -> anyhow::Result<()> {
    let theirs = open(source, config, deployment).await?;
    let names = [Arc::from(source.topic.as_str())];
    let mut from: Positions = theirs.starts(&names).await?;
    for partition in from.clone().partitions() {
        let sql = "SELECT COALESCE(MAX(version), -1) FROM announced WHERE thing = $1";
        let thing = thing(&partition.topic, partition.partition);
        let copied: Vec<(i64,)> = memory.fetch("announced", sql, &[thing.into()]).await?;
        from.advance(partition, copied[0].0 + 1);
    }
    let mut reader = theirs.read(from);
    loop {
        let records = match reader.next().await {
            Ok(Incoming::Records(batch)) => batch.records,
            Ok(_) => continue,
            Err(LogError::Unavailable(reason)) => {
                tracing::warn!(topic = source.topic, reason, "the source is away");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for record in records.into_iter().filter(|record| is_of_type(record, &source.types)) {
            let (number, offset) = (record.partition.partition, record.offset);
            let about = Announcement { thing: thing(&record.partition.topic, number), version: offset };
            let mut headers = record.headers;
            headers.push(FROM, place(&record.partition.topic, number, offset).as_bytes());
            memory.announce(topic, &about, Message { key: record.key, headers, payload: record.payload }).await?;
        }
    }
}

/// Opens the other program's log for reading, beside the processes that run on it.
async fn open(source: &config::Source, config: &Config, deployment: &Deployment) -> anyhow::Result<Arc<dyn EventLog>> {
    let topics = [Topic { name: source.topic.as_str().into(), partitions: 1, replication: 1, retention: None }];
    match (&source.data_dir, deployment) {
        (Some(data_dir), _) => {
            let file = config.folder.join(data_dir).join("log.db");
            let log = tokio::task::spawn_blocking(move || EmbeddedLog::open_beside(&file, &topics)).await??;
            Ok(Arc::new(log))
        }
        (None, Deployment::Distributed { brokers, .. }) => Ok(Arc::new(KafkaLog::open_beside(brokers, &topics).await?)),
        (None, Deployment::Embedded { .. }) => anyhow::bail!("the source has no data_dir, and there is no Kafka"),
    }
}

fn thing(topic: &str, partition: i32) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{topic}/{partition}").as_bytes())
}
