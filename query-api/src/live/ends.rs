//! Where the log ends now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use balcony_event_log::{EventLog, Positions};
use tokio::sync::Mutex;

/// Looks where the log ends. All who ask while one look is under way share the next, so that a thousand clients who come at
/// once make no thousand questions.
pub(super) struct Ends {
    log: Arc<dyn EventLog>,
    facts: Arc<str>,
    asked: AtomicU64,
    /// The last look: up to which question it answers, and what it saw.
    last: Mutex<(u64, Option<Positions>)>,
}

impl Ends {
    pub(super) fn new(log: Arc<dyn EventLog>, facts: Arc<str>) -> Self {
        Self { log, facts, asked: AtomicU64::new(0), last: Mutex::default() }
    }

    /// Where the log ended when this was called, or later; `None` while the log is away.
    pub(super) async fn now(&self) -> Option<Positions> {
        let question = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if last.0 < question {
            // Who asks from here on asks too late for this look.
            let answers = self.asked.load(Ordering::SeqCst);
            let seen = self.log.ends(std::slice::from_ref(&self.facts)).await;
            *last = (answers, seen.map_err(|error| tracing::debug!(%error, "the log's end could not be seen")).ok());
        }
        last.1.clone()
    }
}
