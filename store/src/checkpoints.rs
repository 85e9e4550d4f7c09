use std::collections::BTreeMap;

use balcony_event_log::{Positions, TopicPartition};

use crate::tx::Inner;
use crate::{GenerationTx, StoreError, Value};

/// Where a generation stands in each partition.
pub(crate) const CHECKPOINTS: &str = "SELECT topic, partition, next_offset FROM checkpoints";

/// A worker's hold on partitions: where each stands and the epoch under which it may move it. Whoever claims a
/// partition next raises its epoch, and this claim moves it no more (fencing, as leases are fenced by tokens).
#[derive(Debug, Clone, Default)]
pub struct Claim {
    partitions: BTreeMap<TopicPartition, Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    next_offset: i64,
    epoch: i64,
}

impl Claim {
    /// Where reading goes on.
    pub fn positions(&self) -> Positions {
        self.partitions.iter().map(|(partition, held)| (partition.clone(), held.next_offset)).collect()
    }

    /// Whether `partition` is held.
    pub fn holds(&self, partition: &TopicPartition) -> bool {
        self.partitions.contains_key(partition)
    }

    /// Lets go of `partitions`.
    pub fn release(&mut self, partitions: &[TopicPartition]) {
        self.partitions.retain(|partition, _| !partitions.contains(partition));
    }

    /// Notes what [`GenerationTx::advance`] wrote, once it is committed.
    pub fn advanced(&mut self, reached: &Positions) {
        for (partition, next_offset) in reached {
            if let Some(held) = self.partitions.get_mut(partition) {
                held.next_offset = next_offset;
            }
        }
    }
}

impl GenerationTx {
    /// Writes where reading begins in the topics of `start` that have no checkpoint yet. A topic that has one was begun
    /// before: a partition of it that has none is newer, and begins at its own beginning.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn begin_at(&mut self, start: &Positions) -> Result<(), StoreError> {
        let mut topic = None;
        let mut begins = false;
        for (partition, next_offset) in start {
            // Whoever writes a topic's first partition writes all of them; others wait for it here, and write none.
            let first = topic != Some(&partition.topic);
            topic = Some(&partition.topic);
            if !first && !begins {
                continue;
            }
            let written = self
                .execute(
                    "INSERT INTO checkpoints (topic, partition, next_offset, epoch) VALUES ($1, $2, $3, 0)
                     ON CONFLICT (topic, partition) DO NOTHING",
                    &[partition.topic.as_ref().into(), partition.partition.into(), next_offset.into()],
                )
                .await?;
            if first {
                begins = written > 0;
            }
        }
        Ok(())
    }

    /// Takes `partitions` over: from now on nobody who held them before moves their checkpoints.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<Claim, StoreError> {
        let mut claim = Claim::default();
        for partition in partitions {
            let held: Vec<(i64, i64)> = self
                .fetch(
                    "INSERT INTO checkpoints (topic, partition, next_offset, epoch) VALUES ($1, $2, 0, 1)
                     ON CONFLICT (topic, partition) DO UPDATE SET epoch = checkpoints.epoch + 1
                     RETURNING next_offset, epoch",
                    &[partition.topic.as_ref().into(), partition.partition.into()],
                )
                .await?;
            for (next_offset, epoch) in held {
                claim.partitions.insert(partition.clone(), Held { next_offset, epoch });
            }
        }
        Ok(claim)
    }

    /// Moves the checkpoints of a claim to `reached`, each only from where the claim knows it to be and under the
    /// claim's epoch. Done first in a transaction, it makes whoever else is at the same partitions wait or fail. What may
    /// be committed is decided here and nowhere else:
    ///
    /// | of a partition in `reached` | the checkpoint |
    /// |---|---|
    /// | the claim's epoch, and it stands where the claim knows it to | moves |
    /// | the claim's epoch, and it stands elsewhere: a commit went through whose answer was lost | fenced |
    /// | another epoch: somebody has claimed the partition since | fenced |
    /// | is not the claim's | fenced |
    ///
    /// Where one is fenced none moves, because the transaction ends. Where it stands then is learnt by claiming again.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when a checkpoint stands elsewhere or was taken over; the transaction must be dropped.
    pub async fn advance(&mut self, claim: &Claim, reached: &Positions) -> Result<(), StoreError> {
        let mut moves: Vec<[Value<'_>; 5]> = Vec::with_capacity(reached.len());
        for (partition, next_offset) in reached {
            let Some(held) = claim.partitions.get(partition) else {
                return Err(fenced(partition));
            };
            moves.push([
                partition.topic.as_ref().into(),
                partition.partition.into(),
                held.next_offset.into(),
                next_offset.into(),
                held.epoch.into(),
            ]);
        }
        let moved = self
            .execute_rows(
                "WITH moves (topic, partition, from_offset, to_offset, epoch) AS (VALUES $rows)
                 UPDATE checkpoints SET next_offset = moves.to_offset FROM moves
                 WHERE checkpoints.topic = moves.topic AND checkpoints.partition = moves.partition
                   AND checkpoints.next_offset = moves.from_offset AND checkpoints.epoch = moves.epoch",
                &moves,
            )
            .await?;
        if moved == moves.len() as u64 {
            return Ok(());
        }
        let first = reached.partitions().next().expect("something was to be moved");
        Err(fenced(first))
    }

    /// How far the generation has read each partition.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn checkpoints(&mut self) -> Result<Positions, StoreError> {
        let rows = self.fetch(CHECKPOINTS, &[]).await?;
        positions(rows)
    }

    /// The same, and nobody moves them before the transaction ends.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn hold_checkpoints(&mut self) -> Result<Positions, StoreError> {
        let held = on_each!(&self.inner, Inner, |_tx, database| database::HELD);
        let sql = format!("{CHECKPOINTS} {held}");
        positions(self.fetch(sql, &[]).await?)
    }

    /// The same; whoever holds them is waited for half a second at the most.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers; [`StoreError::Unavailable`] when somebody else holds them.
    pub(crate) async fn hold_checkpoints_briefly(&mut self) -> Result<Positions, StoreError> {
        let briefly = on_each!(&self.inner, Inner, |_tx, database| database::WAIT_BRIEFLY);
        if !briefly.is_empty() {
            self.script(briefly).await?;
        }
        self.hold_checkpoints().await
    }

    /// Whether the checkpoints of a claim stand at `reached` under the claim's epoch: whether [`GenerationTx::advance`] to
    /// there was committed.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn stands_at(&mut self, claim: &Claim, reached: &Positions) -> Result<bool, StoreError> {
        for (partition, next_offset) in reached {
            let Some(held) = claim.partitions.get(partition) else { return Ok(false) };
            let found: Vec<(i64, i64)> = self
                .fetch(
                    "SELECT next_offset, epoch FROM checkpoints WHERE topic = $1 AND partition = $2",
                    &[partition.topic.as_ref().into(), partition.partition.into()],
                )
                .await?;
            if found != [(next_offset, held.epoch)] {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The positions that rows of topic, partition and next offset name.
pub(crate) fn positions(rows: Vec<(String, i64, i64)>) -> Result<Positions, StoreError> {
    rows.into_iter()
        .map(|(topic, partition, next_offset)| Ok((topic_partition(topic, partition)?, next_offset)))
        .collect()
}

/// The partition that two columns name.
pub(crate) fn topic_partition(topic: String, partition: i64) -> Result<TopicPartition, StoreError> {
    let number = i32::try_from(partition)
        .map_err(|_| StoreError::Misconfigured(format!("{topic} has no partition {partition}")))?;
    Ok(TopicPartition::new(topic, number))
}

fn fenced(partition: &TopicPartition) -> StoreError {
    StoreError::Fenced(format!("{}/{}", partition.topic, partition.partition))
}
