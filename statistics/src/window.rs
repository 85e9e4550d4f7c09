//! Windows of time, and how long they are kept.

use std::time::Duration;

/// How long a window is. Windows begin at whole multiples of their length since 1970, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

/// How long the windows of each length are kept, counted back from the newest event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Minutes; two days unless set.
    pub minutes: Duration,
    /// Hours; 90 days unless set.
    pub hours: Duration,
    /// Days; `None`, for ever, unless set.
    pub days: Option<Duration>,
}

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
/// The length that stands for all time, whose only window begins at 0.
pub(crate) const EVER: i64 = 0;

impl Window {
    /// All there are, the shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Its length in milliseconds.
    pub const fn milliseconds(self) -> i64 {
        match self {
            Self::Minute => MINUTE,
            Self::Hour => HOUR,
            Self::Day => DAY,
        }
    }

    /// The beginning of the window that `at` is in. Both are milliseconds since 1970.
    pub const fn start(self, at: i64) -> i64 {
        floor(at, self.milliseconds())
    }

    /// Windows go in steps, so that it is not done all the time.
    const fn step(self) -> i64 {
        match self {
            Self::Minute => 6 * HOUR,
            Self::Hour | Self::Day => DAY,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self { minutes: 2 * day, hours: 90 * day, days: None }
    }
}

impl Retention {
    /// Where the windows begin that are kept when the newest event is of `newest`. Those before are gone.
    pub(crate) fn kept_since(&self, window: Window, newest: i64) -> i64 {
        let kept = match window {
            Window::Minute => Some(self.minutes),
            Window::Hour => Some(self.hours),
            Window::Day => self.days,
        };
        let Some(kept) = kept else { return i64::MIN };
        let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
        floor(newest.saturating_sub(kept), window.step())
    }
}

/// The largest multiple of `length` that is not above `at`.
pub(crate) const fn floor(at: i64, length: i64) -> i64 {
    at.saturating_sub(at.rem_euclid(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_at_multiples_of_their_length_before_1970_too() {
        assert_eq!(Window::Minute.start(61_000), 60_000);
        assert_eq!(Window::Minute.start(-1), -60_000);
        assert_eq!(Window::Hour.start(2 * HOUR), 2 * HOUR);
        assert_eq!(Window::Day.start(DAY - 1), 0);
        assert_eq!(Window::Day.start(i64::MIN), i64::MIN);
    }

    #[test]
    fn at_least_what_is_asked_for_is_kept() {
        let kept = Retention { minutes: Duration::from_secs(3_600), ..Retention::default() };
        for newest in [0, 1, 7 * HOUR, 7 * HOUR + 1, 100 * DAY] {
            let since = kept.kept_since(Window::Minute, newest);
            assert!(since <= newest - HOUR && since > newest - HOUR - 6 * HOUR, "{newest}");
        }
        assert_eq!(kept.kept_since(Window::Day, DAY), i64::MIN);
    }
}
