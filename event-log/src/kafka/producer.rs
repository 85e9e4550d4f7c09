use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use super::client::{self, LogLines};
use super::used::Used;
use crate::{AppendError, Headers, LogError, Message, Position, Topic, TopicPartition};

/// How long a producer that is replaced has to answer what it took.
const RETIRE_PATIENCE: Duration = Duration::from_secs(10);

/// Appends records through one idempotent producer, which is replaced when it has failed for good.
pub(super) struct Appender {
    config: ClientConfig,
    topics: Vec<Arc<str>>,
    used: Arc<Used>,
    producer: RwLock<FutureProducer<LogLines>>,
}

impl Appender {
    pub(super) fn new(bootstrap_servers: &str, topics: &[Topic], used: Arc<Used>) -> Result<Self, LogError> {
        let mut config = client::config(bootstrap_servers);
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            // Where Java's producer puts a key too.
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", "5000")
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "65536");
        let producer = config.create_with_context(LogLines).map_err(|error| client::not_created(&error))?;
        let topics = topics.iter().map(|topic| Arc::clone(&topic.name)).collect();
        Ok(Self { config, topics, used, producer: RwLock::new(producer) })
    }

    pub(super) async fn append(&self, topic: &str, message: Message) -> Result<Position, AppendError> {
        let topic = self
            .topics
            .iter()
            .find(|known| &***known == topic)
            .ok_or_else(|| AppendError::UnknownTopic { topic: topic.into() })?;
        let record = FutureRecord {
            topic,
            partition: self.used.partition(topic, message.route()),
            payload: Some(&message.payload),
            key: (!message.key.is_empty()).then_some(&message.key),
            timestamp: None,
            headers: Some(to_kafka(&message.headers)),
        };
        // In a block of its own, so that no producer is held, and then dropped, by who waits for its answer.
        let enqueued = {
            let producer = self.producer.read().unwrap_or_else(PoisonError::into_inner);
            producer.send_result(record).map_err(|(error, _)| error)
        };
        let delivery = match enqueued {
            Ok(delivery) => delivery,
            Err(error) => {
                self.replace_failed_producer();
                return Err(not_enqueued(topic, &error));
            }
        };
        match delivery.await {
            Ok(Ok(delivered)) => Ok(Position {
                partition: TopicPartition::new(Arc::clone(topic), delivered.partition),
                offset: delivered.offset,
            }),
            Ok(Err((error, _))) => {
                self.replace_failed_producer();
                Err(not_delivered(topic, &error))
            }
            Err(_) => Err(AppendError::Unknown("the producer was replaced".to_owned())),
        }
    }

    /// Replaces the producer if it has met an error after which an idempotent producer may never send again, such
    /// as a broker that lost what it had acknowledged.
    fn replace_failed_producer(&self) {
        if self.producer.read().unwrap_or_else(PoisonError::into_inner).client().fatal_error().is_none() {
            return;
        }
        let mut producer = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        // Another append may have been faster.
        let Some((code, reason)) = producer.client().fatal_error() else { return };
        match self.config.create_with_context(LogLines) {
            Ok(replacement) => {
                tracing::error!(%code, reason, "the Kafka producer has failed and is replaced");
                retire(std::mem::replace(&mut *producer, replacement));
            }
            Err(error) => tracing::error!(%code, reason, %error, "the Kafka producer cannot be replaced"),
        }
    }
}

/// Lets `producer` answer what it took and ends it, on a thread of its own because both block.
fn retire(producer: FutureProducer<LogLines>) {
    let retired = thread::Builder::new().name("log-retire".to_owned()).spawn(move || {
        if let Err(error) = producer.flush(RETIRE_PATIENCE) {
            tracing::warn!(%error, "the replaced Kafka producer left appends unanswered");
        }
    });
    if let Err(error) = retired {
        tracing::warn!(%error, "no thread to end the replaced Kafka producer");
    }
}

fn to_kafka(headers: &Headers) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |kafka, (key, value)| {
        kafka.insert(Header { key, value: Some(value) })
    })
}

/// The error of a record that the producer did not take.
fn not_enqueued(topic: &Arc<str>, error: &KafkaError) -> AppendError {
    refused(topic, error).unwrap_or_else(|| AppendError::Unavailable(error.to_string()))
}

/// The error of a record that the producer took and gave up on. Unless the reason proves that no broker ever
/// wrote it, an earlier try may have been written and only its answer lost.
fn not_delivered(topic: &Arc<str>, error: &KafkaError) -> AppendError {
    let unwritten = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::PurgeQueue,
        )
    );
    refused(topic, error).unwrap_or_else(|| {
        let reason = error.to_string();
        if unwritten { AppendError::Unavailable(reason) } else { AppendError::Unknown(reason) }
    })
}

/// The error of a record that could never be written.
fn refused(topic: &Arc<str>, error: &KafkaError) -> Option<AppendError> {
    match error.rdkafka_error_code()? {
        RDKafkaErrorCode::MessageSizeTooLarge => Some(AppendError::TooLarge),
        // A partition was there when it became one of those that are used: it has gone with its topic.
        RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownPartition => Some(AppendError::UnknownTopic { topic: Arc::clone(topic) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;

    fn cluster_and_appender() -> (MockCluster<'static, DefaultProducerContext>, Appender) {
        let cluster = MockCluster::new(1).expect("a cluster can be played");
        cluster.create_topic("events", 1, 1).expect("the topic can be made");
        let topic = Topic { name: "events".into(), partitions: 1, replication: 1, retention: None };
        let appender =
            Appender::new(&cluster.bootstrap_servers(), &[topic], Arc::default()).expect("a producer can be made");
        (cluster, appender)
    }

    async fn append(appender: &Appender) -> Result<Position, AppendError> {
        appender.append("events", Message { payload: b"payload".to_vec(), ..Message::default() }).await
    }

    #[tokio::test]
    async fn a_producer_that_has_failed_for_good_is_replaced() {
        let (cluster, appender) = cluster_and_appender();
        append(&appender).await.expect("the cluster takes the record");
        cluster
            .request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
        let failed = append(&appender).await;
        assert!(matches!(failed, Err(AppendError::Unknown(_))), "{failed:?}");
        append(&appender).await.expect("the next producer appends");
    }

    #[tokio::test]
    async fn a_record_waits_until_enough_replicas_are_back() {
        let (cluster, appender) = cluster_and_appender();
        cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 3]);
        append(&appender).await.expect("the cluster takes the record at last");
    }

    #[tokio::test]
    async fn a_record_that_the_broker_finds_too_large_is_named_so() {
        let (cluster, appender) = cluster_and_appender();
        cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
        let refused = append(&appender).await;
        assert!(matches!(refused, Err(AppendError::TooLarge)), "{refused:?}");
    }

    #[tokio::test]
    async fn a_cluster_that_is_down_leaves_the_outcome_open_and_gets_the_next_record() {
        let (cluster, appender) = cluster_and_appender();
        append(&appender).await.expect("the cluster takes the record");
        cluster.broker_down(1).expect("the broker goes down");
        let open = append(&appender).await;
        assert!(matches!(open, Err(AppendError::Unknown(_))), "{open:?}");
        cluster.broker_up(1).expect("the broker comes up");
        append(&appender).await.expect("the cluster takes the record");
    }
}
