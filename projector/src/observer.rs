use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balcony_domain::Timestamp;
use balcony_event_log::{Positions, Record};
use tokio::time::Instant;

use crate::Lag;
use crate::applier::milliseconds_now;
use crate::batch::Decoded;
use crate::recent::Recent;
use crate::report::{Kind, Process, ProjectionState, RebuildState, State, by_topic};

/// Where whoever works on one generation reports to.
#[derive(Clone)]
pub(crate) struct Observer {
    name: &'static str,
    shared: Arc<Mutex<Work>>,
    /// Whether it reports to the metrics, too.
    measured: Arc<AtomicBool>,
}

/// What was reported of one generation.
#[derive(Debug)]
struct Work {
    state: State,
    generation: i64,
    events: u64,
    positions: Positions,
    recent: Recent,
    parked: i64,
    last_error: Option<String>,
    last_error_at: Option<i64>,
}

/// What one projection or reactor shows: its live generation, and the one that is built.
#[derive(Clone)]
pub(crate) struct Board {
    name: &'static str,
    kind: Kind,
    version: u32,
    shown: Arc<Mutex<Shown>>,
}

struct Shown {
    live: Observer,
    rebuild: Option<RebuildState>,
    lag: Option<Lag>,
}

/// Pauses between attempts: from 50 ms, doubled each time up to 5 s, each drawn between a half and the whole.
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
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
    pub(super) const DELIVERIES: &str = "balcony_reactor_deliveries_total";
    pub(super) const RETRIES: &str = "balcony_reactor_retries_total";
}

impl Board {
    pub(crate) fn new(name: &'static str, kind: Kind, version: u32) -> Self {
        let shown = Shown { live: Observer::new(name, 0), rebuild: None, lag: None };
        Self { name, kind, version, shown: Arc::new(Mutex::new(shown)) }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// For a reactor, which has nothing but what is live.
    pub(crate) fn of_reactor(name: &'static str) -> Self {
        let board = Self::new(name, Kind::Reactor, 1);
        let live = board.live();
        board.show(Some(&live), None);
        board
    }

    /// Shows `live` from now on, or what was shown before.
    pub(crate) fn show(&self, live: Option<&Observer>, rebuild: Option<RebuildState>) {
        let mut shown = self.shown();
        if let Some(live) = live {
            live.measured.store(true, Ordering::Relaxed);
            shown.live = live.clone();
        }
        shown.rebuild = rebuild;
    }

    /// Shows how far the live generation is behind, if that is known.
    pub(crate) fn lags(&self, lag: Option<Lag>) {
        self.shown().lag = lag;
    }

    /// What reports come from outside any generation go to.
    pub(crate) fn live(&self) -> Observer {
        self.shown().live.clone()
    }

    pub(crate) fn snapshot(&self) -> ProjectionState {
        let shown = self.shown();
        let work = shown.live.work();
        let now = Instant::now();
        ProjectionState {
            name: self.name.to_owned(),
            kind: self.kind,
            state: work.state,
            generation: work.generation,
            version: self.version,
            events: work.events,
            events_per_second: work.recent.events_per_second(now),
            batch: work.recent.batch(now),
            busy: work.recent.busy(now),
            positions: by_topic(&work.positions),
            lag: shown.lag,
            parked: work.parked,
            last_error: work.last_error.clone(),
            last_error_at: work.last_error_at.and_then(|at| Timestamp::from_milliseconds(at).ok()),
            rebuild: shown.rebuild.clone(),
            process: Process::this(),
        }
    }
}

impl Observer {
    pub(crate) fn new(name: &'static str, generation: i64) -> Self {
        let work = Work {
            state: State::Starting,
            generation,
            events: 0,
            positions: Positions::new(),
            recent: Recent::new(Instant::now()),
            parked: 0,
            last_error: None,
            last_error_at: None,
        };
        Self { name, shared: Arc::new(Mutex::new(work)), measured: Arc::default() }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn generation(&self) -> i64 {
        self.work().generation
    }

    /// What went wrong last.
    #[cfg(feature = "testkit")]
    pub(crate) fn last_error(&self) -> Option<String> {
        self.work().last_error.clone()
    }

    /// Events applied so far.
    pub(crate) fn events(&self) -> u64 {
        self.work().events
    }

    fn is_measured(&self) -> bool {
        self.measured.load(Ordering::Relaxed)
    }

    pub(crate) fn running(&self) {
        self.work().state = State::Running;
    }

    /// Where it stands in the partitions that it holds.
    pub(crate) fn stands_at(&self, positions: Positions) {
        self.work().positions = positions;
    }

    /// How many records are parked, counted just now.
    pub(crate) fn parked(&self, parked: i64) {
        self.work().parked = parked;
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
        let is_news = self.work().last_error.as_deref() != Some(reason);
        if is_news {
            tracing::error!(projection = self.name, reason, "stopped");
        }
        self.went_wrong(State::Stopped, reason.to_owned());
    }

    fn went_wrong(&self, now: State, error: String) {
        let mut work = self.work();
        work.state = now;
        work.last_error = Some(error);
        work.last_error_at = Some(milliseconds_now());
    }

    /// Reports an attempt after which there will be another.
    pub(crate) fn retrying(&self, record: &Record, attempt: u32, reason: &str) {
        tracing::warn!(
            reactor = self.name, topic = %record.partition.topic, partition = record.partition.partition,
            offset = record.offset, attempt, reason, "tries again"
        );
        metrics::counter!(metric::RETRIES, "reactor" => self.name).increment(1);
        let mut work = self.work();
        work.last_error = Some(reason.to_owned());
        work.last_error_at = Some(milliseconds_now());
    }

    /// Reports that an event was delivered, or was of a type that is not known here.
    pub(crate) fn delivered(&self, is_known: bool) {
        if is_known {
            metrics::counter!(metric::DELIVERIES, "reactor" => self.name).increment(1);
            self.work().events += 1;
        } else {
            metrics::counter!(metric::UNKNOWN, "projection" => self.name).increment(1);
        }
    }

    pub(crate) fn applied(&self, decoded: &Decoded, took: Duration) {
        self.did(decoded.events.len(), decoded.unknown, &decoded.reached, took);
        if !decoded.set_aside.is_empty() {
            let before = self.work().parked;
            self.parked(before + i64::try_from(decoded.set_aside.len()).unwrap_or(i64::MAX));
        }
    }

    /// Reports a batch: how many events were applied and how many are of a type that is not known here, where that
    /// leads, and how long it took.
    pub(crate) fn did(&self, events: usize, unknown: usize, reached: &Positions, took: Duration) {
        if self.is_measured() {
            metrics::counter!(metric::EVENTS, "projection" => self.name).increment(events as u64);
            metrics::counter!(metric::UNKNOWN, "projection" => self.name).increment(unknown as u64);
            metrics::histogram!(metric::BATCH_SIZE, "projection" => self.name).record(events as f64);
            metrics::histogram!(metric::BATCH_SECONDS, "projection" => self.name).record(took.as_secs_f64());
        }
        let mut work = self.work();
        work.state = State::Running;
        work.events += events as u64;
        work.positions.merge(reached);
        work.recent.add(Instant::now(), events as u64, took);
    }
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self::between(FIRST_PAUSE, LONGEST_PAUSE)
    }

    pub(crate) fn between(first: Duration, longest: Duration) -> Self {
        Self { next: first.min(longest), longest }
    }

    pub(crate) async fn pause(&mut self) {
        let whole = self.next;
        self.next = (whole * 2).min(self.longest);
        tokio::time::sleep(whole.mul_f64(rand::random_range(0.5..=1.0))).await;
    }
}
