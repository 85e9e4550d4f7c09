use std::sync::Arc;

/// Why a record could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The record was not written and will not be; trying again later is safe.
    #[error("the log is not available: {0}")]
    Unavailable(String),
    /// No answer came: the record may have been written or not.
    #[error("the log did not confirm the record, which may have been written or not: {0}")]
    Unknown(String),
    /// The log is not the one that it has to be: what was written there counts for nothing. Somebody has to look.
    #[error("{0}")]
    Foreign(String),
    /// The record is larger than the log takes; it was not written.
    #[error("the record is larger than the log takes")]
    TooLarge,
    /// The topic is not there, or the log was opened without it. The record was not written; trying again is of
    /// no use.
    #[error("the log has no topic {topic}, or was opened without it")]
    UnknownTopic {
        /// The topic.
        topic: Arc<str>,
    },
}

/// Why the log could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log is away or busy. Readers go on by themselves when it is back.
    #[error("the log is not available: {0}")]
    Unavailable(String),
    /// The topic is not there, or the log was opened without it. Trying again is of no use.
    #[error("the log has no topic {topic}, or was opened without it")]
    UnknownTopic {
        /// The topic.
        topic: Arc<str>,
    },
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
