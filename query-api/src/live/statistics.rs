//! Counts as they move.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::event_id::EventIds;
use super::frame::{Frame, heartbeat};
use super::hub::Hub;
use super::stream::HEARTBEAT;

/// What is counted for streams of this node. Each series is read once for all its streams.
#[derive(Default)]
pub(super) struct Watched(Mutex<HashMap<String, Newest>>);

/// The newest counts of a series, as JSON; `None` before they are read.
type Newest = watch::Sender<Option<Arc<str>>>;

/// What is sent to one client.
pub(super) struct Counts {
    newest: watch::Receiver<Option<Arc<str>>>,
    hub: Arc<Hub>,
    ids: EventIds,
    /// Whether the client is to be told that it has missed something.
    reset: bool,
    beats_at: Instant,
}

/// How often a series is read.
const EVERY: Duration = Duration::from_secs(1);
/// How many series are watched at a time.
const MOST_WATCHED: usize = 200;

impl Watched {
    /// The counts of the series called `name`, which `read` gives, for as long as anybody watches; `None` when there are too
    /// many.
    pub(super) fn watch<F>(
        self: &Arc<Self>,
        name: String,
        read: impl Fn() -> F + Send + 'static,
    ) -> Option<watch::Receiver<Option<Arc<str>>>>
    where
        F: Future<Output = Option<String>> + Send + 'static,
    {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = watched.len();
        match watched.entry(name.clone()) {
            Entry::Occupied(newest) => Some(newest.get().subscribe()),
            Entry::Vacant(_) if count == MOST_WATCHED => None,
            Entry::Vacant(vacant) => {
                let newest = Newest::new(None);
                let watching = newest.subscribe();
                vacant.insert(newest.clone());
                tokio::spawn(self.clone().keep(name, newest, read));
                Some(watching)
            }
        }
    }

    async fn keep<F>(self: Arc<Self>, name: String, newest: Newest, read: impl Fn() -> F + Send)
    where
        F: Future<Output = Option<String>> + Send,
    {
        loop {
            if let Some(counts) = read().await {
                newest.send_if_modified(|newest| {
                    let has_moved = newest.as_deref() != Some(&*counts);
                    if has_moved {
                        *newest = Some(counts.into());
                    }
                    has_moved
                });
            }
            sleep(EVERY).await;
            let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if newest.receiver_count() == 0 {
                watched.remove(&name);
                return;
            }
        }
    }
}

impl Counts {
    pub(super) fn new(newest: watch::Receiver<Option<Arc<str>>>, hub: Arc<Hub>, ids: EventIds, reset: bool) -> Self {
        Self { newest, hub, ids, reset, beats_at: Instant::now() + HEARTBEAT }
    }

    pub(super) fn into_body(self) -> Body {
        Body::from_stream(futures_util::stream::unfold(self, |mut counts| async move {
            let next = counts.next().await?;
            Some((Ok::<_, Infallible>(next), counts))
        }))
    }

    /// What comes next; `None` when the node ends its streams.
    async fn next(&mut self) -> Option<Bytes> {
        let mut handed_out = self.hub.handed_out();
        let id = handed_out.borrow().as_ref().map(|positions| self.ids.text(positions))?;
        if std::mem::take(&mut self.reset) {
            return Some(Frame::reset().with_id(&id).into());
        }
        tokio::select! {
            biased;
            ended = handed_out.wait_for(Option::is_none) => {
                drop(ended);
                None
            }
            moved = self.newest.changed() => {
                moved.ok()?;
                let counts = self.newest.borrow_and_update().clone()?;
                Some(Frame::stats(&counts).with_id(&id).into())
            }
            () = sleep_until(self.beats_at) => {
                self.beats_at = Instant::now() + HEARTBEAT;
                Some(heartbeat(None).into())
            }
        }
    }
}
