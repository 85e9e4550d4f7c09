//! Times, as clocks and read models have them.

use std::time::{SystemTime, UNIX_EPOCH};

use balcony_domain::Timestamp;
use balcony_http::Problem;

/// The time it is, in milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time as a read model holds it, in milliseconds.
pub(crate) fn stored_time(milliseconds: i64) -> Result<Timestamp, Problem> {
    Timestamp::from_milliseconds(milliseconds).map_err(|error| Problem::internal(&error))
}
