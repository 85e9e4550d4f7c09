use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::EventLog;
use balcony_store::{Database, GenerationState, ListedGeneration};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::board::Board;
use crate::lag::{Lag, LagError};
use crate::report::{State, StepState};
use crate::supervise::told_to;

/// Shows every process that a step is worked on in this one, and what its board says; counts anew
/// what changes without its doing: how far it is behind, and what is parked.
pub(crate) struct Heartbeat {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) database: Database,
    /// The topics it reads.
    pub(crate) topics: Vec<Arc<str>>,
    pub(crate) board: Board,
}

/// After how long a worker that has not told anything is taken to be dead.
#[cfg(feature = "operations")]
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(12);
/// How often it is told.
const EVERY: Duration = Duration::from_secs(3);
/// How often it is looked whether there is something to tell at once.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long counting and taking the row away may take.
const PATIENCE: Duration = Duration::from_secs(4);

impl Heartbeat {
    /// Beats until it is told to stop; then takes its row away.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let id = Uuid::now_v7();
        loop {
            let beat = async {
                let told = self.beat(id).await;
                self.count().await;
                self.until_there_is_news(&told).await;
            };
            tokio::select! {
                () = beat => {}
                () = told_to(&mut stop) => break,
            }
        }
        // A row that stays is taken for that of a worker that died, which does no harm.
        let _ = tokio::time::timeout(PATIENCE, self.database.leave(id)).await;
    }

    /// Tells what the board says, and gives it.
    async fn beat(&self, id: Uuid) -> StepState {
        let report = self.board.snapshot();
        let text = serde_json::to_string(&report).expect("a report is plain JSON");
        if let Err(error) = self.database.beat(id, self.board.name(), &text).await {
            tracing::debug!(step = &**self.board.name(), %error, "the heartbeat could not be told");
        }
        report
    }

    async fn count(&self) {
        let counted = tokio::time::timeout(PATIENCE, self.try_count()).await;
        let lag = match counted {
            Ok(Ok(lag)) => lag,
            Ok(Err(error)) => {
                tracing::debug!(step = &**self.board.name(), %error, "the lag is not known");
                None
            }
            Err(_) => None,
        };
        self.board.lags(lag);
        self.show();
    }

    /// Counts what is parked in the live generation, and how far it is behind.
    async fn try_count(&self) -> Result<Option<Lag>, LagError> {
        let listed = self.database.generations(Some(self.board.name())).await?;
        let own = |listed: &ListedGeneration| listed.generation.version == self.board.version();
        let live = listed.into_iter().find(|listed| own(listed) && listed.state == GenerationState::Live);
        let Some(live) = live.map(|live| live.generation) else { return Ok(None) };
        let observer = self.board.live();
        if observer.generation() == live.number {
            observer.parked(self.database.look_at(&live).await?.parked_count().await?);
        }
        Lag::measure(self.log.as_ref(), &self.topics, &self.database, &live).await.map(Some)
    }

    fn show(&self) {
        let (namespace, report) = (self.database.namespace(), self.board.snapshot());
        let step = [("projection", report.name.clone())];
        let gauge = |name: &str| metrics::gauge!(format!("{namespace}_projection_{name}"), &step);
        // What is not known is no number.
        let (events, seconds) = report.lag.map_or((f64::NAN, None), |lag| (lag.events as f64, lag.seconds));
        gauge("lag_events").set(events);
        gauge("lag_seconds").set(seconds.unwrap_or(f64::NAN));
        gauge("busy_ratio").set(report.busy);
        gauge("generation").set(report.generation as f64);
        for state in State::ALL {
            let labels = [("projection", report.name.clone()), ("state", state.as_str().to_owned())];
            let is = f64::from(u8::from(state == report.state));
            metrics::gauge!(format!("{namespace}_projection_state"), &labels).set(is);
        }
    }

    /// Waits until it is time to tell, or something changed that operators want to know at once.
    async fn until_there_is_news(&self, told: &StepState) {
        let due = Instant::now() + EVERY;
        while Instant::now() < due {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.board.snapshot();
            if (now.state, now.generation, &now.rebuild) != (told.state, told.generation, &told.rebuild) {
                return;
            }
        }
    }
}
