use std::time::{SystemTime, UNIX_EPOCH};

/// By how many milliseconds clocks may differ.
const DIFFERENCE: i64 = 60_000;

/// The time it is, in milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The latest time that is believed to have come at `now`.
pub(crate) fn latest(now: i64) -> i64 {
    now.saturating_add(DIFFERENCE)
}
