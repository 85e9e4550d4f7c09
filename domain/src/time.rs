use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};
use jiff::fmt::temporal::{Pieces, PiecesOffset};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, written as RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A text that is not a date and time of RFC 3339 between the years 0000 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a time of RFC 3339, such as 2026-01-31T18:30:00Z")]
pub struct NotATime;

impl Timestamp {
    /// The time `milliseconds` after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`NotATime`] when that is not between the years 0000 and 9999.
    pub fn from_milliseconds(milliseconds: i64) -> Result<Self, NotATime> {
        civil(milliseconds).map(|_| Self(milliseconds)).ok_or(NotATime)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn milliseconds(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = civil(self.0).expect("a Timestamp is within four-digit years");
        write!(f, "{time:.3}Z")
    }
}

impl FromStr for Timestamp {
    type Err = NotATime;

    /// Takes any offset; what is finer than a millisecond is cut off.
    fn from_str(text: &str) -> Result<Self, NotATime> {
        let separated = text.as_bytes().get(10).is_some_and(|byte| matches!(byte, b'T' | b't'));
        if !separated || text.len() > 64 || text.contains('[') {
            return Err(NotATime);
        }
        let pieces = Pieces::parse(text).map_err(|_| NotATime)?;
        let (Some(time), Some(offset)) = (pieces.time(), pieces.offset()) else { return Err(NotATime) };
        let offset = match offset {
            PiecesOffset::Zulu => 0,
            PiecesOffset::Numeric(numeric) => numeric.offset().seconds(),
            _ => return Err(NotATime),
        };
        // Not by way of jiff's own points in time, which end before the year 9999 does.
        let since = pieces.date().to_datetime(time).duration_since(EPOCH) - SignedDuration::from_secs(offset.into());
        let milliseconds = since.as_nanos().div_euclid(1_000_000);
        Self::from_milliseconds(i64::try_from(milliseconds).map_err(|_| NotATime)?)
    }
}

const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// Date and time in UTC, `milliseconds` after 1970-01-01T00:00:00Z; `None` when they have no year of four digits.
fn civil(milliseconds: i64) -> Option<DateTime> {
    let time = EPOCH.checked_add(SignedDuration::from_millis(milliseconds)).ok()?;
    (time.year() >= 0).then_some(time)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        let time: Timestamp = "2026-01-31T18:30:00.1239+09:00".parse().expect("a time");
        assert_eq!(time.to_string(), "2026-01-31T09:30:00.123Z");
        assert_eq!("1969-12-31T23:59:59.9999Z".parse::<Timestamp>().map(Timestamp::milliseconds), Ok(-1));
        assert_eq!(
            "2026-01-31T18:30:00Z".parse::<Timestamp>().map(|time| time.to_string()),
            Ok("2026-01-31T18:30:00.000Z".into())
        );
    }

    #[test]
    fn times_run_from_the_first_to_the_last_millisecond_of_years_of_four_digits() {
        let written = |text: &str| text.parse::<Timestamp>().map(|time| time.to_string());
        for (text, time) in [
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999Z"),
            ("9999-12-31T23:59:59+14:00", "9999-12-31T09:59:59.000Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z"),
            ("0000-01-01T00:00:00-00:01", "0000-01-01T00:01:00.000Z"),
        ] {
            assert_eq!(written(text).as_deref(), Ok(time), "{text}");
            let again: Timestamp = time.parse().expect("a time");
            assert_eq!(Timestamp::from_milliseconds(again.milliseconds()), Ok(again), "{text}");
        }
        for text in ["9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01", "10000-01-01T00:00:00Z"] {
            assert_eq!(written(text), Err(NotATime), "{text}");
        }
        assert_eq!(Timestamp::from_milliseconds(i64::MAX), Err(NotATime));
        assert_eq!(Timestamp::from_milliseconds(i64::MIN), Err(NotATime));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026",
            "2026-01-31",
            "2026-01-31T18:30:00",
            "2026-01-31 18:30:00Z",
            "2026-02-30T00:00:00Z",
            "2026-01-31T18:30:00Z[UTC]",
            "-000001-01-01T00:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(NotATime), "{text:?}");
        }
    }
}
