use std::sync::Arc;
use std::time::Duration;

use crate::LogError;

/// What a topic has to be when the log is opened: created so when missing, refused when it exists and could lose
/// facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// The full name, prefix included.
    pub name: Arc<str>,
    /// Partitions of a topic that has to be created. An existing topic keeps its own number. The embedded log
    /// has one.
    pub partitions: i32,
    /// Replicas of a topic that has to be created; fewer when the cluster has fewer brokers.
    pub replication: i32,
    /// How long records are kept; `None` is for ever.
    pub retention: Option<Duration>,
}

impl Topic {
    /// Checks that every topic of `wanted` is one of `declared`, as each method of an
    /// [`EventLog`](crate::EventLog) does first.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`] names the first that is not.
    pub fn check_declared<'a>(
        declared: &[Self],
        wanted: impl IntoIterator<Item = &'a Arc<str>>,
    ) -> Result<(), LogError> {
        match wanted.into_iter().find(|name| declared.iter().all(|topic| topic.name != **name)) {
            Some(unknown) => Err(LogError::UnknownTopic { topic: Arc::clone(unknown) }),
            None => Ok(()),
        }
    }
}
