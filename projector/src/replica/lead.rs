use std::collections::BTreeMap;
use std::time::Duration;

use balcony_event_log::{Positions, TopicPartition};
use balcony_store::{Claim, Database, Generation, GenerationState, Lease, ReadModel, StoreError, Writer};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::copy::Shown;
use crate::builder::MOMENT;
use crate::plan::{lease_name, whole_before};

/// How often the lease is tried for.
const STAND_EVERY: Duration = Duration::from_secs(1);

/// Writes down, as the one process that does, how far its copies of a replica have come, and switches to the one that is
/// built.
pub(crate) struct Leader {
    database: Database,
    model: ReadModel,
    lease: Option<Lease>,
    stood_at: Option<tokio::time::Instant>,
    ledgers: BTreeMap<i64, Ledger>,
}

/// A copy, as its leader sees it.
pub(crate) struct Led {
    pub(crate) generation: Generation,
    pub(crate) is_built: bool,
    pub(crate) shown: watch::Receiver<Shown>,
}

struct Ledger {
    writer: Writer,
    claim: Option<Claim>,
}

impl Leader {
    pub(crate) fn new(database: Database, model: ReadModel) -> Self {
        Self { database, model, lease: None, stood_at: None, ledgers: BTreeMap::new() }
    }

    /// Leads, if nobody else does: writes down how far the copies have come, and switches to the one that is built once
    /// it has caught up.
    pub(crate) async fn lead(&mut self, copies: &[Led]) -> Result<(), StoreError> {
        if self.lease.is_none() {
            if self.stood_at.is_some_and(|at| at.elapsed() < STAND_EVERY) {
                return Ok(());
            }
            self.stood_at = Some(tokio::time::Instant::now());
            self.lease = self.database.lease(&lease_name(&self.model)).await?;
        }
        if self.lease.is_none() {
            return Ok(());
        }
        self.ledgers.retain(|number, _| copies.iter().any(|copy| copy.generation.number == *number));
        for copy in copies {
            let positions = {
                let shown = copy.shown.borrow();
                if shown.view.is_none() {
                    continue;
                }
                shown.positions.clone()
            };
            let ledger = self
                .ledgers
                .entry(copy.generation.number)
                .or_insert_with(|| Ledger { writer: self.database.writer(&copy.generation), claim: None });
            match ledger.advance(&positions).await {
                // Somebody else leads: the lease was lost with its connection.
                Err(StoreError::Fenced(_)) => {
                    ledger.claim = None;
                    self.lease = None;
                    return Ok(());
                }
                done => done?,
            }
        }
        for copy in copies.iter().filter(|copy| copy.is_built) {
            self.switch(copy).await?;
        }
        Ok(())
    }

    async fn switch(&self, copy: &Led) -> Result<(), StoreError> {
        let caught_up = copy.shown.borrow().caught_up();
        let Some(view) = caught_up else { return Ok(()) };
        let listed = self.database.generations(Some(&self.model.name)).await?;
        let Some(state) = listed.iter().find(|listed| listed.generation == copy.generation).map(|listed| listed.state)
        else {
            return Ok(());
        };
        if !state.is_unfinished() || state == GenerationState::Failed {
            return Ok(());
        }
        if state != GenerationState::Following {
            self.database.build_stands_at(&copy.generation, GenerationState::Verifying).await?;
            if let Ok(Err(error)) = spawn_blocking(move || view.verify()).await {
                return self.database.build_failed(&copy.generation, &error.to_string()).await;
            }
            self.database.build_stands_at(&copy.generation, GenerationState::Following).await?;
        }
        let reaches = async |live: &Positions| {
            // The version before may read topics that this one does not.
            let live = live.of_topics(&self.model.topics);
            copy.shown.clone().wait_for(|shown| shown.positions.covers(&live)).await.is_ok()
        };
        // Nobody is held up for a copy that does not keep up by itself.
        if let Some(before) = whole_before(&self.database, &copy.generation).await? {
            let live = self.database.look_at(&before).await?.checkpoints().await?;
            if !timeout(MOMENT, reaches(&live)).await.unwrap_or(false) {
                return Ok(());
            }
        }
        match self.database.switch(&copy.generation, reaches).await {
            Ok(_) | Err(StoreError::Fenced(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Ledger {
    async fn advance(&mut self, positions: &Positions) -> Result<(), StoreError> {
        let claim = match &mut self.claim {
            Some(claim) => claim,
            None => {
                let partitions: Vec<TopicPartition> = positions.partitions().cloned().collect();
                if partitions.is_empty() {
                    return Ok(());
                }
                let mut tx = self.writer.begin().await?;
                let claim = tx.claim(&partitions).await?;
                tx.commit().await?;
                self.claim.insert(claim)
            }
        };
        let held = claim.positions();
        // A process that led before may have come further than this one has.
        if *positions == held || !positions.covers(&held) || !positions.partitions().all(|one| claim.holds(one)) {
            return Ok(());
        }
        let mut tx = self.writer.begin().await?;
        tx.advance(claim, positions).await?;
        tx.commit().await?;
        claim.advanced(positions);
        Ok(())
    }
}
