use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use balcony_event_log::Positions;
use balcony_http::events::{EventIds, Frame, Shown};
use balcony_http::{Client, Problem, Share, Shares};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// What is counted for streams of this node. Each series is read once for all its streams, for as long as there are any.
pub(super) struct Watched {
    series: Mutex<HashMap<String, Series>>,
    /// How many of the series each client watches.
    of_series: Shares,
    rooms: Shares,
}

/// A series that is watched.
struct Series {
    newest: watch::Receiver<Option<Arc<Snapshot>>>,
    read_to: watch::Receiver<Option<Arc<Positions>>>,
    /// The clients with the number of their streams, and what each holds for that. A program's own charts count for nobody.
    clients: HashMap<Option<Client>, (usize, Option<Share>)>,
    reading: AbortHandle,
}

/// A stream's sight of a series, until it is dropped.
pub(super) struct Watching {
    /// The newest counts; `None` before they are read.
    newest: watch::Receiver<Option<Arc<Snapshot>>>,
    /// How far in the log whatever was read last has come, whether it had moved or not.
    read_to: watch::Receiver<Option<Arc<Positions>>>,
    _seat: Seat,
}

struct Seat {
    watched: Arc<Watched>,
    name: String,
    client: Option<Client>,
}

/// Counts.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// What is shown, as ids name it.
    pub(super) shown: Shown,
    /// How far in the log it has come at least.
    pub(super) positions: Positions,
    /// The event, which is the same for all.
    pub(super) event: Bytes,
}

/// How often a series is read.
const EVERY: Duration = Duration::from_secs(1);
/// How many series are watched at a time.
const MOST_WATCHED: usize = 200;
/// How many streams a node has open at the most.
const MOST_STREAMS: usize = 20_000;

impl Default for Watched {
    fn default() -> Self {
        Self {
            series: Mutex::default(),
            of_series: Shares::of_common("series that are watched", MOST_WATCHED),
            rooms: Shares::of("open streams", MOST_STREAMS),
        }
    }
}

impl Watched {
    /// Room for one stream more of `client`, until it is dropped.
    pub(super) fn room(&self, client: Client) -> Result<Share, Problem> {
        Ok(self.rooms.take(client)?)
    }

    /// The counts of the series called `name`, which `read` gives, for `client`, or for a program's own charts.
    pub(super) fn watch<F>(
        self: &Arc<Self>,
        client: Option<Client>,
        name: &str,
        read: impl Fn() -> F + Send + 'static,
    ) -> Result<Watching, Problem>
    where
        F: Future<Output = Option<Snapshot>> + Send + 'static,
    {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.len();
        let share = || client.map(|client| self.of_series.take(client)).transpose();
        let series = match all.entry(name.to_owned()) {
            Entry::Occupied(series) => {
                let series = series.into_mut();
                match series.clients.entry(client) {
                    Entry::Occupied(streams) => streams.into_mut().0 += 1,
                    Entry::Vacant(vacant) => drop(vacant.insert((1, share()?))),
                }
                series
            }
            Entry::Vacant(_) if count == MOST_WATCHED => return Err(full()),
            Entry::Vacant(vacant) => {
                let clients = [(client, (1, share()?))].into();
                let ((told, newest), (tell_read, read_to)) = (watch::channel(None), watch::channel(None));
                let reading = tokio::spawn(keep(told, tell_read, read)).abort_handle();
                vacant.insert(Series { newest, read_to, clients, reading })
            }
        };
        let (newest, read_to) = (series.newest.clone(), series.read_to.clone());
        let seat = Seat { watched: self.clone(), name: name.to_owned(), client };
        Ok(Watching { newest, read_to, _seat: seat })
    }
}

/// Reads a series again and again.
async fn keep<F>(
    newest: watch::Sender<Option<Arc<Snapshot>>>,
    read_to: watch::Sender<Option<Arc<Positions>>>,
    read: impl Fn() -> F + Send,
) where
    F: Future<Output = Option<Snapshot>> + Send,
{
    loop {
        if let Some(snapshot) = read().await {
            let positions = Arc::new(snapshot.positions.clone());
            newest.send_if_modified(|newest| {
                let has_moved = newest.as_ref().is_none_or(|before| before.shown != snapshot.shown);
                if has_moved {
                    *newest = Some(snapshot.into());
                }
                has_moved
            });
            read_to.send_replace(Some(positions));
        }
        sleep(EVERY).await;
    }
}

impl Snapshot {
    /// What the series called `name` shows with `frame`, as of `positions`.
    pub(super) fn of(name: &str, frame: &Frame, positions: Positions, ids: &EventIds) -> Self {
        let shown = Shown::of(name, frame);
        let event = frame.with_id(&ids.text_of_shown(&positions, shown)).into();
        Self { shown, positions, event }
    }
}

impl Watching {
    /// Waits until something was read, and gives it.
    pub(super) async fn first(&mut self, patience: Duration) -> Option<Arc<Snapshot>> {
        let first = timeout(patience, self.newest.wait_for(Option::is_some)).await.ok()?.ok()?;
        first.clone()
    }

    /// What has come since this was asked last, or begun.
    pub(super) async fn next(&mut self) -> Option<Arc<Snapshot>> {
        loop {
            self.newest.changed().await.ok()?;
            if let Some(snapshot) = self.newest.borrow_and_update().clone() {
                return Some(snapshot);
            }
        }
    }

    /// What is there comes next, too.
    pub(super) fn begin_with_what_is_there(&mut self) {
        self.newest.mark_changed();
    }

    /// Goes on for a client that was `shown` something as of `positions`, or another kind of event: what is there comes next
    /// unless the client has it. What was read here before the client had that, as on another node, is not given.
    pub(super) async fn go_on(&mut self, shown: Option<Shown>, positions: &Positions, patience: Duration) {
        if !self.is_there(shown) {
            let has_come = |read_to: &Option<Arc<Positions>>| read_to.as_ref().is_some_and(|to| to.covers(positions));
            let _ = timeout(patience, self.read_to.wait_for(has_come)).await;
            if !self.is_there(shown) {
                self.newest.mark_changed();
            }
        }
    }

    /// Whether that is what is there, which then counts as given.
    fn is_there(&mut self, shown: Option<Shown>) -> bool {
        let newest = self.newest.borrow_and_update();
        newest.as_ref().is_some_and(|newest| Some(newest.shown) == shown)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.watched.series.lock().unwrap_or_else(PoisonError::into_inner);
        let Entry::Occupied(mut series) = all.entry(std::mem::take(&mut self.name)) else { return };
        if let Entry::Occupied(mut streams) = series.get_mut().clients.entry(self.client) {
            streams.get_mut().0 -= 1;
            if streams.get().0 == 0 {
                streams.remove();
            }
        }
        if series.get().clients.is_empty() {
            series.remove().reading.abort();
        }
    }
}

fn full() -> Problem {
    Problem::unavailable("too many streams are open here; try again later")
}
