//! What an operator has a projection do that stopped because too much failed.

use std::sync::Arc;

use balcony_event_log::{EventLog, Incoming, Positions};
use balcony_store::{Database, Generation, StoreError};

use crate::applier::{Applier, OnFailure};
use crate::backoff::Backoff;
use crate::batch::below;
use crate::error::WorkError;
use crate::observer::Observer;
use crate::projection::AnyProjection;
use crate::rows::Rows;
use crate::taken;

/// How often workers of the generation may come between.
const ATTEMPTS: usize = 20;

/// Applies to `generation` everything up to where the log ends now, and parks whatever of it fails, without a limit;
/// lets workers that had stopped begin again. Gives how many records were parked.
pub(crate) async fn accept(
    projection: &AnyProjection,
    log: &dyn EventLog,
    database: &Database,
    generation: &Generation,
) -> Result<i64, WorkError> {
    let ends = log.ends(&projection.read_model().topics).await?;
    let parked = async || database.look_at(generation).await?.parked_count().await;
    let before = parked().await?;
    let mut backoff = Backoff::new();
    for attempt in 1.. {
        match take(projection, log, database, generation, &ends).await {
            Err(WorkError::Store(StoreError::Fenced(_))) if attempt < ATTEMPTS => backoff.pause().await,
            taken => {
                taken?;
                break;
            }
        }
    }
    let taken = parked().await? - before;
    database.failures_are_accepted(generation).await?;
    Ok(taken)
}

async fn take(
    projection: &AnyProjection,
    log: &dyn EventLog,
    database: &Database,
    generation: &Generation,
    ends: &Positions,
) -> Result<(), WorkError> {
    let rows = Rows::new(projection.clone(), database, generation.clone());
    let (reads, name) = (Arc::new(projection.clone()), projection.name().clone());
    let observer = Observer::new(database.namespace(), projection.name(), generation.number);
    let mut applier = Applier::new(reads, rows, name, OnFailure::ParkAll, observer);
    let partitions: Vec<_> = ends.partitions().cloned().collect();
    applier.claim(&partitions).await?;
    let from = applier.positions().behind(ends);
    if from.is_empty() {
        return Ok(());
    }
    let mut reader = log.read(from);
    while !applier.positions().covers(ends) {
        if let Incoming::Records(batch) = reader.next().await? {
            applier.apply(below(taken::own(batch), ends)).await?;
        }
    }
    Ok(())
}
