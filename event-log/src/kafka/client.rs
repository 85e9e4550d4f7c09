use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaRespErr;

use crate::LogError;

/// How long a topic that was just made may be unknown to some of the brokers.
pub(super) const PROPAGATION: Duration = Duration::from_secs(1);

/// What all clients of the cluster have in common.
pub(super) fn config(bootstrap_servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap_servers)
        .set("client.id", "event-log")
        // The default lets a record for a topic that is not there wait until it times out.
        .set("topic.metadata.propagation.max.ms", PROPAGATION.as_millis().to_string())
        // The default lets a client wait for ten seconds after the broker is back.
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true");
    config
}

/// Hands librdkafka's log lines on to `tracing`. Its errors are no more than warnings: it goes on by itself.
pub(super) struct LogLines;

impl ClientContext for LogLines {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka client");
    }
}

impl ConsumerContext for LogLines {}

pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, "{line}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, "{line}"),
        RDKafkaLogLevel::Debug => tracing::debug!(facility, "{line}"),
    }
}

/// The error of a client that could not be made from its configuration.
pub(super) fn not_created(error: &KafkaError) -> LogError {
    LogError::Misconfigured(format!("no Kafka client can be made of these settings: {error}"))
}

pub(super) fn unavailable(error: &KafkaError) -> LogError {
    LogError::Unavailable(error.to_string())
}

/// Whether the cluster says that it has no such topic, in its answer about one topic. One that is being created or has
/// no leader is not unknown.
pub(super) fn is_unknown_topic(metadata: &Metadata) -> bool {
    let unknown = Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    metadata.topics().iter().any(|topic| topic.error() == unknown)
}
