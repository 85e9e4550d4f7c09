use std::path::PathBuf;
use std::sync::Arc;

use super::schema::StoredTopic;
use crate::TopicPartition;

/// What never changes while the log is open.
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) identity: String,
    pub(super) topics: Vec<StoredTopic>,
    /// Whether another process writes.
    pub(super) beside: bool,
}

impl LogFile {
    /// The place of `topic` in `topics`.
    pub(super) fn slot(&self, topic: &str) -> Option<usize> {
        self.topics.iter().position(|stored| &*stored.name == topic)
    }

    pub(super) fn partition(&self, slot: usize) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.topics[slot].name), 0)
    }
}
