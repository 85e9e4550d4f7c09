use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::applier::milliseconds_now;
use crate::batch::Decoded;

/// What a projection is doing in this process, as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct ProjectionState {
    /// Its name.
    pub name: &'static str,
    /// What it is doing.
    pub state: State,
    /// The generation it writes; 0 before there is one.
    pub generation: i64,
    /// Events applied since this process started to write that generation.
    pub events: u64,
    /// Records parked in the generation.
    pub parked: i64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When, in milliseconds since 1970.
    pub last_error_at: Option<i64>,
    /// The generation that is built beside it.
    pub rebuild: Option<RebuildState>,
}

/// How far the build of a generation has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RebuildState {
    /// Its number.
    pub generation: i64,
    /// Its version.
    pub version: i64,
    /// Copying, indexing, verifying, following, failed.
    pub state: &'static str,
    /// Why it failed.
    pub error: Option<String>,
}

/// What a projection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not yet assigned a partition, or its first generation is being built.
    Starting,
    /// Applying events, or waiting for more.
    Running,
    /// Waiting for the log or the database to come back.
    Waiting,
    /// Failed. It is started again after a while.
    Failed,
    /// Stopped, because too many records failed, or because its generation is of another version. Somebody has to
    /// look.
    Stopped,
}

/// Where whoever works on one generation reports to.
#[derive(Clone)]
pub(crate) struct Observer {
    name: &'static str,
    shared: Arc<Mutex<ProjectionState>>,
    /// Whether it reports to the metrics, too.
    measured: Arc<AtomicBool>,
}

/// What one projection shows: its live generation, and the one that is built.
#[derive(Clone)]
pub(crate) struct Board {
    shown: Arc<Mutex<Shown>>,
}

struct Shown {
    live: Observer,
    rebuild: Option<RebuildState>,
}

/// Pauses between attempts: from 50 ms, doubled each time up to 5 s, each drawn between a half and the whole.
pub(crate) struct Backoff {
    next: Duration,
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Names of the metrics.
mod metric {
    pub(super) const EVENTS: &str = "balcony_projection_events_total";
    pub(super) const UNKNOWN: &str = "balcony_projection_unknown_events_total";
    pub(super) const PARKED: &str = "balcony_projection_parked";
    pub(super) const BATCH_SIZE: &str = "balcony_projection_batch_events";
    pub(super) const BATCH_SECONDS: &str = "balcony_projection_batch_seconds";
    pub(super) const RESTARTS: &str = "balcony_projection_restarts_total";
}

impl Board {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { shown: Arc::new(Mutex::new(Shown { live: Observer::new(name, 0), rebuild: None })) }
    }

    /// Shows `live` from now on, or what was shown before.
    pub(crate) fn show(&self, live: Option<&Observer>, rebuild: Option<RebuildState>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = live {
            live.measured.store(true, Ordering::Relaxed);
            shown.live = live.clone();
        }
        shown.rebuild = rebuild;
    }

    /// What reports come from outside any generation go to.
    pub(crate) fn live(&self) -> Observer {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).live.clone()
    }

    pub(crate) fn snapshot(&self) -> ProjectionState {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        ProjectionState { rebuild: shown.rebuild.clone(), ..shown.live.snapshot() }
    }
}

impl Observer {
    pub(crate) fn new(name: &'static str, generation: i64) -> Self {
        let state = ProjectionState {
            name,
            state: State::Starting,
            generation,
            events: 0,
            parked: 0,
            last_error: None,
            last_error_at: None,
            rebuild: None,
        };
        Self { name, shared: Arc::new(Mutex::new(state)), measured: Arc::default() }
    }

    pub(crate) fn snapshot(&self) -> ProjectionState {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut ProjectionState)) {
        change(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn is_measured(&self) -> bool {
        self.measured.load(Ordering::Relaxed)
    }

    pub(crate) fn running(&self) {
        self.change(|state| state.state = State::Running);
    }

    pub(crate) fn parked(&self, parked: i64) {
        self.change(|state| state.parked = parked);
        if self.is_measured() {
            metrics::gauge!(metric::PARKED, "projection" => self.name).set(parked as f64);
        }
    }

    pub(crate) fn waiting(&self, error: &dyn std::error::Error) {
        tracing::warn!(projection = self.name, %error, "waiting");
        self.went_wrong(State::Waiting, error.to_string());
    }

    pub(crate) fn failed(&self, reason: &str) {
        tracing::error!(projection = self.name, reason, "failed, and will be started again");
        metrics::counter!(metric::RESTARTS, "projection" => self.name).increment(1);
        self.went_wrong(State::Failed, reason.to_owned());
    }

    pub(crate) fn stopped(&self, reason: &str) {
        if self.snapshot().last_error.as_deref() != Some(reason) {
            tracing::error!(projection = self.name, reason, "stopped");
        }
        self.went_wrong(State::Stopped, reason.to_owned());
    }

    fn went_wrong(&self, now: State, error: String) {
        self.change(|state| {
            state.state = now;
            state.last_error = Some(error);
            state.last_error_at = Some(milliseconds_now());
        });
    }

    pub(crate) fn applied(&self, decoded: &Decoded, took: Duration) {
        let events = decoded.events.len();
        if self.is_measured() {
            metrics::counter!(metric::EVENTS, "projection" => self.name).increment(events as u64);
            metrics::counter!(metric::UNKNOWN, "projection" => self.name).increment(decoded.unknown as u64);
            metrics::histogram!(metric::BATCH_SIZE, "projection" => self.name).record(events as f64);
            metrics::histogram!(metric::BATCH_SECONDS, "projection" => self.name).record(took.as_secs_f64());
        }
        self.change(|state| {
            state.state = State::Running;
            state.events += events as u64;
        });
        if !decoded.set_aside.is_empty() {
            let before = self.snapshot().parked;
            self.parked(before + i64::try_from(decoded.set_aside.len()).unwrap_or(i64::MAX));
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
