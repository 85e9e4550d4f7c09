//! Where the log ends now.

use std::sync::Arc;

use balcony_event_log::{EventLog, Positions, SharedLook};

/// Looks where the log ends. All who ask while one look is under way share the next, so that a thousand clients who come at
/// once make no thousand questions.
pub(super) struct Ends {
    log: Arc<dyn EventLog>,
    facts: Arc<str>,
    /// `None` when the log was away.
    looks: SharedLook<Option<Positions>>,
}

impl Ends {
    pub(super) fn new(log: Arc<dyn EventLog>, facts: Arc<str>) -> Self {
        Self { log, facts, looks: SharedLook::default() }
    }

    /// Where the log ended when this was called, or later; `None` while the log is away.
    pub(super) async fn now(&self) -> Option<Positions> {
        let look = async || {
            let seen = self.log.ends(std::slice::from_ref(&self.facts)).await;
            seen.map_err(|error| tracing::debug!(%error, "the log's end could not be seen")).ok()
        };
        self.looks.now(look).await
    }
}
