use std::sync::Arc;

use crate::Event;

/// The topics that Balcony's events go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Facts, kept for ever.
    pub facts: Arc<str>,
    /// Page views, many and forgettable.
    pub views: Arc<str>,
}

impl Topics {
    /// The topics whose names begin with `prefix`.
    pub fn with_prefix(prefix: &str) -> Self {
        Self { facts: format!("{prefix}events").into(), views: format!("{prefix}views").into() }
    }

    /// The topic that `event` goes to.
    pub fn of(&self, event: &Event) -> &Arc<str> {
        if event.is_fact() { &self.facts } else { &self.views }
    }
}
