//! Events that stand in the log more than once, of which a reactor gets the first.
//!
//! What was met is written down with the next commit, done or not, as where the event stood first: only a record that
//! stands elsewhere repeats it, so what is read again after a crash is none.

use std::collections::{BTreeMap, HashMap, HashSet};

use balcony_event_log::{Position, Positions, Record, TopicPartition};
use balcony_store::{Database, GenerationTx, StoreError, Tx, Writer};
use uuid::Uuid;

use super::spec::AnyReactor;

/// The events that a dispatcher has met.
#[derive(Default)]
pub(super) struct Repeats {
    /// Where each stands first that is not written down yet.
    met: HashMap<Uuid, Position>,
    /// Below which offset of a partition everything is forgotten.
    forgotten: BTreeMap<TopicPartition, i64>,
}

/// How many offsets of a partition an event is remembered for at the least. Repeats come from retries, seconds or minutes
/// after what they repeat.
const REACH: i64 = 100_000;
/// How many offsets are forgotten at a time.
const STEP: i64 = REACH / 10;

const SCHEMA: &str = include_str!("../../../migrations/reactor_ids.sql");

/// Makes the table of what was met in the namespace of a reactor called `name`, which an earlier version may have made
/// without.
pub(super) async fn prepare(name: &str, database: &Database, writer: &Writer) -> Result<(), StoreError> {
    let looked = writer.snapshot().await?.fetch::<(i64,)>("SELECT COUNT(*) FROM met_events WHERE 1 = 0", &[]).await;
    match looked {
        Err(error) if error.is_missing_table() => {}
        looked => return looked.map(drop),
    }
    database.add_tables(name, writer, SCHEMA).await
}

impl Repeats {
    /// Where those of `records` stand that `reactor` wants and that repeat an event which was met before.
    pub(super) async fn among(
        &mut self,
        records: &[Record],
        reactor: &AnyReactor,
        writer: &Writer,
    ) -> Result<HashSet<Position>, StoreError> {
        let with_id = |record: &Record| {
            let id = reactor.event_id(record).filter(|_| reactor.wants(record))?;
            Some((id, record.position()))
        };
        let events: Vec<(Uuid, Position)> = records.iter().filter_map(with_id).collect();
        if events.is_empty() {
            return Ok(HashSet::new());
        }
        let mut tx = writer.snapshot().await?;
        let known = known(&mut tx, &events).await?;
        let mut repeats = HashSet::new();
        for (id, position) in events {
            let first = known.get(&id).unwrap_or_else(|| self.met.entry(id).or_insert_with(|| position.clone()));
            if *first != position {
                repeats.insert(position);
            }
        }
        Ok(repeats)
    }

    /// Writes down what was met, and forgets what lies far behind the checkpoints `reached`. What that was is known once the
    /// transaction is [kept](Self::kept).
    pub(super) async fn note(&self, tx: &mut GenerationTx, reached: &Positions) -> Result<(), StoreError> {
        let rows: Vec<_> = self
            .met
            .iter()
            .map(|(id, Position { partition, offset })| {
                [(*id).into(), partition.topic.as_ref().into(), partition.partition.into(), (*offset).into()]
            })
            .collect();
        let columns = ["id", "topic", "partition", "record_offset"];
        tx.insert_new("met_events", &["id"], columns, &rows).await?;
        for (partition, bound) in self.far_behind(reached) {
            let params = [partition.topic.as_ref().into(), partition.partition.into(), bound.into()];
            let sql = "DELETE FROM met_events WHERE topic = $1 AND partition = $2 AND record_offset < $3";
            tx.execute(sql, &params).await?;
        }
        Ok(())
    }

    /// Notes that what was to be written down with the checkpoints `reached` is.
    pub(super) fn kept(&mut self, reached: &Positions) {
        self.met.clear();
        let far_behind: Vec<_> =
            self.far_behind(reached).map(|(partition, bound)| (partition.clone(), bound)).collect();
        self.forgotten.extend(far_behind);
    }

    /// What was met and is not written down is read again.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::default();
    }

    /// Lets go of `partitions`.
    pub(super) fn release(&mut self, partitions: &[TopicPartition]) {
        self.met.retain(|_, position| !partitions.contains(&position.partition));
        self.forgotten.retain(|partition, _| !partitions.contains(partition));
    }

    /// Below which offset events are to be forgotten now, of the partitions in which some are.
    fn far_behind<'p>(&self, reached: &'p Positions) -> impl Iterator<Item = (&'p TopicPartition, i64)> {
        reached.into_iter().filter_map(|(partition, next)| {
            let bound = (next - REACH).div_euclid(STEP) * STEP;
            let forgotten = self.forgotten.get(partition).copied().unwrap_or(0);
            (bound > forgotten).then_some((partition, bound))
        })
    }
}

/// Where those of `events` stand first that are written down.
async fn known(tx: &mut Tx, events: &[(Uuid, Position)]) -> Result<HashMap<Uuid, Position>, StoreError> {
    let ids: Vec<_> = events.iter().map(|(id, _)| [(*id).into()]).collect();
    let sql = "SELECT id, topic, partition, record_offset FROM met_events WHERE id IN (VALUES $rows)";
    let rows: Vec<(Uuid, String, i64, i64)> = tx.fetch_rows(sql, &ids).await?;
    let place = |(id, topic, partition, offset): (Uuid, String, i64, i64)| {
        let partition = i32::try_from(partition)
            .map_err(|_| StoreError::Misconfigured(format!("{topic} has no partition {partition}")))?;
        Ok((id, Position { partition: TopicPartition::new(topic, partition), offset }))
    };
    rows.into_iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_far_behind_is_forgotten_now_and_then() {
        let mut repeats = Repeats::default();
        let mut bounds = Vec::new();
        for next in (0..=130_000).step_by(1_000) {
            let reached = [(TopicPartition::new("t", 0), next)].into_iter().collect();
            let due = repeats.far_behind(&reached).map(|(_, bound)| bound);
            bounds.extend(due.map(|bound| (next, bound)));
            repeats.kept(&reached);
        }
        assert_eq!(bounds, [(110_000, 10_000), (120_000, 20_000), (130_000, 30_000)]);
    }
}
