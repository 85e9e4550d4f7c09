//! What is done about parked records, whichever kind of step has set them aside.

use std::sync::Arc;

use balcony_event_log::EventLog;
use balcony_store::Database;
use uuid::Uuid;

use super::retry::{Outcome, RetryError, discard, discard_all, retry};
use crate::catalogue::Step;
use crate::reactor::{AnyReactor, ParkedDeliveries};

/// With what parked records are applied or delivered.
#[derive(Clone)]
pub(super) struct Remedy {
    pub(super) database: Database,
    /// The log to which reactors publish.
    pub(super) log: Arc<dyn EventLog>,
    /// Whether this process may publish to it.
    pub(super) may_publish: bool,
}

impl Remedy {
    async fn deliveries(&self, reactor: &AnyReactor) -> Result<ParkedDeliveries, RetryError> {
        ParkedDeliveries::hold(reactor, &self.database, self.log.clone(), self.may_publish).await
    }

    pub(super) async fn retry(&self, step: &Step, id: Uuid) -> Result<Outcome, RetryError> {
        match step {
            Step::Projection(projection) => retry(projection, &self.database, id).await,
            Step::Replica { replica, .. } => retry(replica, &self.database, id).await,
            Step::Reactor(reactor) => self.deliveries(reactor).await?.retry(id).await,
        }
    }

    pub(super) async fn discard(&self, step: &Step, ids: &[Uuid]) -> Result<Outcome, RetryError> {
        match step {
            Step::Projection(projection) => discard(projection, &self.database, ids).await,
            Step::Replica { replica, .. } => discard(replica, &self.database, ids).await,
            Step::Reactor(reactor) => self.deliveries(reactor).await?.discard(ids).await,
        }
    }

    pub(super) async fn discard_all(&self, step: &Step) -> Result<u64, RetryError> {
        match step {
            Step::Projection(projection) => discard_all(projection, &self.database).await,
            Step::Replica { replica, .. } => discard_all(replica, &self.database).await,
            Step::Reactor(reactor) => self.deliveries(reactor).await?.discard_all().await,
        }
    }
}
