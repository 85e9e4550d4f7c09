use balcony_event_log::TopicPartition;
use uuid::Uuid;

use crate::checkpoints::topic_partition;
use crate::{GenerationTx, Row, StoreError, Value};

/// A record that a projection set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedRecord {
    /// Its id, the same in every generation.
    pub id: Uuid,
    /// The partition it stands in.
    pub partition: TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// Its key, empty when it has none.
    pub key: Vec<u8>,
    /// Its headers and whatever else whoever parked it keeps of it, as a JSON text.
    pub headers: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Why it was set aside.
    pub error: String,
    /// When, in milliseconds since 1970.
    pub parked_at: i64,
    /// When an operator said that it is not to be applied, in milliseconds since 1970.
    pub discarded_at: Option<i64>,
}

const COLUMNS: &str =
    "id, topic, partition, record_offset, record_key, headers, payload, error, parked_at, discarded_at";

type ParkedRow = (Uuid, String, i64, i64, Vec<u8>, String, Vec<u8>, String, i64, Option<i64>);

impl GenerationTx {
    /// Sets `records` aside, each once.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn park(&mut self, records: &[ParkedRecord]) -> Result<(), StoreError> {
        let rows: Vec<[Value<'_>; 10]> = records
            .iter()
            .map(|record| {
                [
                    record.id.into(),
                    record.partition.topic.as_ref().into(),
                    record.partition.partition.into(),
                    record.offset.into(),
                    record.key.as_slice().into(),
                    record.headers.as_str().into(),
                    record.payload.as_slice().into(),
                    // Errors may quote what they met; PostgreSQL takes every character in a text but this one.
                    record.error.replace('\0', "\u{FFFD}").into(),
                    record.parked_at.into(),
                    record.discarded_at.into(),
                ]
            })
            .collect();
        let sql = format!(
            "INSERT INTO parked ({COLUMNS}) VALUES $rows ON CONFLICT (topic, partition, record_offset) DO NOTHING"
        );
        self.execute_rows(&sql, &rows).await?;
        Ok(())
    }

    /// The keys that have a parked record, each with the offset of its first: what comes later of them in the same
    /// partition waits behind it.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn parked_keys(&mut self) -> Result<Vec<(TopicPartition, Vec<u8>, i64)>, StoreError> {
        let rows: Vec<(String, i64, Vec<u8>, i64)> = self
            .fetch(
                "SELECT topic, partition, record_key, MIN(record_offset) FROM parked
                 WHERE discarded_at IS NULL AND LENGTH(record_key) > 0
                 GROUP BY topic, partition, record_key",
                &[],
            )
            .await?;
        rows.into_iter()
            .map(|(topic, partition, key, first)| Ok((topic_partition(topic, partition)?, key, first)))
            .collect()
    }

    /// The positions that are parked or discarded although the checkpoint has not passed them.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn parked_ahead(&mut self) -> Result<Vec<(TopicPartition, i64)>, StoreError> {
        let rows: Vec<(String, i64, i64)> = self
            .fetch(
                "SELECT parked.topic, parked.partition, parked.record_offset FROM parked
                 JOIN checkpoints ON checkpoints.topic = parked.topic AND checkpoints.partition = parked.partition
                 WHERE parked.record_offset >= checkpoints.next_offset",
                &[],
            )
            .await?;
        rows.into_iter().map(|(topic, partition, offset)| Ok((topic_partition(topic, partition)?, offset))).collect()
    }

    /// How many records are parked.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn parked_count(&mut self) -> Result<i64, StoreError> {
        self.fetch_one("SELECT COUNT(*) FROM parked WHERE discarded_at IS NULL", &[]).await
    }

    /// Every record that is parked or was discarded, in the order of the log.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn parked(&mut self) -> Result<Vec<ParkedRecord>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM parked ORDER BY topic, partition, record_offset");
        parked_records(self.fetch(sql, &[]).await?)
    }

    /// The record called `id`, parked or discarded.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn parked_record(&mut self, id: Uuid) -> Result<Option<ParkedRecord>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM parked WHERE id = $1");
        Ok(parked_records(self.fetch(sql, &[id.into()]).await?)?.pop())
    }

    /// The next parked records in the order of the log, after one of them or from the first, `most` at the most;
    /// discarded ones only when they are asked for.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn parked_after(
        &mut self,
        after: Option<&ParkedRecord>,
        discarded: bool,
        most: u32,
    ) -> Result<Vec<ParkedRecord>, StoreError> {
        let after = after.map(|after| (&*after.partition.topic, after.partition.partition, after.offset));
        self.parked_behind(after, discarded, most).await
    }

    /// The same, after a topic, partition and offset.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn parked_behind(
        &mut self,
        after: Option<(&str, i32, i64)>,
        discarded: bool,
        most: u32,
    ) -> Result<Vec<ParkedRecord>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM parked
             WHERE (discarded_at IS NULL OR $1 = 1) AND (topic, partition, record_offset) > ($2, $3, $4)
             ORDER BY topic, partition, record_offset LIMIT $5"
        );
        let (topic, partition, offset) = after.unwrap_or(("", -1, -1));
        let params =
            [i64::from(discarded).into(), topic.into(), partition.into(), offset.into(), i64::from(most).into()];
        parked_records(self.fetch(sql, &params).await?)
    }

    /// The parked records of one key in one partition from an offset on, in the order of the log, `most` at the most.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn parked_of_key(
        &mut self,
        partition: &TopicPartition,
        key: &[u8],
        from: i64,
        most: u32,
    ) -> Result<Vec<ParkedRecord>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM parked
             WHERE topic = $1 AND partition = $2 AND record_key = $3 AND record_offset >= $4 AND discarded_at IS NULL
             ORDER BY record_offset LIMIT $5"
        );
        let topic = partition.topic.as_ref().into();
        let params = [topic, partition.partition.into(), key.into(), from.into(), i64::from(most).into()];
        parked_records(self.fetch(sql, &params).await?)
    }

    /// How many records of one key are parked in one partition from an offset on.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn parked_count_of_key(
        &mut self,
        partition: &TopicPartition,
        key: &[u8],
        from: i64,
    ) -> Result<i64, StoreError> {
        self.fetch_one(
            "SELECT COUNT(*) FROM parked
             WHERE topic = $1 AND partition = $2 AND record_key = $3 AND record_offset >= $4 AND discarded_at IS NULL",
            &[partition.topic.as_ref().into(), partition.partition.into(), key.into(), from.into()],
        )
        .await
    }

    /// Takes a record from the parked ones, because it was applied.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn unpark(&mut self, id: Uuid) -> Result<(), StoreError> {
        self.execute("DELETE FROM parked WHERE id = $1", &[id.into()]).await?;
        Ok(())
    }

    /// Notes why a parked record was refused again.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn park_error(&mut self, id: Uuid, error: &str) -> Result<(), StoreError> {
        let error = error.replace('\0', "\u{FFFD}");
        self.execute("UPDATE parked SET error = $2 WHERE id = $1", &[id.into(), error.into()]).await?;
        Ok(())
    }

    /// Notes that a parked record is never to be applied.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn discard(&mut self, id: Uuid, discarded_at: i64) -> Result<(), StoreError> {
        self.execute("UPDATE parked SET discarded_at = $2 WHERE id = $1", &[id.into(), discarded_at.into()]).await?;
        Ok(())
    }

    /// The same for every record that is parked. Says how many there were.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn discard_all(&mut self, discarded_at: i64) -> Result<u64, StoreError> {
        self.execute("UPDATE parked SET discarded_at = $1 WHERE discarded_at IS NULL", &[discarded_at.into()]).await
    }

    /// The one row of one column that a statement gives.
    async fn fetch_one<T>(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<T, StoreError>
    where
        (T,): Row,
    {
        let rows: Vec<(T,)> = self.fetch(sql, params).await?;
        let row = rows.into_iter().next().ok_or(StoreError::Refused(sqlx::Error::RowNotFound))?;
        Ok(row.0)
    }
}

fn parked_records(rows: Vec<ParkedRow>) -> Result<Vec<ParkedRecord>, StoreError> {
    rows.into_iter()
        .map(|(id, topic, partition, offset, key, headers, payload, error, parked_at, discarded_at)| {
            let partition = topic_partition(topic, partition)?;
            Ok(ParkedRecord { id, partition, offset, key, headers, payload, error, parked_at, discarded_at })
        })
        .collect()
}
