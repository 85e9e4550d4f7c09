use std::collections::BTreeMap;
use std::time::Duration;

use balcony_event_log::{Positions, TopicPartition};
use balcony_store::{Claim, Database, GenerationState, Lease, StoreError, Writer};

use super::SEARCH;
use super::tail::Tail;

/// How often it is looked whether the new index has come as far as the live one, which is held meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Writes down, as the one process that does, how far its indexes have come, and switches to the one that is built.
pub(super) struct Leader {
    database: Database,
    lease: Option<Lease>,
    ledgers: BTreeMap<i64, Ledger>,
}

struct Ledger {
    writer: Writer,
    claim: Option<Claim>,
}

impl Leader {
    pub(super) fn new(database: Database) -> Self {
        Self { database, lease: None, ledgers: BTreeMap::new() }
    }

    /// Becomes the one who leads, if nobody else does, and looks after the indexes there are.
    pub(super) async fn stand(&mut self, tails: &BTreeMap<i64, Tail>) {
        if self.lease.is_none() {
            // Who cannot be asked now is asked again.
            self.lease = self.database.lease(SEARCH).await.ok().flatten();
        }
        self.ledgers.retain(|number, _| tails.contains_key(number));
        for (number, tail) in tails {
            self.ledgers
                .entry(*number)
                .or_insert_with(|| Ledger { writer: self.database.writer(&tail.generation), claim: None });
        }
    }

    /// Writes down how far the indexes have come, and switches to the one that is built once it has caught up.
    pub(super) async fn write_down(&mut self, tails: &BTreeMap<i64, Tail>) -> Result<(), StoreError> {
        if self.lease.is_none() {
            return Ok(());
        }
        for (number, ledger) in &mut self.ledgers {
            let Some(positions) = tails.get(number).and_then(Tail::positions) else { continue };
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
        for tail in tails.values().filter(|tail| tail.is_built) {
            self.switch(tail).await?;
        }
        Ok(())
    }

    async fn switch(&self, tail: &Tail) -> Result<(), StoreError> {
        let Some(index) = tail.caught_up() else { return Ok(()) };
        let listed = self.database.generations(Some(SEARCH)).await?;
        let Some(state) = listed.iter().find(|listed| listed.generation == tail.generation).map(|listed| listed.state)
        else {
            return Ok(());
        };
        if !state.is_unfinished() || state == GenerationState::Failed {
            return Ok(());
        }
        if state != GenerationState::Following {
            self.database.build_stands_at(&tail.generation, GenerationState::Verifying).await?;
            let checked = index.clone();
            let verified = tokio::task::spawn_blocking(move || checked.verify()).await;
            if let Ok(Err(error)) = verified {
                return self.database.build_failed(&tail.generation, &error.to_string()).await;
            }
            self.database.build_stands_at(&tail.generation, GenerationState::Following).await?;
        }
        let covers = async |live: &Positions| {
            while !index.positions().covers(live) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            true
        };
        match self.database.switch(&tail.generation, covers).await {
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
