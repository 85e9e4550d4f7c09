//! How long connections may take, by what they are for.

use std::time::Duration;

/// How long a query of a reader may take, on either database.
pub(crate) const READING: Duration = Duration::from_secs(5);

/// What connections to a server may take.
#[cfg(feature = "postgres")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A statement.
    pub(crate) statement: Duration,
    /// Waiting for a lock.
    pub(crate) lock: Duration,
    /// A transaction in which nothing is asked.
    pub(crate) idle: Duration,
}

#[cfg(feature = "postgres")]
impl Limits {
    /// Of readers.
    pub(crate) const READING: Self =
        Self { statement: READING, lock: Duration::from_millis(500), idle: Duration::from_secs(60) };
    /// Of this crate's own tables, and of who looks at a generation.
    pub(crate) const OWN: Self =
        Self { statement: Duration::from_secs(60), lock: Duration::from_secs(10), idle: Duration::from_secs(600) };
    /// Of who applies batches.
    pub(crate) const WRITING: Self =
        Self { statement: Duration::from_secs(120), lock: Duration::from_secs(5), idle: Duration::from_secs(120) };
    /// Of who builds a generation: indexes are made in one statement, and rows compared in one transaction.
    pub(crate) const BUILDING: Self = Self {
        statement: Duration::from_secs(6 * 3_600),
        lock: Duration::from_secs(5),
        idle: Duration::from_secs(6 * 3_600),
    };
}
