use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use balcony_event_log::Positions;
use balcony_http::events::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;

/// What is counted for streams of this node. Each series is read once for all its streams.
pub(super) struct Watched {
    series: Mutex<HashMap<String, watch::Sender<Option<Arc<Snapshot>>>>>,
    rooms: Arc<Semaphore>,
}

/// The newest counts of a series; `None` before they are read.
pub(super) type Newest = watch::Receiver<Option<Arc<Snapshot>>>;

/// Counts, and how far in the log they have come at least.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) frame: Frame,
    pub(super) positions: Positions,
}

/// There are too many streams, or too many series are watched.
#[derive(Debug)]
pub(super) struct Full;

/// How often a series is read.
const EVERY: Duration = Duration::from_secs(1);
/// How many series are watched at a time.
const MOST_WATCHED: usize = 200;
/// How many streams a node has open at the most.
const MOST_STREAMS: usize = 20_000;

impl Default for Watched {
    fn default() -> Self {
        Self { series: Mutex::default(), rooms: Arc::new(Semaphore::new(MOST_STREAMS)) }
    }
}

impl Watched {
    /// Room for one stream more, until it is dropped.
    pub(super) fn room(&self) -> Result<OwnedSemaphorePermit, Full> {
        self.rooms.clone().try_acquire_owned().map_err(|_| Full)
    }

    /// The counts of the series called `name`, which `read` gives, for as long as anybody watches.
    pub(super) fn watch<F>(
        self: &Arc<Self>,
        name: String,
        read: impl Fn() -> F + Send + 'static,
    ) -> Result<Newest, Full>
    where
        F: Future<Output = Option<Snapshot>> + Send + 'static,
    {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let count = series.len();
        match series.entry(name.clone()) {
            Entry::Occupied(newest) => Ok(newest.get().subscribe()),
            Entry::Vacant(_) if count == MOST_WATCHED => Err(Full),
            Entry::Vacant(vacant) => {
                let (newest, watching) = watch::channel(None);
                vacant.insert(newest.clone());
                tokio::spawn(self.clone().keep(name, newest, read));
                Ok(watching)
            }
        }
    }

    async fn keep<F>(
        self: Arc<Self>,
        name: String,
        newest: watch::Sender<Option<Arc<Snapshot>>>,
        read: impl Fn() -> F + Send,
    ) where
        F: Future<Output = Option<Snapshot>> + Send,
    {
        loop {
            if let Some(snapshot) = read().await {
                newest.send_if_modified(|newest| {
                    let has_moved = newest.as_ref().is_none_or(|before| before.frame != snapshot.frame);
                    if has_moved {
                        *newest = Some(snapshot.into());
                    }
                    has_moved
                });
            }
            sleep(EVERY).await;
            let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
            if newest.receiver_count() == 0 {
                series.remove(&name);
                return;
            }
        }
    }
}
