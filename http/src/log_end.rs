//! Where the log ends: a token of what stands beyond is from another time of the log, and nothing is waited for.

use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{EventLog, Positions, SharedLook};

/// Looks at the log's end for all who ask. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogEnd {
    log: Arc<dyn EventLog>,
    topics: Arc<[Arc<str>]>,
    /// `None` when the log was away.
    looks: Arc<SharedLook<Option<Arc<Positions>>>>,
}

/// How long the log may take to say where it ends.
const TIMEOUT: Duration = Duration::from_secs(2);

impl LogEnd {
    pub(crate) fn new(log: Arc<dyn EventLog>, topics: Vec<Arc<str>>) -> Self {
        Self { log, topics: topics.into(), looks: Arc::default() }
    }

    /// Whether `wanted` is beyond the log's end. While the log is away, nothing is.
    pub(crate) async fn is_before(&self, wanted: &Positions) -> bool {
        let has_all = |ends: &Option<Arc<Positions>>| ends.as_ref().is_some_and(|ends| ends.covers(wanted));
        let look = async || {
            let ends = tokio::time::timeout(TIMEOUT, self.log.ends(&self.topics)).await;
            ends.ok().and_then(Result::ok).map(Arc::new)
        };
        self.looks.unless(has_all, look).await.is_some_and(|ends| !ends.covers(wanted))
    }
}
