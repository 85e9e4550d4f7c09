use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use balcony_store::Namespace;
use tokio::time::Instant;

use crate::lag::Lag;
use crate::moment::Moment;
use crate::observer::Observer;
use crate::report::{Kind, Process, RebuildState, StepState};

/// What one step shows: its live generation, and the one that is built.
#[derive(Clone)]
pub(crate) struct Board {
    name: Arc<str>,
    kind: Kind,
    version: u32,
    shown: Arc<Mutex<Shown>>,
}

struct Shown {
    live: Observer,
    rebuild: Option<RebuildState>,
    lag: Option<Lag>,
}

impl Board {
    pub(crate) fn new(namespace: &Namespace, name: &Arc<str>, kind: Kind, version: u32) -> Self {
        let shown = Shown { live: Observer::new(namespace, name, 0), rebuild: None, lag: None };
        Self { name: name.clone(), kind, version, shown: Arc::new(Mutex::new(shown)) }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn version(&self) -> i64 {
        self.version.into()
    }

    /// For a reactor, which has nothing but what is live.
    pub(crate) fn of_reactor(namespace: &Namespace, name: &Arc<str>) -> Self {
        Self::without_builds(namespace, name, Kind::Reactor)
    }

    /// For what takes into the log what is outside.
    pub(crate) fn of_intake(namespace: &Namespace, name: &Arc<str>) -> Self {
        Self::without_builds(namespace, name, Kind::Intake)
    }

    fn without_builds(namespace: &Namespace, name: &Arc<str>, kind: Kind) -> Self {
        let board = Self::new(namespace, name, kind, 1);
        let live = board.live();
        board.show(Some(&live), None);
        board
    }

    /// Shows `live` from now on, or what was shown before.
    pub(crate) fn show(&self, live: Option<&Observer>, rebuild: Option<RebuildState>) {
        let mut shown = self.shown();
        if let Some(live) = live {
            live.measure();
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

    pub(crate) fn snapshot(&self) -> StepState {
        let shown = self.shown();
        let work = shown.live.work();
        let now = Instant::now();
        StepState {
            name: self.name.to_string(),
            kind: self.kind,
            state: work.state,
            generation: work.generation,
            version: self.version,
            events: work.events,
            events_per_second: work.recent.events_per_second(now),
            batch: work.recent.batch(now),
            busy: work.recent.busy(now),
            positions: work.positions.by_topic(),
            lag: shown.lag,
            parked: work.parked,
            last_error: work.last_error.clone(),
            last_error_at: work.last_error_at.map(Moment::from_milliseconds),
            troubled_seconds: work.troubled_for(now).map(|lasted| lasted.as_secs()),
            rebuild: shown.rebuild.clone(),
            process: Process::this(),
        }
    }
}
