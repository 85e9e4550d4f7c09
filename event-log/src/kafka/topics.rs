use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use tokio::time::{Instant, sleep};

use super::client::{self, LogLines, unavailable};
use super::cluster::Cluster;
use crate::{LogError, Topic};

/// How long the cluster has to answer at all, and then to have new topics ready.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before asking again whether a new topic is ready.
const READY_PAUSE: Duration = Duration::from_millis(50);

/// Creates the topics that are missing and checks the others; returns when all have leaders.
pub(super) async fn ensure(cluster: &Arc<Cluster>, bootstrap_servers: &str, topics: &[Topic]) -> Result<(), LogError> {
    let admin: AdminClient<LogLines> =
        client::config(bootstrap_servers).create_with_context(LogLines).map_err(|error| client::not_created(&error))?;
    for topic in topics {
        let metadata = first_metadata(cluster, bootstrap_servers, topic).await?;
        if !exists(&metadata) {
            create(&admin, topic, metadata.brokers().len()).await?;
            wait_for_leaders(cluster, topic).await?;
        }
        if topic.retention.is_none() {
            check_keeps_for_ever(&admin, bootstrap_servers, &topic.name).await?;
        }
    }
    Ok(())
}

/// Refuses a cluster that has not all of the topics.
pub(super) async fn expect(cluster: &Arc<Cluster>, bootstrap_servers: &str, topics: &[Topic]) -> Result<(), LogError> {
    for topic in topics {
        if !exists(&first_metadata(cluster, bootstrap_servers, topic).await?) {
            return Err(LogError::UnknownTopic { topic: Arc::clone(&topic.name) });
        }
    }
    Ok(())
}

async fn first_metadata(cluster: &Arc<Cluster>, bootstrap_servers: &str, topic: &Topic) -> Result<Metadata, LogError> {
    let metadata = cluster.metadata(Arc::clone(&topic.name), PATIENCE).await;
    metadata.map_err(|error| LogError::Unavailable(format!("no Kafka broker answers at {bootstrap_servers}: {error}")))
}

fn exists(metadata: &Metadata) -> bool {
    metadata.topics().iter().any(|topic| !topic.partitions().is_empty())
}

async fn create(admin: &AdminClient<LogLines>, topic: &Topic, brokers: usize) -> Result<(), LogError> {
    let replication = topic.replication.min(i32::try_from(brokers).unwrap_or(i32::MAX)).max(1);
    let min_insync = (replication - 1).max(1).to_string();
    let retention = topic.retention.map_or_else(|| "-1".to_owned(), |time| time.as_millis().to_string());
    let new_topic = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(replication))
        .set("cleanup.policy", "delete")
        .set("retention.ms", &retention)
        .set("retention.bytes", "-1")
        .set("min.insync.replicas", &min_insync);
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let results = admin.create_topics([&new_topic], &options).await.map_err(|error| unavailable(&error))?;
    match results.into_iter().next() {
        // Another process may have created it in between.
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((name, code @ (RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut)))) => {
            Err(LogError::Unavailable(format!("the topic {name} could not be created: {code}")))
        }
        Some(Err((name, code))) => Err(LogError::Misconfigured(format!("the topic {name} cannot be created: {code}"))),
    }
}

async fn wait_for_leaders(cluster: &Arc<Cluster>, topic: &Topic) -> Result<(), LogError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metadata = cluster.metadata(Arc::clone(&topic.name), PATIENCE).await?;
        let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        if exists(&metadata) && partitions.all(|partition| partition.leader() >= 0) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(LogError::Unavailable(format!("the new topic {} got no leaders", topic.name)));
        }
        sleep(READY_PAUSE).await;
    }
}

/// Refuses a topic whose broker would remove facts.
async fn check_keeps_for_ever(
    admin: &AdminClient<LogLines>,
    bootstrap_servers: &str,
    topic: &str,
) -> Result<(), LogError> {
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let described = admin
        .describe_configs([&ResourceSpecifier::Topic(topic)], &options)
        .await
        .map_err(|error| unavailable(&error))?;
    let resource = described
        .into_iter()
        .next()
        .ok_or_else(|| LogError::Unavailable(format!("the cluster did not describe the topic {topic}")))?
        .map_err(|code| LogError::Unavailable(format!("the topic {topic} cannot be described: {code}")))?;
    let value = |name| resource.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
    let wrong: Vec<(&str, &str, &str)> = [
        ("cleanup.policy", "delete", value("cleanup.policy").contains("compact")),
        ("retention.ms", "-1", value("retention.ms") != "-1"),
        ("retention.bytes", "-1", value("retention.bytes") != "-1"),
    ]
    .into_iter()
    .filter(|(_, _, is_wrong)| *is_wrong)
    .map(|(name, right, _)| (name, value(name), right))
    .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let findings: Vec<String> =
        wrong.iter().map(|(name, found, right)| format!("{name} is {found} and has to be {right}")).collect();
    let changes: Vec<String> = wrong.iter().map(|(name, _, right)| format!("{name}={right}")).collect();
    Err(LogError::Misconfigured(format!(
        "the topic {topic} would lose facts: {}. Mend it with: kafka-configs.sh --bootstrap-server \
         {bootstrap_servers} --alter --entity-type topics --entity-name {topic} --add-config {}",
        findings.join(", "),
        changes.join(",")
    )))
}
