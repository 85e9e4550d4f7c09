//! The log in memory, for tests: several partitions, groups with rebalances, and a [`Clock`] that the test owns.
//!
//! It does what the other adapters do (`tests/conformance`) and is gone when the process ends. Records have the clock's
//! time, and a topic's retention is counted by it: advancing the clock removes records. Nothing waits for the clock.

mod clock;
mod feeding;
mod state;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    AppendError, BoxFuture, EventLog, Feed, LogError, Message, Position, Positions, Reader, Topic, TopicPartition,
};
pub use clock::Clock;
use feeding::Membership;
use state::Shared;

/// The log in memory. See the [module](self).
///
/// Clones are handles of the same log; its readers end with the last one. Readers are fed by tasks, so
/// [`EventLog::read`] and [`EventLog::join`] have to be called within a Tokio runtime.
#[derive(Clone)]
pub struct MemoryLog {
    topics: Arc<[Topic]>,
    identity: Arc<str>,
    handle: Arc<Handle>,
}

/// Ends the readers when it is dropped.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.change(|state| state.closed = true);
    }
}

impl MemoryLog {
    /// An empty log. Each topic has the partitions that are declared, replicas aside.
    pub fn new(topics: &[Topic], clock: Clock) -> Self {
        static LOGS: AtomicU64 = AtomicU64::new(0);
        let number = LOGS.fetch_add(1, Ordering::Relaxed);
        Self {
            topics: topics.into(),
            identity: format!("memory/{}/{number}", std::process::id()).into(),
            handle: Arc::new(Handle(Arc::new(Shared::new(topics, clock)))),
        }
    }

    /// Lets the offsets of `partition` go on without `offsets` records, as other writers' transactions do on Kafka.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], or [`LogError::Misconfigured`] when the topic has no such partition.
    pub fn skip(&self, partition: &TopicPartition, offsets: u32) -> Result<(), LogError> {
        self.shared().change(|state| state.skip(partition, offsets))
    }

    /// Adds partitions to `topic`, as an administrator may.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`] when there is no such topic.
    pub fn add_partitions(&self, topic: &str, more: usize) -> Result<(), LogError> {
        self.shared().change(|state| state.add_partitions(topic, more))
    }

    /// Removes the records of `partition` below `offset`, as an administrator or too short a retention may.
    ///
    /// # Errors
    /// As [`MemoryLog::skip`].
    pub fn remove_below(&self, partition: &TopicPartition, offset: i64) -> Result<(), LogError> {
        self.shared().change(|state| state.remove_below(partition, offset))
    }

    /// Makes every topic anew and empty under the name it had, as happens to one that is deleted and created again.
    pub fn remake(&self) {
        self.shared().change(|state| state.remake());
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }
}

impl EventLog for MemoryLog {
    fn topics(&self) -> &[Topic] {
        &self.topics
    }

    fn append<'a>(&'a self, topic: &'a str, message: Message) -> BoxFuture<'a, Result<Position, AppendError>> {
        Box::pin(async move { self.shared().append(topic, message) })
    }

    fn starts<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
        Box::pin(async move {
            Topic::check_declared(&self.topics, topics)?;
            Ok(self.shared().look().starts(topics))
        })
    }

    fn ends<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
        Box::pin(async move {
            Topic::check_declared(&self.topics, topics)?;
            Ok(self.shared().look().ends(topics))
        })
    }

    fn read(&self, from: Positions) -> Reader {
        match Topic::check_declared(&self.topics, from.partitions().map(|partition| &partition.topic)) {
            Ok(()) => spawn(|feed| feeding::read(Arc::clone(self.shared()), from, feed)),
            Err(error) => Reader::refused(error),
        }
    }

    fn join(&self, group: &str, topics: &[Arc<str>]) -> Reader {
        match Topic::check_declared(&self.topics, topics) {
            Ok(()) => spawn(|feed| feeding::join(Membership::new(Arc::clone(self.shared()), group, topics), feed)),
            Err(error) => Reader::refused(error),
        }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, LogError>> {
        Box::pin(async { Ok(self.identity.to_string()) })
    }

    fn keep_to(&self, partitions: &BTreeMap<Arc<str>, i32>) {
        self.shared().change(|state| state.keep_to(partitions));
    }

    fn unused(&self) -> BoxFuture<'_, Result<Positions, LogError>> {
        Box::pin(async { Ok(self.shared().look().unused()) })
    }
}

/// A reader that is fed by a task.
fn spawn<F: Future<Output = ()> + Send + 'static>(feeding: impl FnOnce(Feed) -> F) -> Reader {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        let reason = "the log in memory is read within a Tokio runtime";
        return Reader::refused(LogError::Misconfigured(reason.to_owned()));
    };
    let (reader, feed) = Reader::channel();
    drop(runtime.spawn(feeding(feed)));
    reader
}
