use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use tokio::time::{Instant, sleep};

use super::client::{self, LogLines, PROPAGATION, unavailable};
use super::cluster::Cluster;
use crate::{LogError, Topic};

/// How long the cluster has to answer at all, and then to have new topics ready.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before asking again whether a new topic is ready.
const READY_PAUSE: Duration = Duration::from_millis(50);

/// Creates the topics that are missing and checks the others; returns when all have leaders.
pub(super) async fn ensure(cluster: &Arc<Cluster>, bootstrap_servers: &str, topics: &[Topic]) -> Result<(), LogError> {
    let admin = admin(bootstrap_servers)?;
    for topic in topics {
        let mut metadata = first_metadata(cluster, bootstrap_servers, topic).await?;
        if !exists(&metadata) {
            create(&admin, topic, metadata.brokers().len()).await?;
            metadata = wait_for_leaders(cluster, topic).await?;
        }
        if topic.retention.is_none()
            && let Some(ailment) = ailment(&admin, bootstrap_servers, &topic.name, replicas(&metadata)).await?
        {
            return Err(LogError::Misconfigured(ailment));
        }
    }
    Ok(())
}

/// What is wrong now with the topics that are kept for ever.
pub(super) async fn ailments(
    cluster: &Arc<Cluster>,
    admin: &AdminClient<LogLines>,
    bootstrap_servers: &str,
    topics: &[Topic],
) -> Result<Vec<String>, LogError> {
    let mut ailments = Vec::new();
    for topic in topics.iter().filter(|topic| topic.retention.is_none()) {
        let metadata = cluster.metadata(Arc::clone(&topic.name), PATIENCE).await?;
        ailments.extend(ailment(admin, bootstrap_servers, &topic.name, replicas(&metadata)).await?);
    }
    Ok(ailments)
}

/// What asks about settings.
pub(super) fn admin(bootstrap_servers: &str) -> Result<AdminClient<LogLines>, LogError> {
    client::config(bootstrap_servers).create_with_context(LogLines).map_err(|error| client::not_created(&error))
}

/// Refuses a cluster that has not all of the topics.
pub(super) async fn expect(cluster: &Arc<Cluster>, bootstrap_servers: &str, topics: &[Topic]) -> Result<(), LogError> {
    for topic in topics {
        let metadata = cluster.settled_metadata(Arc::clone(&topic.name), PATIENCE).await;
        if !exists(&metadata.map_err(|error| no_broker(bootstrap_servers, &error))?) {
            return Err(LogError::UnknownTopic { topic: Arc::clone(&topic.name) });
        }
    }
    Ok(())
}

async fn first_metadata(cluster: &Arc<Cluster>, bootstrap_servers: &str, topic: &Topic) -> Result<Metadata, LogError> {
    let metadata = cluster.metadata(Arc::clone(&topic.name), PATIENCE).await;
    metadata.map_err(|error| no_broker(bootstrap_servers, &error))
}

fn no_broker(bootstrap_servers: &str, error: &LogError) -> LogError {
    let reason = match error {
        LogError::Unavailable(reason) => reason.clone(),
        other => other.to_string(),
    };
    LogError::Unavailable(format!("no Kafka broker answers at {bootstrap_servers}: {reason}"))
}

fn exists(metadata: &Metadata) -> bool {
    metadata.topics().iter().any(|topic| !topic.partitions().is_empty())
}

/// How many replicas each partition has, at the least.
fn replicas(metadata: &Metadata) -> usize {
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    partitions.map(|partition| partition.replicas().len()).min().unwrap_or(1)
}

async fn create(admin: &AdminClient<LogLines>, topic: &Topic, brokers: usize) -> Result<(), LogError> {
    let replication = topic.replication.min(i32::try_from(brokers).unwrap_or(i32::MAX)).max(1);
    let min_insync = (replication - 1).max(1).to_string();
    let retention = topic.retention.map_or_else(|| "-1".to_owned(), |time| time.as_millis().to_string());
    let new_topic = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(replication))
        .set("cleanup.policy", "delete")
        .set("retention.ms", &retention)
        .set("retention.bytes", "-1")
        .set("min.insync.replicas", &min_insync)
        .set("unclean.leader.election.enable", "false");
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

async fn wait_for_leaders(cluster: &Arc<Cluster>, topic: &Topic) -> Result<Metadata, LogError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metadata = cluster.metadata(Arc::clone(&topic.name), PATIENCE).await?;
        let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        if exists(&metadata) && partitions.all(|partition| partition.leader() >= 0) {
            return Ok(metadata);
        }
        if Instant::now() > deadline {
            return Err(LogError::Unavailable(format!("the new topic {} got no leaders", topic.name)));
        }
        sleep(READY_PAUSE).await;
    }
}

/// Why the brokers of a topic would remove facts, or acknowledge what a single one has, and how that is mended.
async fn ailment(
    admin: &AdminClient<LogLines>,
    bootstrap_servers: &str,
    topic: &str,
    replicas: usize,
) -> Result<Option<String>, LogError> {
    let resource = described(admin, topic).await?;
    let value = |name: &str| resource.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
    let wrong = wrong_settings(value, replicas);
    if wrong.is_empty() {
        return Ok(None);
    }
    let findings: Vec<String> =
        wrong.iter().map(|(name, right)| format!("{name} is {} and has to be {right}", value(name))).collect();
    let changes: Vec<String> = wrong.iter().map(|(name, right)| format!("{name}={right}")).collect();
    Ok(Some(format!(
        "the topic {topic} would lose facts: {}. Mend it with: kafka-configs.sh --bootstrap-server \
         {bootstrap_servers} --alter --entity-type topics --entity-name {topic} --add-config {}",
        findings.join(", "),
        changes.join(",")
    )))
}

/// The settings of a topic. A new one is asked for again as long as a broker may not know it.
async fn described(admin: &AdminClient<LogLines>, topic: &str) -> Result<ConfigResource, LogError> {
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let settled = Instant::now() + PROPAGATION;
    loop {
        let described = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await;
        let answer = described.map_err(|error| unavailable(&error))?.into_iter().next();
        let answer = answer.unwrap_or(Err(RDKafkaErrorCode::UnknownTopicOrPartition));
        if knows_topic(&answer) {
            return answer.map_err(|code| not_described(topic, code));
        }
        if Instant::now() > settled {
            return Err(not_described(topic, RDKafkaErrorCode::UnknownTopicOrPartition));
        }
        sleep(READY_PAUSE).await;
    }
}

/// Whether the broker that gave this answer knows the topic: one that does not may also answer without any settings.
fn knows_topic(answer: &Result<ConfigResource, RDKafkaErrorCode>) -> bool {
    match answer {
        Ok(resource) => !resource.entries.is_empty(),
        Err(code) => *code != RDKafkaErrorCode::UnknownTopicOrPartition,
    }
}

fn not_described(topic: &str, code: RDKafkaErrorCode) -> LogError {
    LogError::Unavailable(format!("the topic {topic} cannot be described: {code}"))
}

/// The settings of a topic of `replicas` replicas that are wrong, each with what it has to be.
fn wrong_settings<'v>(value: impl Fn(&str) -> &'v str, replicas: usize) -> Vec<(&'static str, String)> {
    let insync: usize = value("min.insync.replicas").parse().unwrap_or(1);
    // Of two replicas one may be away, as this program makes them: then one broker alone acknowledges. Of three or more
    // two have every record.
    let insync_needed = if replicas >= 3 { 2 } else { 1 };
    // With more than there are nothing is ever acknowledged.
    let insync_right = if insync > replicas { replicas.saturating_sub(1).max(1) } else { insync.max(insync_needed) };
    let is_unclean = replicas > 1 && value("unclean.leader.election.enable") == "true";
    [
        ("cleanup.policy", "delete".to_owned(), value("cleanup.policy").contains("compact")),
        ("retention.ms", "-1".to_owned(), value("retention.ms") != "-1"),
        ("retention.bytes", "-1".to_owned(), value("retention.bytes") != "-1"),
        ("min.insync.replicas", insync_right.to_string(), insync_right != insync),
        ("unclean.leader.election.enable", "false".to_owned(), is_unclean),
    ]
    .into_iter()
    .filter(|(_, _, is_wrong)| *is_wrong)
    .map(|(name, right, _)| (name, right))
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rdkafka::admin::{ConfigEntry, ConfigSource, OwnedResourceSpecifier};

    use super::*;

    #[test]
    fn a_broker_that_tells_no_settings_does_not_know_the_topic_yet() {
        let answer =
            |entries| Ok(ConfigResource { specifier: OwnedResourceSpecifier::Topic("events".into()), entries });
        let entry = ConfigEntry {
            name: "cleanup.policy".into(),
            value: Some("delete".into()),
            source: ConfigSource::Default,
            is_read_only: false,
            is_default: true,
            is_sensitive: false,
        };
        assert!(knows_topic(&answer(vec![entry])));
        assert!(!knows_topic(&answer(Vec::new())));
        assert!(!knows_topic(&Err(RDKafkaErrorCode::UnknownTopicOrPartition)));
        assert!(knows_topic(&Err(RDKafkaErrorCode::TopicAuthorizationFailed)));
    }

    /// What is wrong with a topic that is right but for `changes`.
    fn wrong(replicas: usize, changes: &[(&str, &'static str)]) -> String {
        let mut settings = HashMap::from([
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            ("min.insync.replicas", "2"),
            ("unclean.leader.election.enable", "false"),
        ]);
        settings.extend(changes.iter().copied());
        let wrong = wrong_settings(|name| settings.get(name).copied().unwrap_or_default(), replicas);
        wrong.iter().map(|(name, right)| format!("{name}={right}")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn a_topic_may_neither_forget_nor_acknowledge_what_one_broker_of_several_has() {
        assert_eq!(wrong(3, &[]), "");
        assert_eq!(wrong(3, &[("cleanup.policy", "compact,delete")]), "cleanup.policy=delete");
        assert_eq!(wrong(3, &[("retention.ms", "604800000")]), "retention.ms=-1");
        assert_eq!(wrong(3, &[("retention.bytes", "1")]), "retention.bytes=-1");
        assert_eq!(wrong(3, &[("min.insync.replicas", "1")]), "min.insync.replicas=2");
        assert_eq!(wrong(5, &[("min.insync.replicas", "3")]), "");
        assert_eq!(wrong(2, &[("min.insync.replicas", "1")]), "");
        assert_eq!(wrong(1, &[("min.insync.replicas", "1")]), "");
        assert_eq!(wrong(2, &[("min.insync.replicas", "3")]), "min.insync.replicas=1");
        assert_eq!(wrong(1, &[]), "min.insync.replicas=1", "one replica never has two");
        let unclean = [("unclean.leader.election.enable", "true")];
        assert_eq!(wrong(3, &unclean), "unclean.leader.election.enable=false");
        assert_eq!(wrong(1, &[unclean[0], ("min.insync.replicas", "1")]), "", "there is no other to elect");
    }
}
