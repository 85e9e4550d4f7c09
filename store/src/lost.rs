use balcony_event_log::TopicPartition;

use crate::checkpoints::topic_partition;
use crate::{Database, Generation, StoreError};

/// Records that were gone from the log before a generation had read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The partition that they stood in.
    pub partition: TopicPartition,
    /// Where the first of them stood.
    pub first_offset: i64,
    /// Where reading went on.
    pub next_offset: i64,
}

impl Lost {
    /// How many offsets they stood at; where offsets have holes there were fewer records.
    pub fn count(&self) -> i64 {
        self.next_offset - self.first_offset
    }
}

impl Database {
    /// Notes that `generation` will never read these records. Noted again, they count once.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn note_lost(&self, generation: &Generation, lost: &[Lost]) -> Result<(), StoreError> {
        let now = self.backend.now();
        let mut tx = self.begin().await?;
        for Lost { partition, first_offset, next_offset } in lost {
            tx.execute(
                format!(
                    "INSERT INTO lost_records (schema_name, topic, partition, first_offset, next_offset, noted_at)
                     VALUES ($1, $2, $3, $4, $5, {now})
                     ON CONFLICT (schema_name, topic, partition, first_offset) DO UPDATE
                     SET next_offset = excluded.next_offset WHERE lost_records.next_offset < excluded.next_offset"
                ),
                &[
                    generation.schema().into(),
                    partition.topic.as_ref().into(),
                    partition.partition.into(),
                    (*first_offset).into(),
                    (*next_offset).into(),
                ],
            )
            .await?;
        }
        tx.commit().await
    }

    /// What `generation` will never read, in the order of the log.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn lost(&self, generation: &Generation) -> Result<Vec<Lost>, StoreError> {
        let sql = "SELECT topic, partition, first_offset, next_offset FROM lost_records WHERE schema_name = $1
                   ORDER BY topic, partition, first_offset";
        let rows: Vec<(String, i64, i64, i64)> = self.look().await?.fetch(sql, &[generation.schema().into()]).await?;
        let lost = |(topic, partition, first_offset, next_offset)| {
            Ok(Lost { partition: topic_partition(topic, partition)?, first_offset, next_offset })
        };
        rows.into_iter().map(lost).collect()
    }
}
