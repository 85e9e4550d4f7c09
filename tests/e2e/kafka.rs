//! What an administrator does to Kafka's topics.

use std::time::Duration;

use balcony_event_log::testing::eventually;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::deployment::{Deployment, Kind};

const PATIENCE: Duration = Duration::from_secs(30);

/// An administrator of a deployment's topics.
pub struct Administrator {
    admin: AdminClient<DefaultClientContext>,
    client: BaseConsumer,
}

impl Administrator {
    pub fn of(deployment: &Deployment) -> Self {
        let Kind::Distributed { brokers, .. } = &deployment.kind else { panic!("an embedded one has no Kafka") };
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("group.id", "administrator");
        Self { admin: config.create().unwrap(), client: config.create().unwrap() }
    }

    /// How many partitions `topic` has; 0 when it is not there.
    pub fn partitions(&self, topic: &str) -> usize {
        let metadata = self.client.fetch_metadata(Some(topic), PATIENCE).unwrap();
        metadata.topics().first().map_or(0, |topic| topic.partitions().len())
    }

    /// Deletes `topics` and makes them again, empty, with as many partitions.
    pub async fn remake(&self, topics: &[&str]) {
        let counts: Vec<usize> = topics.iter().map(|topic| self.partitions(topic)).collect();
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        for deleted in self.admin.delete_topics(topics, &options).await.unwrap() {
            deleted.unwrap();
        }
        for (topic, count) in topics.iter().zip(counts) {
            // As many replicas as the cluster makes by itself.
            let new = NewTopic::new(topic, i32::try_from(count).unwrap(), TopicReplication::Fixed(-1))
                .set("retention.ms", "-1");
            eventually("the topic is made again", PATIENCE, async || {
                let created = self.admin.create_topics([&new], &options).await.unwrap();
                created.into_iter().next().unwrap().ok()
            })
            .await;
            eventually("the topic is there", PATIENCE, async || (self.partitions(topic) == count).then_some(())).await;
        }
    }

    /// Lets the brokers of `topic` remove what is older, or nothing with -1.
    pub async fn retain(&self, topic: &str, milliseconds: &str) {
        let kept = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("retention.ms", milliseconds);
        let changed = self.admin.alter_configs([&kept], &AdminOptions::new()).await.unwrap();
        changed.into_iter().next().unwrap().unwrap();
    }

    /// Gives `topic` so many partitions.
    pub async fn grow(&self, topic: &str, partitions: usize) {
        let more = [NewPartitions::new(topic, partitions)];
        let grown = self.admin.create_partitions(&more, &AdminOptions::new()).await.unwrap();
        grown.into_iter().next().unwrap().unwrap();
        eventually("they are there", PATIENCE, async || (self.partitions(topic) == partitions).then_some(())).await;
    }

    /// Removes the records of every partition of `topic` below `offset`, or all where there are fewer. Gives how many.
    pub async fn remove_below(&self, topic: &str, offset: i64) -> i64 {
        let mut below = TopicPartitionList::new();
        let mut removed = 0;
        for partition in 0..i32::try_from(self.partitions(topic)).unwrap() {
            let (start, end) = self.client.fetch_watermarks(topic, partition, PATIENCE).unwrap();
            let offset = offset.min(end).max(start);
            removed += offset - start;
            below.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        }
        self.admin.delete_records(&below, &AdminOptions::new()).await.unwrap();
        removed
    }
}
