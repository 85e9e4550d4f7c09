//! When a worker gives up its partitions because it cannot write.

use std::time::Duration;

use balcony_store::StoreError;
use tokio::time::Instant;

/// How long a worker keeps its partitions while there is no database that it could write to.
const LONGEST: Duration = Duration::from_secs(15);

/// For how long a worker has had no database.
#[derive(Default)]
pub(crate) struct Away {
    since: Option<Instant>,
}

impl Away {
    /// Notes how an attempt failed, and says whether a worker that cannot write is to let others, which may be able to,
    /// have its partitions.
    pub(crate) fn gives_up_after(&mut self, error: &StoreError) -> bool {
        if !error.is_away() {
            self.since = None;
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() >= LONGEST
    }
}
