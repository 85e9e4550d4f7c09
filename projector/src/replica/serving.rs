use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use balcony_event_log::Positions;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// What a replica is read through at the moment, which is another view after a rebuild. Clones are the same.
pub struct Serving<V> {
    state: Arc<watch::Sender<State<V>>>,
    /// How many wait.
    waiting: Arc<watch::Sender<usize>>,
}

/// One who waits, until it is dropped.
struct Waiting<'w>(&'w watch::Sender<usize>);

impl<'w> Waiting<'w> {
    fn of(waiting: &'w watch::Sender<usize>) -> Self {
        waiting.send_modify(|count| *count += 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

enum State<V> {
    Open { id: u64, view: V, positions: Positions },
    Closed(String),
}

impl<V> Clone for Serving<V> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), waiting: self.waiting.clone() }
    }
}

impl<V> Default for Serving<V> {
    fn default() -> Self {
        let state = watch::Sender::new(State::Closed("it is being opened".to_owned()));
        Self { state: Arc::new(state), waiting: Arc::default() }
    }
}

impl<V> Serving<V> {
    /// A number that no other view has.
    pub(crate) fn new_id() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }
}

impl<V: Clone> Serving<V> {
    /// The view, or why there is none to be read now.
    ///
    /// # Errors
    /// A text for whoever reads.
    pub fn view(&self) -> Result<V, String> {
        match &*self.state.borrow() {
            State::Open { view, .. } => Ok(view.clone()),
            State::Closed(reason) => Err(reason.clone()),
        }
    }

    /// Waits until the view holds everything below `wanted`; `false` when it does not in time.
    ///
    /// # Errors
    /// As [`Serving::view`], once the time is over.
    pub async fn wait_for(&self, wanted: &Positions, deadline: Instant) -> Result<bool, String> {
        let mut state = self.state.subscribe();
        let mut waiting = None;
        loop {
            let now = match &*state.borrow_and_update() {
                State::Open { positions, .. } if positions.covers(wanted) => return Ok(true),
                State::Open { .. } => Ok(false),
                State::Closed(reason) => Err(reason.clone()),
            };
            waiting.get_or_insert_with(|| Waiting::of(&self.waiting));
            if !matches!(timeout_at(deadline, state.changed()).await, Ok(Ok(()))) {
                return now;
            }
        }
    }

    /// Waits until somebody waits for it to come further.
    pub(crate) async fn is_wanted(&self) {
        // The sender is here, so it is there.
        let _ = self.waiting.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Lets `view` be read from now on, which has come to `positions`, and says whether it is. It is not while another is
    /// read that has come further and `goes_on`: whoever has waited for that one finds in this what was waited for.
    pub(crate) fn serve(&self, id: u64, view: V, positions: Positions, goes_on: bool) -> bool {
        let mut is_read = true;
        self.state.send_if_modified(|state| {
            let is_news = match &*state {
                State::Open { id: current, positions: reached, .. } if *current == id => !reached.covers(&positions),
                State::Open { positions: reached, .. } if goes_on && !positions.covers(reached) => {
                    is_read = false;
                    false
                }
                _ => true,
            };
            if is_news {
                *state = State::Open { id, view, positions };
            }
            is_news
        });
        is_read
    }

    /// Notes that the view `id` has come to `positions`.
    pub(crate) fn moved(&self, id: u64, positions: &Positions) {
        self.state.send_if_modified(|state| match state {
            State::Open { id: current, positions: reached, .. } if *current == id => {
                reached.clone_from(positions);
                true
            }
            _ => false,
        });
    }

    /// There is nothing to be read now, and why.
    pub(crate) fn close(&self, reason: String) {
        self.state.send_if_modified(|state| {
            let is_news = !matches!(state, State::Closed(before) if *before == reason);
            *state = State::Closed(reason);
            is_news
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use balcony_event_log::TopicPartition;

    use super::*;

    fn at(next: i64) -> Positions {
        [(TopicPartition::new("t", 0), next)].into_iter().collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_is_told_when_the_view_has_come_so_far() {
        let serving = Serving::<&str>::default();
        assert!(serving.view().is_err() && serving.wait_for(&at(1), Instant::now()).await.is_err());

        let waiting = tokio::spawn({
            let serving = serving.clone();
            async move { serving.wait_for(&at(3), Instant::now() + Duration::from_secs(30)).await }
        });
        serving.is_wanted().await;
        assert!(serving.serve(1, "view", at(0), false));
        assert_eq!(serving.wait_for(&at(3), Instant::now()).await, Ok(false));
        serving.moved(2, &at(3));
        assert_eq!(serving.wait_for(&at(3), Instant::now()).await, Ok(false), "another view has come so far");
        serving.moved(1, &at(3));
        assert_eq!(waiting.await.expect("an end"), Ok(true));
        assert_eq!(*serving.waiting.borrow(), 0, "nobody waits any more");
        serving.close("gone".into());
        assert_eq!(serving.view().err().as_deref(), Some("gone"));
    }

    #[test]
    fn a_view_that_has_come_less_far_waits_for_its_turn() {
        let serving = Serving::<&str>::default();
        assert!(serving.serve(1, "before", at(3), true));
        serving.moved(1, &at(5));
        assert!(!serving.serve(2, "next", at(4), true));
        assert_eq!(serving.view(), Ok("before"), "who has waited for 5 reads what has it");
        assert!(serving.serve(2, "next", at(5), true));
        assert_eq!(serving.view(), Ok("next"));
        assert!(serving.serve(3, "the only one left", at(0), false));
        assert_eq!(serving.view(), Ok("the only one left"));
    }
}
