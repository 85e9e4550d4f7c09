//! The log of many machines: Kafka topics.
//!
//! Appends go through one idempotent producer with `acks=all`; every reader is a consumer on a thread of its own.
//! Kafka's committed offsets are never used: whoever reads keeps its own positions.

mod client;
mod cluster;
mod consumer;
mod producer;
mod pump;
mod topics;

use std::sync::Arc;

use crate::{AppendError, EventLog, LogError, Message, Position, Positions, Reader, Topic};
use cluster::Cluster;
use consumer::ReaderSettings;
use producer::Appender;

/// The log on a Kafka cluster. See the [module](self).
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    appender: Appender,
    reader_settings: ReaderSettings,
    identity: String,
}

impl KafkaLog {
    /// Connects to the cluster, creates missing topics and checks those that exist.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when no broker answers within some ten seconds, [`LogError::Misconfigured`] when
    /// a topic exists with settings that would lose facts or may not be created.
    pub async fn open(bootstrap_servers: &str, topics: &[Topic]) -> Result<Self, LogError> {
        let cluster = Arc::new(Cluster::new(bootstrap_servers)?);
        topics::ensure(&cluster, bootstrap_servers, topics).await?;
        Self::on(cluster, bootstrap_servers, topics).await
    }

    /// Connects to the cluster beside the processes that run on it: creates nothing.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when no broker answers within some ten seconds, [`LogError::Misconfigured`] when
    /// a topic is missing.
    pub async fn open_beside(bootstrap_servers: &str, topics: &[Topic]) -> Result<Self, LogError> {
        let cluster = Arc::new(Cluster::new(bootstrap_servers)?);
        topics::expect(&cluster, bootstrap_servers, topics).await?;
        Self::on(cluster, bootstrap_servers, topics).await
    }

    async fn on(cluster: Arc<Cluster>, bootstrap_servers: &str, topics: &[Topic]) -> Result<Self, LogError> {
        let cluster_id = cluster.id().await?;
        let names: Vec<&str> = topics.iter().map(|topic| &*topic.name).collect();
        Ok(Self {
            appender: Appender::new(bootstrap_servers, topics)?,
            reader_settings: ReaderSettings::new(bootstrap_servers, topics),
            identity: format!("{cluster_id}/{}", names.join(",")),
            cluster,
        })
    }
}

#[async_trait::async_trait]
impl EventLog for KafkaLog {
    async fn append(&self, topic: &str, message: Message) -> Result<Position, AppendError> {
        self.appender.append(topic, message).await
    }

    async fn ends(&self, topics: &[Arc<str>]) -> Result<Positions, LogError> {
        self.cluster.ends(topics).await
    }

    fn read(&self, from: Positions) -> Reader {
        consumer::read(&self.reader_settings, from)
    }

    fn join(&self, group: &str, topics: &[Arc<str>]) -> Reader {
        consumer::join(&self.reader_settings, group, topics)
    }

    async fn identity(&self) -> Result<String, LogError> {
        Ok(self.identity.clone())
    }
}
