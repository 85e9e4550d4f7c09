//! What a distributed installation needs of Kafka and PostgreSQL, or that this program is built without them.

pub(super) use self::backend::{open_log, open_log_beside, place};

#[cfg(all(feature = "kafka", feature = "postgres"))]
mod backend {
    use std::sync::Arc;

    use balcony_event_log::kafka::KafkaLog;
    use balcony_event_log::{EventLog, LogError, Topic};
    use balcony_store::DatabasePlace;

    pub(in super::super) async fn open_log(
        brokers: &str,
        topics: &[Topic],
        known: &[Arc<str>],
    ) -> Result<Arc<dyn EventLog>, LogError> {
        Ok(Arc::new(KafkaLog::open_again(brokers, topics, known).await?))
    }

    pub(in super::super) async fn open_log_beside(
        brokers: &str,
        topics: &[Topic],
    ) -> Result<Arc<dyn EventLog>, LogError> {
        Ok(Arc::new(KafkaLog::open_beside(brokers, topics).await?))
    }

    pub(in super::super) fn place(url: String) -> anyhow::Result<DatabasePlace> {
        Ok(DatabasePlace::Postgres { url })
    }
}

#[cfg(not(all(feature = "kafka", feature = "postgres")))]
mod backend {
    use std::sync::Arc;

    use balcony_event_log::{EventLog, LogError, Topic};
    use balcony_store::DatabasePlace;

    const MISSING: &str =
        "this program is built without Kafka and PostgreSQL; unset KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL";

    pub(in super::super) async fn open_log(
        _: &str,
        _: &[Topic],
        _: &[Arc<str>],
    ) -> Result<Arc<dyn EventLog>, LogError> {
        Err(LogError::Misconfigured(MISSING.to_owned()))
    }

    pub(in super::super) async fn open_log_beside(
        brokers: &str,
        topics: &[Topic],
    ) -> Result<Arc<dyn EventLog>, LogError> {
        open_log(brokers, topics, &[]).await
    }

    pub(in super::super) fn place(_: String) -> anyhow::Result<DatabasePlace> {
        anyhow::bail!(MISSING)
    }
}
