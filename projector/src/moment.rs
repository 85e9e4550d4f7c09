use std::fmt;
use std::str::FromStr;

use balcony_store::OffsetDateTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;

use crate::clock::milliseconds_now;

/// A point in time as operators see it: RFC 3339 in UTC, with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(OffsetDateTime);

/// A text that is no time of RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a time of RFC 3339, such as 2026-01-31T18:30:00Z")]
pub struct NotAMoment;

impl Moment {
    /// This moment, by the clock of this machine.
    pub fn now() -> Self {
        Self::from_milliseconds(milliseconds_now())
    }

    /// The time `milliseconds` after 1970-01-01T00:00:00Z; 1970 when that is no time of four-digit years, which only a
    /// clock far off tells.
    pub fn from_milliseconds(milliseconds: i64) -> Self {
        Self::in_range(milliseconds).unwrap_or(Self(OffsetDateTime::UNIX_EPOCH))
    }

    /// The same; `None` when it is no time of four-digit years.
    pub fn in_range(milliseconds: i64) -> Option<Self> {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok()?;
        (0..=9999).contains(&time.year()).then_some(Self(time))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn milliseconds(self) -> i64 {
        let milliseconds = self.0.unix_timestamp_nanos().div_euclid(1_000_000);
        i64::try_from(milliseconds).expect("four-digit years are some 10^14 milliseconds")
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, time) = (self.0.date(), self.0.time());
        write!(f, "{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())?;
        write!(f, "T{:02}:{:02}:{:02}.{:03}Z", time.hour(), time.minute(), time.second(), time.millisecond())
    }
}

impl FromStr for Moment {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| NotAMoment)?;
        // In UTC the year may be another, of five digits or before 0.
        let time = time.checked_to_offset(time::UtcOffset::UTC).ok_or(NotAMoment)?;
        (0..=9999).contains(&time.year()).then_some(Self(time)).ok_or(NotAMoment)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
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
        assert_eq!("yesterday".parse::<Moment>(), Err(NotAMoment));
        assert_eq!(Moment::from_milliseconds(i64::MAX).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!((Moment::in_range(i64::MIN), Moment::in_range(i64::MAX)), (None, None));
        assert_eq!(Moment::from_milliseconds(-1).to_string(), "1969-12-31T23:59:59.999Z");
        for beyond in ["9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01"] {
            assert_eq!(beyond.parse::<Moment>(), Err(NotAMoment), "{beyond}");
        }
    }
}
