//! The index of comments, which a bounded number of searches at a time have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use balcony_event_log::Positions;
use balcony_http::{Client, Problem};
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
    /// Of these a client has half at the most, so that it makes others wait for no more than one of its searches.
    of_clients: Arc<Mutex<HashMap<Client, Weak<Semaphore>>>>,
    each: usize,
}

/// Searches at a time for each core. Each holds one, for half a second at the most; then its snippets do.
const SEARCHES_PER_CORE: usize = 2;
/// How many clients are known before those that search no more are forgotten.
const CLIENTS_KNOWN: usize = 1_024;
/// How long a search waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl Search {
    pub(crate) fn new(serving: Serving<Index>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_places(serving, cores * SEARCHES_PER_CORE)
    }

    fn with_places(serving: Serving<Index>, places: usize) -> Self {
        Self { serving, places: Arc::new(Semaphore::new(places)), of_clients: Arc::default(), each: places.div_ceil(2) }
    }

    /// The places that `client` may have.
    fn places_of(&self, client: Client) -> Arc<Semaphore> {
        let mut of_clients = self.of_clients.lock().unwrap_or_else(PoisonError::into_inner);
        if of_clients.len() >= CLIENTS_KNOWN {
            of_clients.retain(|_, places| places.strong_count() > 0);
        }
        let known = of_clients.entry(client.alone()).or_default();
        known.upgrade().unwrap_or_else(|| {
            let places = Arc::new(Semaphore::new(self.each));
            *known = Arc::downgrade(&places);
            places
        })
    }

    /// Does `work` for `client` on a thread for what takes long, when it is its turn.
    pub(crate) async fn in_turn<T: Send + 'static>(
        &self,
        client: Client,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = timeout(LONGEST_WAIT, async {
            let own = self.places_of(client).acquire_owned().await?;
            self.places.clone().acquire_owned().await.map(|place| (own, place))
        });
        let Ok(Ok(place)) = place.await else { return Err(Problem::unavailable("too many are searching; try again")) };
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
        let search = Search::with_places(Serving::default(), 1);
        let client = Client::new(None, None);
        let (go_on, wait) = mpsc::channel::<()>();
        // Whoever asked for it leaves when it has begun.
        let first = search.in_turn(client, move || wait.recv().is_ok());
        assert!(Box::pin(first).now_or_never().is_none());
        let mut second = Box::pin(search.in_turn(client, || 2));
        assert!(second.as_mut().now_or_never().is_none(), "the place is taken");
        go_on.send(()).expect("it waits");
        assert_eq!(second.await.ok(), Some(2));
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_place_is_told_so() {
        let search = Search::with_places(Serving::default(), 0);
        let refused = search.in_turn(Client::new(None, None), || ()).await.expect_err("there is no place");
        assert_eq!(refused.status(), axum::http::StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn one_client_has_half_of_the_places_and_others_the_rest() {
        let search = Search::with_places(Serving::default(), 4);
        let at = |last| Client::new(None, Some([192, 0, 2, last].into()));
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let mut many: Vec<_> = (0..8)
            .map(|_| {
                let wait = wait.clone();
                Box::pin(search.in_turn(at(1), move || wait.lock().map(|wait| wait.recv().is_ok()).is_ok()))
            })
            .collect();
        for searching in &mut many {
            assert!(searching.as_mut().now_or_never().is_none());
        }
        assert_eq!(search.in_turn(at(2), || 2).await.ok(), Some(2));
        drop(go_on);
        for searching in many {
            assert_eq!(searching.await.ok(), Some(true));
        }
    }
}
