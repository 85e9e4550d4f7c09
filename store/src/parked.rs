use balcony_event_log::TopicPartition;
use uuid::Uuid;

use crate::{StoreError, Tx, Value};

/// A record that a projection set aside.
#[derive(Debug, Clone)]
pub struct ParkedRecord<'a> {
    /// A new id for it.
    pub id: Uuid,
    /// The partition it stands in.
    pub partition: &'a TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// Its key, empty when it has none.
    pub key: &'a [u8],
    /// Its headers as a JSON object.
    pub headers: String,
    /// Its payload.
    pub payload: &'a [u8],
    /// Why it was set aside.
    pub error: String,
    /// When, in milliseconds since 1970.
    pub parked_at: i64,
}

impl Tx {
    /// Sets `records` aside, each once.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn park(&mut self, records: &[ParkedRecord<'_>]) -> Result<(), StoreError> {
        let rows: Vec<[Value<'_>; 9]> = records
            .iter()
            .map(|record| {
                [
                    record.id.into(),
                    record.partition.topic.as_ref().into(),
                    record.partition.partition.into(),
                    record.offset.into(),
                    record.key.into(),
                    record.headers.clone().into(),
                    record.payload.into(),
                    // Errors may quote what they met; PostgreSQL takes every character in a text but this one.
                    record.error.replace('\0', "\u{FFFD}").into(),
                    record.parked_at.into(),
                ]
            })
            .collect();
        self.execute_rows(
            "INSERT INTO parked
                 (id, topic, partition, record_offset, record_key, headers, payload, error, parked_at)
             VALUES $rows ON CONFLICT (topic, partition, record_offset) DO NOTHING",
            &rows,
        )
        .await?;
        Ok(())
    }

    /// The keys, by topic, that have a parked record: what comes later of them waits behind it.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn parked_keys(&mut self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.fetch("SELECT DISTINCT topic, record_key FROM parked WHERE LENGTH(record_key) > 0", &[]).await
    }

    /// How many records are parked.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn parked_count(&mut self) -> Result<i64, StoreError> {
        let rows: Vec<(i64,)> = self.fetch("SELECT COUNT(*) FROM parked", &[]).await?;
        Ok(rows.first().map_or(0, |&(count,)| count))
    }
}
