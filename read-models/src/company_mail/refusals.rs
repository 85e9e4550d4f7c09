//! Which mails the server goes on not to take, as this process has seen it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// What the server has not taken when it was tried last, by mail.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many mails the server has taken.
    taken: u64,
    refused: HashMap<Uuid, Tries>,
}

#[derive(Debug, Clone, Copy)]
struct Tries {
    since: Instant,
    times: i64,
    /// How many mails the server had taken when it did not take this one first.
    taken: u64,
}

/// For how long a mail was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) time: Duration,
    pub(super) times: i64,
    /// Whether the server has taken another mail since.
    pub(super) others_are_taken: bool,
}

/// How many mails are remembered, which is more than are tried at a time. When there are so many, all are forgotten: their count
/// begins anew.
const MOST: usize = 20_000;

impl Refusals {
    /// Notes that the server did not take the mail `id` at the time `now`. Says for how long it has not.
    pub(super) fn note(&self, id: Uuid, now: Instant) -> Refused {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.refused.len() >= MOST && !state.refused.contains_key(&id) {
            state.refused.clear();
        }
        let taken = state.taken;
        let tries = state.refused.entry(id).or_insert_with(|| Tries { since: now, times: 0, taken });
        tries.times += 1;
        Refused { time: now.duration_since(tries.since), times: tries.times, others_are_taken: tries.taken < taken }
    }

    /// Notes that the server has taken the mail `id`.
    pub(super) fn taken(&self, id: Uuid) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken += 1;
        state.refused.remove(&id);
    }

    /// Notes that the mail `id` is not tried any more.
    pub(super) fn forget(&self, id: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refused.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_for_how_long_a_mail_was_not_taken_and_whether_another_was() {
        let refusals = Refusals::default();
        let [one, other] = [1, 2].map(Uuid::from_u128);
        let began = Instant::now();
        let note = |id, second| refusals.note(id, began + Duration::from_secs(second));
        let refused =
            |seconds, times, others_are_taken| Refused { time: Duration::from_secs(seconds), times, others_are_taken };
        refusals.taken(other);
        assert_eq!(note(one, 0), refused(0, 1, false), "another was taken before");
        assert_eq!((note(other, 3), note(one, 3)), (refused(0, 1, false), refused(3, 2, false)));
        refusals.taken(other);
        assert_eq!((note(one, 6), note(other, 6)), (refused(6, 3, true), refused(0, 1, false)));
        refusals.forget(one);
        assert_eq!(note(one, 7), refused(0, 1, false));
    }

    #[test]
    fn no_more_than_so_many_mails_are_remembered() {
        let refusals = Refusals::default();
        let now = Instant::now();
        let note = |number: usize| refusals.note(Uuid::from_u128(number as u128), now).times;
        assert!((0..MOST).all(|number| note(number) == 1));
        assert_eq!((note(0), note(MOST), note(1)), (2, 1, 1));
    }
}
