use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::Topic;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const PATIENCE: Duration = Duration::from_secs(30);

/// A transaction, as other writers of the same cluster may use them. The log's own appends never do.
pub(crate) struct Transaction {
    producer: Arc<BaseProducer>,
}

impl Transaction {
    pub(crate) async fn begin(bootstrap_servers: &str) -> Self {
        let transactional_id = crate::log_under_test::topic("transaction", 0).name;
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            .set("transactional.id", &*transactional_id)
            .create()
            .expect("a producer can be made");
        let transaction = Self { producer: Arc::new(producer) };
        transaction
            .blocking(|producer| {
                producer.init_transactions(PATIENCE)?;
                producer.begin_transaction()
            })
            .await;
        transaction
    }

    pub(crate) fn append(&mut self, topic: &Topic, partition: i32, payload: &str) {
        let record = BaseRecord::<[u8], str>::to(&topic.name).partition(partition).payload(payload);
        self.producer.send(record).map_err(|(error, _)| error).expect("the producer takes the record");
    }

    /// Waits until the brokers have what was appended.
    pub(crate) async fn flush(&self) {
        self.blocking(|producer| producer.flush(PATIENCE)).await;
    }

    pub(crate) async fn commit(self) {
        self.blocking(|producer| producer.commit_transaction(PATIENCE)).await;
    }

    pub(crate) async fn abort(self) {
        self.flush().await;
        self.blocking(|producer| producer.abort_transaction(PATIENCE)).await;
    }

    async fn blocking(&self, work: impl FnOnce(&BaseProducer) -> KafkaResult<()> + Send + 'static) {
        let producer = Arc::clone(&self.producer);
        let worked = tokio::task::spawn_blocking(move || work(&producer)).await;
        worked.expect("it does not panic").expect("the transaction goes on");
    }
}
