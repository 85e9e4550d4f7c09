//! Points in time, as RFC 3339 writes them.
//!
//! Whatever takes a time from outside reads it by [`Timestamp`], so that what one place takes every place takes: years of
//! four digits, `T` between date and time, seconds, and `Z` or an offset with hours and minutes, and nothing else that is in use
//! for times. **Nothing here knows what time it is.**

mod read;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{Duration, OffsetDateTime};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, in the years 0000 to 9999. It is written as RFC 3339 in UTC
/// with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A text that is not a date and time of RFC 3339, or one that is not between the years 0000 and 9999 in UTC.
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

/// Date and time in UTC, `milliseconds` after 1970-01-01T00:00:00Z; `None` when they have no year of four digits.
fn civil(milliseconds: i64) -> Option<OffsetDateTime> {
    let time = OffsetDateTime::UNIX_EPOCH.checked_add(Duration::milliseconds(milliseconds))?;
    (0..=9999).contains(&time.year()).then_some(time)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = civil(self.0).expect("a Timestamp is within four-digit years");
        write!(f, "{:04}-{:02}-{:02}", time.year(), u8::from(time.month()), time.day())?;
        write!(f, "T{:02}:{:02}:{:02}.{:03}Z", time.hour(), time.minute(), time.second(), time.millisecond())
    }
}

impl FromStr for Timestamp {
    type Err = NotATime;

    /// Takes any offset; what is finer than a millisecond is cut off. A leap second (23:59:60 in UTC, at the end of a month)
    /// has no number of its own and is the last millisecond before it.
    fn from_str(text: &str) -> Result<Self, NotATime> {
        let milliseconds = read::milliseconds(text.as_bytes()).ok_or(NotATime)?;
        Self::from_milliseconds(milliseconds)
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
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> Result<String, NotATime> {
        text.parse::<Timestamp>().map(|time| time.to_string())
    }

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        for (text, time) in [
            ("2026-01-31T18:30:00.1239+09:00", "2026-01-31T09:30:00.123Z"),
            ("2026-01-31T18:30:00Z", "2026-01-31T18:30:00.000Z"),
            ("2026-01-31t18:30:00.5z", "2026-01-31T18:30:00.500Z"),
            ("2026-01-31T18:30:00.123456789012345Z", "2026-01-31T18:30:00.123Z"),
            ("2026-01-31T00:00:00-00:00", "2026-01-31T00:00:00.000Z"),
            ("2026-01-31T00:00:00-23:59", "2026-01-31T23:59:00.000Z"),
            ("2024-02-29T00:00:00+23:59", "2024-02-28T00:01:00.000Z"),
        ] {
            assert_eq!(written(text).as_deref(), Ok(time), "{text}");
        }
        assert_eq!("1969-12-31T23:59:59.9999Z".parse::<Timestamp>().map(Timestamp::milliseconds), Ok(-1));
    }

    #[test]
    fn times_run_from_the_first_to_the_last_millisecond_of_years_of_four_digits() {
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
    fn a_leap_second_is_the_last_millisecond_before_it() {
        for text in ["2016-12-31T23:59:60Z", "2016-12-31T23:59:60.5Z", "2017-01-01T08:59:60+09:00"] {
            assert_eq!(written(text).as_deref(), Ok("2016-12-31T23:59:59.999Z"), "{text}");
        }
        assert_eq!(written("9999-12-31T23:59:60Z").as_deref(), Ok("9999-12-31T23:59:59.999Z"));
        for text in [
            "2016-12-30T23:59:60Z",
            "2016-12-31T23:58:60Z",
            "2016-12-31T22:59:60Z",
            "2016-12-31T23:59:60+09:00",
            "2016-12-31T23:59:61Z",
        ] {
            assert_eq!(written(text), Err(NotATime), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026",
            "yesterday",
            "2026-01-31",
            "2026-01-31T18:30:00",
            "2026-01-31 18:30:00Z",
            "2026-01-31T18:30:00 Z",
            " 2026-01-31T18:30:00Z",
            "2026-01-31T18:30:00Z ",
            "2026-02-30T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T00:60:00Z",
            "2026-01-31T18:30:00Z[UTC]",
            "2026-01-31T18:30:00+01:00[Europe/Oslo]",
            "-000001-01-01T00:00:00Z",
            "+002026-01-31T00:00:00Z",
            "+026-01-31T00:00:00Z",
            "2026-11-27T00:00Z",
            "2026-11-27T00Z",
            "2026-11-27T00:00:00+0100",
            "2026-11-27T00:00:00+01",
            "2026-11-27T00:00:00+24:00",
            "2026-11-27T00:00:00+01:60",
            "2026-11-27T00:00:00+01:00:00",
            "2026-11-27T00:00:00\u{2212}01:00",
            "2026-11-27T00:00:00,5Z",
            "2026-11-27T00:00:00.Z",
            "2026-11-27T00:00:00.5",
            "2026-11-27T00:00:00.+1Z",
            "20261127T000000Z",
            "2026-331T00:00:00Z",
            "2026-W48-5T00:00:00Z",
            "2026-11-27T00:00:0\u{0661}Z",
        ] {
            assert_eq!(written(text), Err(NotATime), "{text:?}");
        }
    }

    #[test]
    fn json_has_times_as_text() {
        let time: Timestamp = serde_json::from_str("\"2026-01-31T19:30:00+01:00\"").expect("a time");
        assert_eq!(serde_json::to_string(&time).expect("JSON"), "\"2026-01-31T18:30:00.000Z\"");
        assert!(serde_json::from_str::<Timestamp>("\"2026-11-27T00:00Z\"").is_err());
    }

    proptest! {
        #[test]
        fn every_time_is_read_as_it_was_written(milliseconds in -62_167_219_200_000..253_402_300_800_000_i64) {
            let time = Timestamp::from_milliseconds(milliseconds).expect("within four-digit years");
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }

        #[test]
        fn a_time_means_the_same_at_every_offset(
            milliseconds in 0..200_000_000_000_000_i64, hours in 0..24_i64, minutes in 0..60_i64, is_behind: bool
        ) {
            let time = Timestamp::from_milliseconds(milliseconds).expect("within four-digit years");
            let offset = (hours * 60 + minutes) * 60_000;
            let (sign, there) = if is_behind { ('-', milliseconds - offset) } else { ('+', milliseconds + offset) };
            let there = Timestamp::from_milliseconds(there).expect("within four-digit years").to_string();
            let there = there.trim_end_matches('Z');
            prop_assert_eq!(format!("{there}{sign}{hours:02}:{minutes:02}").parse(), Ok(time));
        }

        #[test]
        fn digits_that_are_not_kept_change_nothing(milliseconds in 0..200_000_000_000_000_i64, more in "[0-9]{0,200}") {
            let time = Timestamp::from_milliseconds(milliseconds).expect("within four-digit years");
            let longer = time.to_string().replace('Z', &format!("{more}z"));
            prop_assert_eq!(longer.parse(), Ok(time));
        }

        #[test]
        fn no_text_makes_reading_panic(text in ".{0,40}", at in any::<proptest::sample::Index>(), byte in "[ -~]") {
            let _ = text.parse::<Timestamp>();
            let mut near = "2026-01-31T18:30:00.123+01:00".to_owned();
            let at = at.index(near.len());
            near.replace_range(at..=at, &byte);
            if let Ok(time) = near.parse::<Timestamp>() {
                prop_assert_eq!(time.to_string().parse(), Ok(time));
            }
        }
    }
}
