use std::fmt;
use std::str::FromStr;

pub use balcony_timestamp::NotATime;
use balcony_timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::milliseconds_now;

/// A point in time as operators see it: RFC 3339 in UTC, with milliseconds. It is read as [`Timestamp`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(Timestamp);

impl Moment {
    /// This moment, by the clock of this machine.
    pub fn now() -> Self {
        Self::from_milliseconds(milliseconds_now())
    }

    /// The time `milliseconds` after 1970-01-01T00:00:00Z; 1970 when that is no time of four-digit years, which only a
    /// clock far off tells.
    pub fn from_milliseconds(milliseconds: i64) -> Self {
        Self::in_range(milliseconds).or_else(|| Self::in_range(0)).expect("1970 is a year of four digits")
    }

    /// The same; `None` when it is no time of four-digit years.
    pub fn in_range(milliseconds: i64) -> Option<Self> {
        Timestamp::from_milliseconds(milliseconds).ok().map(Self)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn milliseconds(self) -> i64 {
        self.0.milliseconds()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Moment {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_utc_with_milliseconds_and_read_back() {
        let moment = Moment::from_milliseconds(1_769_884_200_123);
        assert_eq!(moment.to_string(), "2026-01-31T18:30:00.123Z");
        assert_eq!("2026-01-31T18:30:00.123Z".parse(), Ok(moment));
        assert_eq!("2026-01-31T19:30:00.123+01:00".parse(), Ok(moment));
        assert_eq!("yesterday".parse::<Moment>(), Err(NotATime));
        assert_eq!(Moment::from_milliseconds(i64::MAX).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!((Moment::in_range(i64::MIN), Moment::in_range(i64::MAX)), (None, None));
        assert_eq!(Moment::from_milliseconds(-1).to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!("2026-01-31t18:30:00.123456789012z".parse(), Ok(moment));
        assert_eq!("2026-01-31 18:30:00.123Z".parse::<Moment>(), Err(NotATime));
        for beyond in ["9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01"] {
            assert_eq!(beyond.parse::<Moment>(), Err(NotATime), "{beyond}");
        }
    }
}
