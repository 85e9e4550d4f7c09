use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balcony_event_log::{Positions, Record};
use balcony_store::{Lost, Namespace};
use metrics::{Counter, Gauge, Histogram};
use tokio::time::Instant;

use crate::clock::milliseconds_now;
use crate::recent::Recent;
use crate::report::State;
use crate::trouble::Trouble;

/// Where whoever works on one generation reports to.
#[derive(Clone)]
pub(crate) struct Observer {
    name: Arc<str>,
    figures: Arc<Figures>,
    shared: Arc<Mutex<Work>>,
    /// Whether it reports to the metrics, too.
    measured: Arc<AtomicBool>,
}

/// What was reported of one generation.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) state: State,
    pub(crate) generation: i64,
    pub(crate) events: u64,
    pub(crate) positions: Positions,
    pub(crate) recent: Recent,
    pub(crate) parked: i64,
    pub(crate) last_error: Option<String>,
    /// In milliseconds since 1970.
    pub(crate) last_error_at: Option<i64>,
    trouble: Trouble,
}

impl Work {
    fn note_error(&mut self, error: String) {
        self.trouble.noted(Instant::now(), self.state.is_trouble());
        self.last_error = Some(error);
        self.last_error_at = Some(milliseconds_now());
    }

    /// For how long it has gone wrong again and again, if it still does.
    pub(crate) fn troubled_for(&self, now: Instant) -> Option<Duration> {
        self.trouble.lasts(now, self.state.is_trouble())
    }
}

/// What is counted of one step, whatever its generation.
struct Figures {
    events: Counter,
    unknown: Counter,
    parked: Gauge,
    lost: Counter,
    batch_size: Histogram,
    batch_seconds: Histogram,
    restarts: Counter,
    deliveries: Counter,
    retries: Counter,
}

impl Figures {
    /// The figures of the step called `name`, under names that begin with the namespace.
    fn of(namespace: &Namespace, name: &str) -> Self {
        let (projection, reactor) = ([("projection", name.to_owned())], [("reactor", name.to_owned())]);
        Self {
            events: metrics::counter!(format!("{namespace}_projection_events_total"), &projection),
            unknown: metrics::counter!(format!("{namespace}_projection_unknown_events_total"), &projection),
            parked: metrics::gauge!(format!("{namespace}_projection_parked"), &projection),
            lost: metrics::counter!(format!("{namespace}_projection_lost_total"), &projection),
            batch_size: metrics::histogram!(format!("{namespace}_projection_batch_events"), &projection),
            batch_seconds: metrics::histogram!(format!("{namespace}_projection_batch_seconds"), &projection),
            restarts: metrics::counter!(format!("{namespace}_projection_restarts_total"), &projection),
            deliveries: metrics::counter!(format!("{namespace}_reactor_deliveries_total"), &reactor),
            retries: metrics::counter!(format!("{namespace}_reactor_retries_total"), &reactor),
        }
    }
}

impl Observer {
    pub(crate) fn new(namespace: &Namespace, name: &str, generation: i64) -> Self {
        let work = Work {
            state: State::Starting,
            generation,
            events: 0,
            positions: Positions::new(),
            recent: Recent::new(Instant::now()),
            parked: 0,
            last_error: None,
            last_error_at: None,
            trouble: Trouble::default(),
        };
        let figures = Arc::new(Figures::of(namespace, name));
        Self { name: name.into(), figures, shared: Arc::new(Mutex::new(work)), measured: Arc::default() }
    }

    /// What was reported so far.
    pub(crate) fn work(&self) -> MutexGuard<'_, Work> {
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

    /// From now on it reports to the metrics, too.
    pub(crate) fn measure(&self) {
        self.measured.store(true, Ordering::Relaxed);
    }

    fn is_measured(&self) -> bool {
        self.measured.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> State {
        self.work().state
    }

    /// What was reported as `trouble` is over, and what was done `before` goes on, unless something else was reported
    /// meanwhile.
    pub(crate) fn goes_on(&self, before: State, trouble: State) {
        let mut work = self.work();
        if work.state == trouble {
            work.state = before;
        }
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
            self.figures.parked.set(parked as f64);
        }
    }

    /// Reports records that were gone before they were read.
    pub(crate) fn lost(&self, lost: &Lost) {
        tracing::error!(
            step = &*self.name, topic = %lost.partition.topic, partition = lost.partition.partition,
            first_offset = lost.first_offset, next_offset = lost.next_offset,
            "the log has forgotten records before they were read; it goes on without them"
        );
        self.figures.lost.increment(lost.count().unsigned_abs());
    }

    pub(crate) fn waiting(&self, error: &dyn std::error::Error) {
        tracing::warn!(step = &*self.name, %error, "waiting");
        self.went_wrong(State::Waiting, error.to_string());
    }

    pub(crate) fn failed(&self, reason: &str) {
        tracing::error!(step = &*self.name, reason, "failed, and will be started again");
        self.figures.restarts.increment(1);
        self.went_wrong(State::Failed, reason.to_owned());
    }

    pub(crate) fn stopped(&self, reason: &str) {
        let is_news = self.work().last_error.as_deref() != Some(reason);
        if is_news {
            tracing::error!(step = &*self.name, reason, "stopped");
        }
        self.went_wrong(State::Stopped, reason.to_owned());
    }

    fn went_wrong(&self, now: State, error: String) {
        let mut work = self.work();
        work.note_error(error);
        work.state = now;
    }

    /// Reports an attempt after which there will be another.
    pub(crate) fn retrying(&self, record: &Record, attempt: u32, reason: &str) {
        tracing::warn!(
            step = &*self.name, topic = %record.partition.topic, partition = record.partition.partition,
            offset = record.offset, attempt, reason, "tries again"
        );
        self.figures.retries.increment(1);
        self.work().note_error(reason.to_owned());
    }

    /// Reports that an event was delivered, or was of a type that is not known here.
    pub(crate) fn delivered(&self, is_known: bool) {
        if is_known {
            self.figures.deliveries.increment(1);
            self.work().events += 1;
        } else {
            self.figures.unknown.increment(1);
        }
    }

    /// Reports a batch: how many events were applied, how many are of a type that is not known here and how many were set
    /// aside, where that leads, and how long it took.
    pub(crate) fn applied(&self, events: usize, unknown: usize, set_aside: usize, reached: &Positions, took: Duration) {
        if self.is_measured() {
            self.figures.events.increment(events as u64);
            self.figures.unknown.increment(unknown as u64);
            self.figures.batch_size.record(events as f64);
            self.figures.batch_seconds.record(took.as_secs_f64());
        }
        let parked = {
            let mut work = self.work();
            work.state = State::Running;
            work.events += events as u64;
            work.positions.merge(reached);
            work.recent.add(Instant::now(), events as u64, took);
            work.parked + i64::try_from(set_aside).unwrap_or(i64::MAX)
        };
        if set_aside > 0 {
            self.parked(parked);
        }
    }
}
