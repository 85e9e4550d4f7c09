//! The index of comments, which a bounded number of searches at a time have.

use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::Positions;
use balcony_http::Problem;
use balcony_projector::Serving;
use balcony_search::Index;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// The index, and how many may search it at a time.
#[derive(Clone)]
pub(crate) struct Search {
    pub(crate) serving: Serving<Index>,
    places: Arc<Semaphore>,
}

/// Searches at a time for each core. Each holds one, for half a second at the most; then its snippets do.
const SEARCHES_PER_CORE: usize = 2;
/// How long a search waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl Search {
    pub(crate) fn new(serving: Serving<Index>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { serving, places: Arc::new(Semaphore::new(cores * SEARCHES_PER_CORE)) }
    }

    /// Does `work` on a thread for what takes long, when it is its turn.
    pub(crate) async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = timeout(LONGEST_WAIT, self.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(Problem::unavailable("too many are searching; try again")) };
        let working = spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        working.await.map_err(|error| Problem::internal(&error))
    }

    pub(crate) fn index(&self) -> Result<Index, Problem> {
        self.serving.view().map_err(|reason| unavailable(&reason))
    }

    /// See [`Serving::wait_for`].
    pub(crate) async fn wait_for(
        &self,
        positions: &Positions,
        deadline: tokio::time::Instant,
    ) -> Result<bool, Problem> {
        self.serving.wait_for(positions, deadline).await.map_err(|reason| unavailable(&reason))
    }
}

/// 503: search is not available, for this reason.
pub(crate) fn unavailable(reason: &str) -> Problem {
    Problem::unavailable(format!("search is not available: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_searches_has_a_place_until_that_is_done_whether_somebody_waits_or_not() {
        let search = Search { serving: Serving::default(), places: Arc::new(Semaphore::new(1)) };
        let (go_on, wait) = mpsc::channel::<()>();
        // Whoever asked for it leaves when it has begun.
        let first = search.in_turn(move || wait.recv().is_ok());
        assert!(Box::pin(first).now_or_never().is_none());
        let mut second = Box::pin(search.in_turn(|| 2));
        assert!(second.as_mut().now_or_never().is_none(), "the place is taken");
        go_on.send(()).expect("it waits");
        assert_eq!(second.await.ok(), Some(2));
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_place_is_told_so() {
        let search = Search { serving: Serving::default(), places: Arc::new(Semaphore::new(0)) };
        let refused = search.in_turn(|| ()).await.expect_err("there is no place");
        assert_eq!(refused.status(), axum::http::StatusCode::SERVICE_UNAVAILABLE);
    }
}
