use std::fmt;
use std::str::FromStr;

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
        match jiff::Timestamp::from_millisecond(milliseconds) {
            Ok(time) if (0..=9999).contains(&time.to_zoned(jiff::tz::TimeZone::UTC).year()) => Ok(Self(milliseconds)),
            _ => Err(NotATime),
        }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn milliseconds(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).expect("a Timestamp is within four-digit years");
        write!(f, "{time:.3}")
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
        let time: jiff::Timestamp = text.parse().map_err(|_| NotATime)?;
        let milliseconds = time.as_nanosecond().div_euclid(1_000_000);
        Self::from_milliseconds(i64::try_from(milliseconds).map_err(|_| NotATime)?)
    }
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
