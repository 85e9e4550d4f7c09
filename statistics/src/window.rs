//! Windows of time, and how long they are kept.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// How long a window is: a whole number of seconds. Windows begin at whole multiples of their length since 1970, in UTC.
/// It is written as a number and a unit, the largest of which it is a whole number: `10s`, `1m`, `1h`, `1d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window(i64);

/// A text that is not the length of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not the length of a window, such as 10s, 1m, 1h or 1d")]
pub struct NotAWindow;

/// The windows in which a program counts, and how long each is kept, counted back from the newest event. Cheap to clone.
///
/// ```
/// use std::time::Duration;
/// use balcony_statistics::{Window, Windows};
///
/// let hour = Duration::from_secs(3_600);
/// let windows = Windows::of([
///     (Window::seconds(10), Some(2 * hour)),
///     (Window::MINUTE, Some(48 * hour)),
///     (Window::HOUR, Some(90 * 24 * hour)),
///     (Window::DAY, None),
/// ]);
/// assert_eq!(windows.lengths().map(|window| window.to_string()).collect::<Vec<_>>(), ["10s", "1m", "1h", "1d"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows(Arc<[(Window, Option<Duration>)]>);

const SECOND: i64 = 1_000;
pub(crate) const DAY: i64 = 24 * 60 * 60 * SECOND;
/// The length that stands for all time, whose only window begins at 0.
pub(crate) const EVER: i64 = 0;

/// The longest window, in seconds: a hundred years.
const LONGEST: u32 = 100 * 366 * 24 * 60 * 60;
/// Units, the largest first, in milliseconds.
const UNITS: [(&str, i64); 4] = [("d", DAY), ("h", DAY / 24), ("m", 60 * SECOND), ("s", SECOND)];

impl Window {
    /// A minute.
    pub const MINUTE: Self = Self::seconds(60);
    /// An hour.
    pub const HOUR: Self = Self::seconds(60 * 60);
    /// A day.
    pub const DAY: Self = Self::seconds(24 * 60 * 60);

    /// So many seconds.
    ///
    /// # Panics
    /// When there are none of them, or more than a hundred years have.
    pub const fn seconds(count: u32) -> Self {
        assert!(count > 0 && count <= LONGEST, "a window has a length");
        Self(count as i64 * SECOND)
    }

    /// Its length in milliseconds.
    pub const fn milliseconds(self) -> i64 {
        self.0
    }

    /// The beginning of the window that `at` is in. Both are milliseconds since 1970.
    pub const fn start(self, at: i64) -> i64 {
        floor(at, self.milliseconds())
    }

    /// Windows go in steps, so that it is not done all the time.
    const fn step(self) -> i64 {
        let some = self.0.saturating_mul(360);
        if some < DAY { some } else { DAY }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.into_iter().find(|(_, length)| self.0 % length == 0);
        let (name, length) = unit.expect("a window is a whole number of seconds");
        write!(f, "{}{name}", self.0 / length)
    }
}

impl FromStr for Window {
    type Err = NotAWindow;

    fn from_str(text: &str) -> Result<Self, NotAWindow> {
        let (name, length) = UNITS.into_iter().find(|(name, _)| text.ends_with(name)).ok_or(NotAWindow)?;
        let number = text.strip_suffix(name).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let number: u32 = number.and_then(|number| number.parse().ok()).ok_or(NotAWindow)?;
        let seconds = i64::from(number) * length / SECOND;
        let seconds = u32::try_from(seconds).ok().filter(|seconds| (1..=LONGEST).contains(seconds));
        seconds.map(Self::seconds).ok_or(NotAWindow)
    }
}

impl Default for Windows {
    /// Minutes for two days, hours for 90 days, and days for ever.
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self::of([(Window::MINUTE, Some(2 * day)), (Window::HOUR, Some(90 * day)), (Window::DAY, None)])
    }
}

impl Windows {
    /// Windows of these lengths, each kept for so long; `None` is for ever.
    ///
    /// # Panics
    /// When there are none, when a length is not a multiple of the one before, or is kept for less time.
    pub fn of(kept: impl IntoIterator<Item = (Window, Option<Duration>)>) -> Self {
        let kept: Arc<[_]> = kept.into_iter().collect();
        assert!(!kept.is_empty(), "something is counted in windows");
        for pair in kept.windows(2) {
            let [(shorter, before), (longer, after)] = pair else { continue };
            let is_multiple = longer > shorter && longer.milliseconds() % shorter.milliseconds() == 0;
            assert!(is_multiple, "{longer} is not a multiple of {shorter}, which is the window before");
            let is_kept = after.is_none_or(|after| before.is_some_and(|before| before <= after));
            assert!(is_kept, "windows of {longer} are kept for less time than those of {shorter}");
        }
        Self(kept)
    }

    /// The lengths, the shortest first.
    pub fn lengths(&self) -> impl DoubleEndedIterator<Item = Window> {
        self.0.iter().map(|(window, _)| *window)
    }

    /// How long windows of this length are kept; `None` is for ever.
    pub fn kept_for(&self, window: Window) -> Option<Duration> {
        self.0.iter().find(|(known, _)| *known == window).and_then(|(_, kept)| *kept)
    }

    /// What is shown when no length is asked for: an hour, or the shortest where there are no hours.
    pub fn usual(&self) -> Window {
        self.lengths().find(|window| *window == Window::HOUR).unwrap_or(self.0[0].0)
    }

    /// The shortest that is kept for `length` milliseconds, or else the longest.
    pub(crate) fn finest_for(&self, length: i64) -> Window {
        let is_enough = |kept: Option<Duration>| kept.is_none_or(|kept| milliseconds(kept) >= length);
        let found = self.0.iter().find(|(_, kept)| is_enough(*kept)).or(self.0.last());
        found.expect("there is at least one").0
    }

    /// Where the windows begin that are kept when the newest event is of `newest`. Those before are gone.
    pub(crate) fn kept_since(&self, window: Window, newest: i64) -> i64 {
        let Some(kept) = self.kept_for(window) else { return i64::MIN };
        floor(newest.saturating_sub(milliseconds(kept)), window.step())
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The largest multiple of `length` that is not above `at`.
pub(crate) const fn floor(at: i64, length: i64) -> i64 {
    at.saturating_sub(at.rem_euclid(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = DAY / 24;

    fn hours(count: u64) -> Option<Duration> {
        Some(Duration::from_secs(3_600 * count))
    }

    #[test]
    fn windows_begin_at_multiples_of_their_length_before_1970_too() {
        assert_eq!(Window::MINUTE.start(61_000), 60_000);
        assert_eq!(Window::MINUTE.start(-1), -60_000);
        assert_eq!(Window::HOUR.start(2 * HOUR), 2 * HOUR);
        assert_eq!(Window::DAY.start(DAY - 1), 0);
        assert_eq!(Window::DAY.start(i64::MIN), i64::MIN);
        assert_eq!(Window::seconds(10).start(19_999), 10_000);
    }

    #[test]
    fn at_least_what_is_asked_for_is_kept() {
        let kept = Windows::of([(Window::seconds(10), hours(1)), (Window::MINUTE, hours(1)), (Window::DAY, None)]);
        for newest in [0, 1, 7 * HOUR, 7 * HOUR + 1, 100 * DAY] {
            let since = kept.kept_since(Window::MINUTE, newest);
            assert!(since <= newest - HOUR && since > newest - HOUR - 6 * HOUR, "{newest}");
            let since = kept.kept_since(Window::seconds(10), newest);
            assert!(since <= newest - HOUR && since > newest - HOUR - HOUR, "{newest}");
        }
        assert_eq!(kept.kept_since(Window::DAY, DAY), i64::MIN);
    }

    #[test]
    fn a_window_is_written_in_its_largest_unit_and_read_back() {
        for (text, seconds) in [("10s", 10), ("1m", 60), ("90s", 90), ("1h", 3_600), ("1d", 86_400), ("7d", 604_800)] {
            assert_eq!(Window::seconds(seconds).to_string(), text);
            assert_eq!(text.parse(), Ok(Window::seconds(seconds)));
        }
        for text in ["", "s", "0s", "1", "-1s", "+1s", "1w", "1 s", "1.5h", "4294967295d", "99999999999s", "1é"] {
            assert_eq!(text.parse::<Window>(), Err(NotAWindow), "{text:?}");
        }
    }

    #[test]
    fn windows_that_do_not_fit_into_each_other_are_an_error_of_the_program() {
        let refused =
            |kept: &[(Window, Option<Duration>)]| std::panic::catch_unwind(|| Windows::of(kept.to_vec())).is_err();
        assert!(refused(&[]));
        assert!(refused(&[(Window::seconds(7), hours(1)), (Window::MINUTE, hours(1))]));
        assert!(refused(&[(Window::HOUR, hours(1)), (Window::MINUTE, hours(1))]));
        assert!(refused(&[(Window::MINUTE, hours(1)), (Window::MINUTE, hours(1))]));
        assert!(refused(&[(Window::MINUTE, hours(2)), (Window::HOUR, hours(1))]));
        assert!(refused(&[(Window::MINUTE, None), (Window::HOUR, hours(1))]));
        assert!(!refused(&[(Window::MINUTE, hours(1)), (Window::HOUR, hours(1)), (Window::DAY, None)]));
    }

    #[test]
    fn the_shortest_that_is_kept_for_long_enough_is_found() {
        let windows =
            Windows::of([(Window::seconds(10), hours(1)), (Window::MINUTE, hours(48)), (Window::HOUR, hours(90))]);
        assert_eq!(windows.finest_for(30 * 60_000), Window::seconds(10));
        assert_eq!(windows.finest_for(HOUR + 1), Window::MINUTE);
        assert_eq!(windows.finest_for(DAY * 365), Window::HOUR);
        assert_eq!((windows.usual(), Windows::of([(Window::DAY, None)]).usual()), (Window::HOUR, Window::DAY));
    }
}
