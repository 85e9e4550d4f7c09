use std::time::Duration;

use super::descriptors;

/// How long a client may take, and how many there may be at once.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once. Whoever comes then is answered 503.
    pub connections: usize,
    /// How long the head of a request may take from its first byte; 408 after that. A connection that was opened and sends
    /// nothing at all is closed after the same time.
    pub head: Duration,
    /// How long a connection may be idle between two requests.
    pub idle: Duration,
    /// How long a client may read nothing of an answer that is there for it. How long an answer takes does not matter.
    pub unread: Duration,
}

/// More connections than this are not served, however many descriptors there are.
const CONNECTIONS: usize = 10_000;
/// Descriptors that are left for everything else: files, brokers, databases.
const OTHER_DESCRIPTORS: usize = 256;
/// How long an answer goes on for a client that has ended its own side of the connection, or has gone.
pub(super) const HALF_CLOSED: Duration = Duration::from_secs(10);

impl Limits {
    /// Those of a process that serves on as many descriptors as it may have. The process may have more afterwards.
    pub fn of_process() -> Self {
        Self {
            connections: descriptors::raise().saturating_sub(OTHER_DESCRIPTORS).clamp(1, CONNECTIONS),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            unread: Duration::from_secs(30),
        }
    }
}
