//! The ids of events in streams.

use balcony_event_log::Positions;
use balcony_http::{Consistency, ConsistencyToken};

/// Makes and reads the ids of events. Each says how far in the log its stream has come with it, so **an id means the same
/// on every node and survives restarts**.
#[derive(Debug, Clone)]
pub(super) struct EventIds(Consistency);

impl EventIds {
    /// The ids of the installation whose tokens `consistency` makes.
    pub(super) fn new(consistency: Consistency) -> Self {
        Self(consistency)
    }

    pub(super) fn text(&self, positions: &Positions) -> String {
        self.0.text(&ConsistencyToken(positions.clone()))
    }

    /// The positions that `text` stands for, if it is an id of this installation.
    pub(super) fn read(&self, text: &[u8]) -> Option<Positions> {
        self.0.read(text).map(|token| token.0)
    }
}
