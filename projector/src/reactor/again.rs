//! What is parked for later, and tried again by itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::EventLog;
use balcony_store::{Database, ParkedRecord};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::parked::ParkedDeliveries;
use super::spec::AnyReactor;
use crate::clock::milliseconds_now;
use crate::operations::{Outcome, RetryError};
use crate::supervise::told_to;

/// Tries again what a reactor has parked for later, beside its dispatchers and as an operator would: one process at a
/// time, in one attempt each.
pub(super) struct Again {
    reactor: AnyReactor,
    log: Arc<dyn EventLog>,
    database: Database,
}

/// In how many parts of the time between two attempts it is looked whose turn it is.
const PARTS: u32 = 15;

impl Again {
    pub(super) fn new(reactor: AnyReactor, log: Arc<dyn EventLog>, database: Database) -> Self {
        Self { reactor, log, database }
    }

    /// Tries again until it is told to stop; then what is being tried may end.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let pause = self.reactor.policy().again_every / PARTS;
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                () = told_to(&mut stop) => return,
            }
            while !*stop.borrow() {
                match self.round().await {
                    Ok(0) => break,
                    Ok(tried) => tracing::info!(
                        step = &**self.reactor.name(),
                        tried,
                        "what was parked for later was tried again"
                    ),
                    // Somebody else is at it, or the database is away.
                    Err(error) => {
                        tracing::debug!(step = &**self.reactor.name(), %error, "nothing parked is tried again now");
                        break;
                    }
                }
            }
        }
    }

    /// Tries the next, and says how many there were.
    async fn round(&self) -> Result<usize, RetryError> {
        let policy = self.reactor.policy();
        let ago = |time: Duration| milliseconds_now().saturating_sub(time.as_millis().try_into().unwrap_or(i64::MAX));
        let (since, before) = (ago(policy.again_for), ago(policy.again_every));
        if !ParkedDeliveries::is_any_due(&self.reactor, &self.database, before).await? {
            return Ok(0);
        }
        let parked = ParkedDeliveries::hold(&self.reactor, &self.database, self.log.clone(), true).await?;
        let parked = Arc::new(parked.delivering_what_was_kept());
        let due = parked.take_due(since, before).await?;
        let tried = due.len();
        let mut keys = HashSet::new();
        let is_first = |record: &ParkedRecord| {
            record.key.is_empty() || keys.insert((record.partition.clone(), record.key.clone()))
        };
        let mut attempts: JoinSet<Result<(), RetryError>> = JoinSet::new();
        for record in due.into_iter().filter(is_first) {
            let parked = parked.clone();
            attempts.spawn(async move { parked.deliver_all_like(record, &mut Outcome::default()).await });
        }
        while let Some(attempted) = attempts.join_next().await {
            attempted.unwrap_or(Ok(()))?;
        }
        Ok(tried)
    }
}
