use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock that stands still until it is told to go on. Clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock {
    /// In milliseconds since 1970.
    now: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that shows `time`, to the millisecond.
    pub fn at(time: SystemTime) -> Self {
        let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { now: Arc::new(AtomicI64::new(millis(since_1970))) }
    }

    /// What the clock shows.
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.unix_millis().unsigned_abs())
    }

    /// What the clock shows, in milliseconds since 1970, as records have it.
    pub fn unix_millis(&self) -> i64 {
        self.now.load(Ordering::Acquire)
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(millis(by), Ordering::AcqRel);
    }
}

/// `duration` in whole milliseconds.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
