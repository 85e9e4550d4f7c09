//! Sources: topics of other programs, copied record by record.

use std::path::Path;
use std::sync::Arc;

use balcony_event_log::{EventLog, LogError, Topic};
use balcony_event_log::{embedded::EmbeddedLog, kafka::KafkaLog};
use balcony_projector::{Deployment, Intake, IntakeError};

use crate::config::Source;
use crate::step::is_of_type;

/// Copies what `source` has, and what comes, to `topic`, until something fails.
pub(crate) async fn copy(
    source: Source,
    folder: Arc<Path>,
    deployment: Deployment,
    topic: Arc<str>,
    intake: Intake,
) -> Result<(), IntakeError> {
    let name: Arc<str> = source.topic.as_str().into();
    let topics = [Topic { name: name.clone(), partitions: 1, replication: 1, retention: None }];
    // Beside the processes that run on it: it is only read.
    let theirs: Arc<dyn EventLog> = match (&source.data_dir, deployment) {
        (Some(data_dir), _) => {
            let file = folder.join(data_dir).join("log.db");
            let opened = tokio::task::spawn_blocking(move || EmbeddedLog::open_beside(&file, &topics)).await;
            Arc::new(opened.map_err(|error| IntakeError::Outside(error.to_string()))??)
        }
        (None, Deployment::Distributed { brokers, .. }) => Arc::new(KafkaLog::open_beside(&brokers, &topics).await?),
        (None, Deployment::Embedded { .. }) => {
            let what = "a source needs its data_dir where there is no Kafka";
            return Err(LogError::Misconfigured(what.to_owned()).into());
        }
    };
    intake.copy(theirs.as_ref(), &name, &topic, |record| is_of_type(record, &source.types)).await
}
