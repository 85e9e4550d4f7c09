//! Where the log ends: a token of what stands beyond is from another time of the log, and nothing is waited for.

use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{EventLog, Positions};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Looks at the log's end, one at a time, each for all who had asked when it began. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogEnd {
    log: Arc<dyn EventLog>,
    topics: Arc<[Arc<str>]>,
    last: Arc<Mutex<Look>>,
}

/// What was seen last.
#[derive(Default)]
struct Look {
    began: Option<Instant>,
    /// `None` when the log was away.
    ends: Option<Positions>,
}

/// How long the log may take to say where it ends.
const TIMEOUT: Duration = Duration::from_secs(2);

impl LogEnd {
    pub(crate) fn new(log: Arc<dyn EventLog>, topics: Vec<Arc<str>>) -> Self {
        Self { log, topics: topics.into(), last: Arc::default() }
    }

    /// Whether `wanted` is beyond the log's end. While the log is away, nothing is.
    pub(crate) async fn is_before(&self, wanted: &Positions) -> bool {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if last.ends.as_ref().is_some_and(|ends| ends.covers(wanted)) {
            return false;
        }
        if last.began.is_none_or(|began| began < asked) {
            let began = Some(Instant::now());
            let ends = tokio::time::timeout(TIMEOUT, self.log.ends(&self.topics)).await;
            *last = Look { began, ends: ends.ok().and_then(Result::ok) };
        }
        last.ends.as_ref().is_some_and(|ends| !ends.covers(wanted))
    }
}
