//! Records that were set aside, where they are.

use std::collections::HashMap;

use balcony_event_log::TopicPartition;
use balcony_store::{Generation, GenerationState, ListedGeneration, ParkedRecord};
use uuid::Uuid;

use crate::installation::Installation;

/// How many records are read together.
pub(super) const PAGE: u32 = 100;

/// The first parked offset of each key.
pub(in crate::operations) struct Firsts(HashMap<(TopicPartition, Vec<u8>), i64>);

impl Firsts {
    pub(in crate::operations) fn of(keys: Vec<(TopicPartition, Vec<u8>, i64)>) -> Self {
        Self(keys.into_iter().map(|(partition, key, first)| ((partition, key), first)).collect())
    }

    /// Whether the record waits behind an earlier one of its key.
    pub(in crate::operations) fn waits(&self, record: &ParkedRecord) -> bool {
        let first = self.0.get(&(record.partition.clone(), record.key.clone()));
        record.discarded_at.is_none() && first.is_some_and(|first| *first < record.offset)
    }
}

/// The live generation of each step, of those whose tables are there: that of this program's version, or of the newest
/// that has one.
pub(in crate::operations) async fn live(installation: &Installation) -> anyhow::Result<Vec<Generation>> {
    Ok(whole_and_lost(installation).await?.0)
}

/// The same, and those whose tables are lost.
pub(super) async fn whole_and_lost(installation: &Installation) -> anyhow::Result<(Vec<Generation>, Vec<Generation>)> {
    let (mut whole, mut lost) = (Vec::new(), Vec::new());
    for generation in live_ones(installation).await? {
        let is_there = installation.database.is_there(&generation).await?;
        if is_there { &mut whole } else { &mut lost }.push(generation);
    }
    Ok((whole, lost))
}

async fn live_ones(installation: &Installation) -> anyhow::Result<Vec<Generation>> {
    let mut listed = installation.database.generations(None).await?;
    listed.retain(|listed| listed.state == GenerationState::Live);
    let own = |live: &Generation| installation.catalogue.find(&live.projection).ok().map(|step| step.version().into());
    let mut live: Vec<Generation> = Vec::new();
    for ListedGeneration { generation, .. } in listed {
        let rank = |live: &Generation| (own(live) == Some(live.version), live.version);
        match live.iter_mut().find(|live| live.projection == generation.projection) {
            Some(other) if rank(other) < rank(&generation) => *other = generation,
            Some(_) => {}
            None => live.push(generation),
        }
    }
    Ok(live)
}

/// The record called `id`, parked or discarded, and its live generation.
pub(in crate::operations) async fn find_any(
    installation: &Installation,
    id: Uuid,
) -> anyhow::Result<Option<(Generation, ParkedRecord)>> {
    for generation in live(installation).await? {
        if let Some(record) = installation.database.look_at(&generation).await?.parked_record(id).await? {
            return Ok(Some((generation, record)));
        }
    }
    Ok(None)
}
