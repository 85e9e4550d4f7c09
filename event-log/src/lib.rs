//! The log: what happened, in order, for ever.
//!
//! One port, [`EventLog`], and two adapters: [`kafka::KafkaLog`] for many machines and
//! [`embedded::EmbeddedLog`], one SQLite table, for one process. Both pass the same conformance suite
//! (`tests/conformance`). This crate knows nothing of comments, of CloudEvents or of read models: a record is
//! a key, headers and bytes.
//!
//! Offsets may have holes (transaction markers, compaction, other topics): nobody may count on `offset + 1`.
//! A reader therefore learns from [`Batch::reached`] how far it has read, never from the offsets of the records.

pub mod embedded;
pub mod kafka;
mod positions;
mod reader;
mod record;

use std::sync::Arc;
use std::time::Duration;

pub use positions::{Position, Positions, TopicPartition};
pub use reader::{Batch, Delivery, Reader};
pub use record::{Headers, Message, Record};

/// What a topic has to be when the log is opened: created so when missing, refused when it exists and could lose
/// facts.
#[derive(Debug, Clone)]
pub struct Topic {
    /// The full name, prefix included (`balcony.events`).
    pub name: Arc<str>,
    /// Partitions of a topic that has to be created. An existing topic keeps its own number. The embedded log
    /// has one.
    pub partitions: i32,
    /// Replicas of a topic that has to be created; fewer when the cluster has fewer brokers.
    pub replication: i32,
    /// How long records are kept; `None` is for ever.
    pub retention: Option<Duration>,
}

/// An append-only log of records, ordered within a partition.
#[async_trait::async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Appends one record and returns where it stands, once it is as durable as the adapter promises (every
    /// in-sync replica; `fsync`). Records of one key keep the order in which their appends were started by one
    /// caller after the other.
    ///
    /// # Errors
    /// See [`AppendError`]: only [`AppendError::Unknown`] leaves open whether the record was written.
    async fn append(&self, topic: &str, message: Message) -> Result<Position, AppendError>;

    /// The ends of `topics` now: for every partition the offset the next record will have at the earliest. A
    /// reader whose [`Batch::reached`] covers them has seen every record acknowledged before this call.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the log does not answer within some seconds.
    async fn ends(&self, topics: &[Arc<str>]) -> Result<Positions, LogError>;

    /// Reads the partitions of `from`, each from its offset (0 is the beginning), to the end and then on as
    /// records come. Every call is a subscriber of its own.
    fn read(&self, from: Positions) -> Reader;

    /// Joins the group that shares out the partitions of `topics` among its members. The log only assigns:
    /// positions come from the caller, who answers each [`Delivery::Assigned`] with [`Reader::start`].
    fn join(&self, group: &str, topics: &[Arc<str>]) -> Reader;

    /// A text that is the same for every process on this log and different for every other log.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the log does not answer within some seconds.
    async fn identity(&self) -> Result<String, LogError>;
}

/// Why a record could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The record was not written and will not be; trying again later is safe.
    #[error("the log is not available: {0}")]
    Unavailable(String),
    /// No answer came: the record may have been written or not.
    #[error("the log did not confirm the record, which may have been written or not: {0}")]
    Unknown(String),
    /// The record is larger than the log takes; it was not written.
    #[error("the record is larger than the log takes")]
    TooLarge,
}

/// Why the log could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log is away or busy. Readers go on by themselves when it is back.
    #[error("the log is not available: {0}")]
    Unavailable(String),
    /// The wanted position is not in the log (any more): records are missing and reading on would lose facts.
    #[error("{topic}/{partition} has no offset {offset}: the log was cut or is another one: {reason}")]
    OutOfRange {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The offset that was asked for.
        offset: i64,
        /// What the log said.
        reason: String,
    },
    /// A topic exists with settings that would lose facts, or the configuration is wrong.
    #[error("{0}")]
    Misconfigured(String),
    /// The reader was closed.
    #[error("the reader is closed")]
    Closed,
}
