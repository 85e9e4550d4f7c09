use balcony_domain::Timestamp;
use uuid::Uuid;

use balcony_http::cursor::TimeKey;

/// Which way a list by time is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Newest,
    Oldest,
}

/// A stretch of a list by time. Where it begins is one place, made of the cursor and the filter, because an index
/// starts at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) direction: Direction,
    /// The place right before its first item.
    pub(crate) after: TimeKey,
    /// The time of its last items at the furthest, in milliseconds, if there is a limit.
    pub(crate) last: Option<i64>,
}

impl TimeRange {
    /// What comes after `after`, is not before `since` and is before `until`.
    pub(crate) fn new(
        direction: Direction,
        after: Option<TimeKey>,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Self {
        let since = since.map(Timestamp::milliseconds);
        // Times are whole milliseconds.
        let last_before_until = until.map(|until| until.milliseconds() - 1);
        match direction {
            Direction::Newest => {
                let until = last_before_until.map_or(TimeKey::LATEST, |at| TimeKey { at, id: Uuid::max() });
                Self { direction, after: after.map_or(until, |after| after.min(until)), last: since }
            }
            Direction::Oldest => {
                let since = since.map_or(TimeKey::EARLIEST, |at| TimeKey { at, id: Uuid::nil() });
                Self { direction, after: after.map_or(since, |after| after.max(since)), last: last_before_until }
            }
        }
    }
}

impl Direction {
    /// How the key of an item compares with that of the item it comes after.
    pub(crate) fn beyond(self) -> &'static str {
        match self {
            Self::Newest => "<",
            Self::Oldest => ">",
        }
    }

    /// How the time of an item compares with that of the last.
    pub(crate) fn up_to(self) -> &'static str {
        match self {
            Self::Newest => ">=",
            Self::Oldest => "<=",
        }
    }

    /// The order of the columns of the key.
    pub(crate) fn order(self) -> &'static str {
        match self {
            Self::Newest => "DESC",
            Self::Oldest => "ASC",
        }
    }

    /// The aggregate that gives the time of the last of some items.
    pub(crate) fn furthest(self) -> &'static str {
        match self {
            Self::Newest => "MIN",
            Self::Oldest => "MAX",
        }
    }

    /// A time that no item is beyond.
    pub(crate) fn end(self) -> i64 {
        match self {
            Self::Newest => i64::MIN,
            Self::Oldest => i64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(at: i64) -> Timestamp {
        Timestamp::from_milliseconds(at).expect("a time")
    }

    proptest! {
        #[test]
        fn a_range_holds_what_the_cursor_and_the_filter_let_through(
            newest in any::<bool>(),
            after in proptest::option::of((0..9_i64, 1..5_u128)),
            since in proptest::option::of(0..9_i64),
            until in proptest::option::of(0..9_i64),
            (at, id) in (0..9_i64, 1..5_u128),
        ) {
            let key = |(at, id)| TimeKey { at, id: Uuid::from_u128(id) };
            let (after, item) = (after.map(key), key((at, id)));
            let direction = if newest { Direction::Newest } else { Direction::Oldest };
            let range = TimeRange::new(direction, after, since.map(time), until.map(time));
            let beyond = |after| if newest { item < after } else { item > after };
            let up_to = |last| if newest { at >= last } else { at <= last };

            let wanted = after.is_none_or(beyond)
                && since.is_none_or(|since| at >= since)
                && until.is_none_or(|until| at < until);
            let held = beyond(range.after) && range.last.is_none_or(up_to);
            prop_assert_eq!(held, wanted);
        }
    }
}
