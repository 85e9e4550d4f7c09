//! The log of many machines: Kafka topics.
//!
//! Appends go through one idempotent producer with `acks=all`; every reader is a consumer on a thread of its own.
//! Kafka's committed offsets are never used: whoever reads keeps its own positions.

mod client;
mod cluster;
mod consumer;
mod producer;
mod pump;
mod rebalances;
mod topics;
mod used;

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::admin::AdminClient;
use tokio::sync::OnceCell;

use crate::{AppendError, BoxFuture, EventLog, LogError, Message, Position, Positions, Reader, Topic};
use client::LogLines;
use cluster::Cluster;
use consumer::ReaderSettings;
use producer::Appender;
use used::Used;

/// The log on a Kafka cluster. See the [module](self).
pub struct KafkaLog {
    topics: Vec<Topic>,
    bootstrap_servers: String,
    /// Made when it is wanted first.
    admin: OnceCell<AdminClient<LogLines>>,
    cluster: Arc<Cluster>,
    appender: Appender,
    reader_settings: ReaderSettings,
    used: Arc<Used>,
    identity: String,
}

impl KafkaLog {
    /// Connects to the cluster, creates missing topics and checks those that exist.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when no broker answers within some ten seconds, [`LogError::Misconfigured`] when
    /// a topic exists with settings that would lose facts or may not be created.
    pub async fn open(bootstrap_servers: &str, topics: &[Topic]) -> Result<Self, LogError> {
        Self::open_again(bootstrap_servers, topics, &[]).await
    }

    /// The same, where the topics `known` were there before: none of them is created.
    ///
    /// # Errors
    /// As [`KafkaLog::open`], and [`LogError::UnknownTopic`] when one that is known is missing.
    pub async fn open_again(bootstrap_servers: &str, topics: &[Topic], known: &[Arc<str>]) -> Result<Self, LogError> {
        let (cluster, used) = connect(bootstrap_servers)?;
        let there: Vec<Topic> = topics.iter().filter(|topic| known.contains(&topic.name)).cloned().collect();
        topics::expect(&cluster, bootstrap_servers, &there).await?;
        topics::ensure(&cluster, bootstrap_servers, topics).await?;
        Self::on(cluster, used, bootstrap_servers, topics).await
    }

    /// Connects to the cluster beside the processes that run on it: creates nothing.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when no broker answers within some ten seconds, [`LogError::UnknownTopic`] when a topic
    /// is missing.
    pub async fn open_beside(bootstrap_servers: &str, topics: &[Topic]) -> Result<Self, LogError> {
        let (cluster, used) = connect(bootstrap_servers)?;
        topics::expect(&cluster, bootstrap_servers, topics).await?;
        Self::on(cluster, used, bootstrap_servers, topics).await
    }

    async fn on(
        cluster: Arc<Cluster>,
        used: Arc<Used>,
        bootstrap_servers: &str,
        topics: &[Topic],
    ) -> Result<Self, LogError> {
        let cluster_id = cluster.id().await?;
        let names: Vec<&str> = topics.iter().map(|topic| &*topic.name).collect();
        Ok(Self {
            topics: topics.to_vec(),
            bootstrap_servers: bootstrap_servers.to_owned(),
            admin: OnceCell::new(),
            appender: Appender::new(bootstrap_servers, topics, Arc::clone(&used))?,
            reader_settings: ReaderSettings::new(bootstrap_servers, topics, Arc::clone(&used)),
            used,
            identity: format!("{cluster_id}/{}", names.join(",")),
            cluster,
        })
    }
}

fn connect(bootstrap_servers: &str) -> Result<(Arc<Cluster>, Arc<Used>), LogError> {
    let used = Arc::new(Used::default());
    Ok((Arc::new(Cluster::new(bootstrap_servers, Arc::clone(&used))?), used))
}

impl EventLog for KafkaLog {
    fn topics(&self) -> &[Topic] {
        &self.topics
    }

    fn append<'a>(&'a self, topic: &'a str, message: Message) -> BoxFuture<'a, Result<Position, AppendError>> {
        Box::pin(self.appender.append(topic, message))
    }

    fn starts<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
        Box::pin(async move {
            Topic::check_declared(&self.topics, topics)?;
            self.cluster.starts(topics).await
        })
    }

    fn ends<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
        Box::pin(async move {
            Topic::check_declared(&self.topics, topics)?;
            self.cluster.ends(topics).await
        })
    }

    fn read(&self, from: Positions) -> Reader {
        match Topic::check_declared(&self.topics, from.partitions().map(|partition| &partition.topic)) {
            Ok(()) => consumer::read(&self.reader_settings, from),
            Err(error) => Reader::refused(error),
        }
    }

    fn join(&self, group: &str, topics: &[Arc<str>]) -> Reader {
        match Topic::check_declared(&self.topics, topics) {
            Ok(()) => consumer::join(&self.reader_settings, group, topics),
            Err(error) => Reader::refused(error),
        }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, LogError>> {
        Box::pin(async { Ok(self.identity.clone()) })
    }

    fn keep_to(&self, partitions: &BTreeMap<Arc<str>, i32>) {
        self.used.keep_to(partitions);
    }

    fn ailments(&self) -> BoxFuture<'_, Result<Vec<String>, LogError>> {
        Box::pin(async {
            let admin = self.admin.get_or_try_init(async || topics::admin(&self.bootstrap_servers)).await?;
            topics::ailments(&self.cluster, admin, &self.bootstrap_servers, &self.topics).await
        })
    }

    fn unused(&self) -> BoxFuture<'_, Result<Positions, LogError>> {
        Box::pin(async {
            let names: Vec<Arc<str>> = self.topics.iter().map(|topic| Arc::clone(&topic.name)).collect();
            self.cluster.unused(&names).await
        })
    }
}
