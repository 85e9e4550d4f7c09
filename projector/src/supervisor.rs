use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use balcony_event_log::EventLog;
use balcony_store::Database;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Projection;
use crate::worker::{Worker, WorkerError};

/// Runs projections, each by itself: one that fails is restarted after a while and takes no other down.
pub struct Projector {
    log: Arc<dyn EventLog>,
    database: Database,
    group_prefix: String,
    workers: JoinSet<()>,
    observers: Vec<Observer>,
    stop: watch::Sender<bool>,
}

/// What a projection is doing, as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct ProjectionState {
    /// Its name.
    pub name: &'static str,
    /// What it is doing.
    pub state: State,
    /// The generation it writes.
    pub generation: i64,
    /// Events applied since this process started.
    pub events: u64,
    /// Records parked in the generation.
    pub parked: i64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// What a projection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not yet assigned a partition.
    Starting,
    /// Applying events, or waiting for more.
    Running,
    /// Waiting for the log or the database to come back.
    Waiting,
    /// Failed. It is started again after a while, unless too many records in a row were refused.
    Failed,
}

/// Where a worker reports to.
#[derive(Clone)]
pub(crate) struct Observer {
    name: &'static str,
    shared: Arc<Mutex<ProjectionState>>,
}

/// Pauses between attempts: from 50 ms, doubled each time up to 5 s, each drawn between a half and the whole.
pub(crate) struct Backoff {
    next: Duration,
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a batch under way may take once the projector is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Names of the metrics.
mod metric {
    pub(super) const EVENTS: &str = "balcony_projection_events_total";
    pub(super) const UNKNOWN: &str = "balcony_projection_unknown_events_total";
    pub(super) const PARKED: &str = "balcony_projection_parked";
    pub(super) const BATCH_SIZE: &str = "balcony_projection_batch_events";
    pub(super) const BATCH_SECONDS: &str = "balcony_projection_batch_seconds";
    pub(super) const RESTARTS: &str = "balcony_projection_restarts_total";
}

impl Projector {
    /// A projector without projections yet. Workers of one projection find each other in the log by the group
    /// `group_prefix` + namespace of the generation.
    pub fn new(log: Arc<dyn EventLog>, database: Database, group_prefix: impl Into<String>) -> Self {
        Self {
            log,
            database,
            group_prefix: group_prefix.into(),
            workers: JoinSet::new(),
            observers: Vec::new(),
            stop: watch::Sender::new(false),
        }
    }

    /// Starts a projection.
    pub fn start<P: Projection>(&mut self, projection: P) {
        let observer = Observer::new(projection.read_model().name);
        self.observers.push(observer.clone());
        let (log, database, prefix) = (self.log.clone(), self.database.clone(), self.group_prefix.clone());
        self.workers.spawn(supervise(Arc::new(projection), log, database, prefix, observer, self.stop.subscribe()));
    }

    /// What each projection is doing.
    pub fn states(&self) -> Vec<ProjectionState> {
        self.observers.iter().map(Observer::snapshot).collect()
    }

    /// A handle that shows what each projection is doing, for as long as anybody asks.
    pub fn observe(&self) -> impl Fn() -> Vec<ProjectionState> + Send + Sync + 'static {
        let observers = self.observers.clone();
        move || observers.iter().map(Observer::snapshot).collect()
    }

    /// Ends every projection after the batch it is at, and leaves the groups, so that others take over at once.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.workers.join_next().await.is_some() {}
    }
}

async fn supervise<P: Projection>(
    projection: Arc<P>,
    log: Arc<dyn EventLog>,
    database: Database,
    group_prefix: String,
    observer: Observer,
    mut stop: watch::Receiver<bool>,
) {
    let mut backoff = Backoff::new();
    loop {
        let before = observer.snapshot().events;
        let run = async {
            let worker = Worker::join(projection.clone(), log.as_ref(), &database, &group_prefix, observer.clone());
            worker.await?.run(stop.clone()).await
        };
        let ended = tokio::select! {
            ended = catch_panic(run) => ended,
            () = grace(stop.clone()) => return,
        };
        let Err(failure) = ended else { return };
        observer.failed(&failure.reason);
        if !failure.may_pass {
            let _ = stop.wait_for(|stop| *stop).await;
            return;
        }
        if observer.snapshot().events > before {
            backoff = Backoff::new();
        }
        tokio::select! {
            () = backoff.pause() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Comes some time after the word to stop: a worker that waits for a database that is away is not waited for.
async fn grace(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
    tokio::time::sleep(GRACE).await;
}

/// Why a worker ended, and whether it may be started again.
struct Failure {
    reason: String,
    may_pass: bool,
}

/// Runs `work` and gives its failure, or its panic.
async fn catch_panic(work: impl Future<Output = Result<(), WorkerError>>) -> Result<(), Failure> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled
            .unwrap_or_else(|_| Poll::Ready(Err(WorkerError::Panicked)))
            .map_err(|error| Failure { reason: error.to_string(), may_pass: error.may_pass() })
    })
    .await
}

impl Observer {
    fn new(name: &'static str) -> Self {
        let state =
            ProjectionState { name, state: State::Starting, generation: 0, events: 0, parked: 0, last_error: None };
        Self { name, shared: Arc::new(Mutex::new(state)) }
    }

    fn snapshot(&self) -> ProjectionState {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut ProjectionState)) {
        change(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn generation(&self, generation: i64) {
        self.change(|state| state.generation = generation);
    }

    pub(crate) fn state(&self, now: State) {
        self.change(|state| state.state = now);
    }

    pub(crate) fn parked(&self, parked: i64) {
        self.change(|state| state.parked = parked);
        metrics::gauge!(metric::PARKED, "projection" => self.name).set(parked as f64);
    }

    pub(crate) fn waiting(&self, error: &dyn std::error::Error) {
        tracing::warn!(projection = self.name, %error, "waiting");
        self.change(|state| {
            state.state = State::Waiting;
            state.last_error = Some(error.to_string());
        });
    }

    fn failed(&self, reason: &str) {
        tracing::error!(projection = self.name, reason, "stopped");
        metrics::counter!(metric::RESTARTS, "projection" => self.name).increment(1);
        self.change(|state| {
            state.state = State::Failed;
            state.last_error = Some(reason.to_owned());
        });
    }

    pub(crate) fn applied(&self, events: usize, unknown: usize, parked: usize, took: Duration) {
        metrics::counter!(metric::EVENTS, "projection" => self.name).increment(events as u64);
        metrics::counter!(metric::UNKNOWN, "projection" => self.name).increment(unknown as u64);
        metrics::histogram!(metric::BATCH_SIZE, "projection" => self.name).record(events as f64);
        metrics::histogram!(metric::BATCH_SECONDS, "projection" => self.name).record(took.as_secs_f64());
        self.change(|state| {
            state.state = State::Running;
            state.events += events as u64;
        });
        if parked > 0 {
            let before = self.snapshot().parked;
            self.parked(before + i64::try_from(parked).unwrap_or(i64::MAX));
        }
    }
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST_PAUSE }
    }

    pub(crate) async fn pause(&mut self) {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST_PAUSE);
        tokio::time::sleep(whole.mul_f64(rand::random_range(0.5..=1.0))).await;
    }
}
