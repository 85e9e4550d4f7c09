//! How records that fail are set aside, whether they were to be applied or delivered, and when that is too many.

use std::collections::{HashMap, HashSet};
use std::fmt::{Display, Formatter};

use balcony_event_log::{Record, TopicPartition};
use balcony_store::{GenerationTx, ParkedRecord, StoreError};
use uuid::Uuid;

use crate::kept::keep;

/// How many records in a row may fail before the fault is taken to be elsewhere than in the records.
pub(crate) const MOST_FAILED_IN_A_ROW: usize = 100;
/// Over how many records the share of those that failed is looked at.
const SHARE_OF: usize = 1_000;
/// One in so many of them may fail.
const ONE_IN: usize = 2;

/// Why a record is not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is not what it should be, and could not be decoded.
    Broken(String),
    /// It could not be applied or delivered.
    Failed(String),
    /// It could not be delivered for now, and is tried again by itself.
    Later(String),
    /// An earlier record of its key is parked.
    Waits,
}

/// What a record's successors of the same key are known by.
pub(crate) type Key = (TopicPartition, Vec<u8>);

/// The keys of which a record is parked, and the offset of the first.
pub(crate) type ParkedKeys = HashMap<Key, i64>;

/// Records that were set aside before, by the generation before or by whoever held the partition, and stay so.
pub(crate) type PassedOver = HashSet<(TopicPartition, i64)>;

/// A limit on what may be parked without anybody looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// [`MOST_FAILED_IN_A_ROW`] records failed one after the other.
    InARow,
    /// More than one in [`ONE_IN`] of the last records failed.
    Share,
}

/// Records that failed lately.
#[derive(Default)]
pub(crate) struct Failures {
    in_a_row: usize,
    /// Of the last records looked at, at most [`SHARE_OF`] of them.
    lately: usize,
    looked_at: usize,
}

impl Failures {
    /// Notes that some records failed, or else that others passed.
    pub(crate) fn note(&mut self, failed: usize, passed: usize) {
        self.in_a_row = if passed == 0 { self.in_a_row + failed } else { 0 };
        if self.looked_at >= SHARE_OF {
            (self.lately, self.looked_at) = (0, 0);
        }
        self.lately += failed;
        self.looked_at += failed + passed;
    }

    /// Whether one more record may be parked like those before it, or which limit is reached.
    pub(crate) fn limit(&self) -> Option<Limit> {
        if self.in_a_row >= MOST_FAILED_IN_A_ROW {
            return Some(Limit::InARow);
        }
        if self.looked_at >= SHARE_OF && self.lately * ONE_IN > self.looked_at {
            return Some(Limit::Share);
        }
        None
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(error) | Self::Failed(error) => f.write_str(error),
            Self::Later(error) => write!(f, "{error}; it is tried again by itself"),
            Self::Waits => f.write_str("waits behind an earlier record of its key that is parked"),
        }
    }
}

/// The key of a record, in its partition.
pub(crate) fn key(record: &Record) -> Key {
    (record.partition.clone(), record.key.clone())
}

/// Whether an earlier record of its key is parked.
pub(crate) fn is_behind(parked_keys: &ParkedKeys, record: &Record) -> bool {
    parked_keys.get(&key(record)).is_some_and(|first| *first < record.offset)
}

/// The parked keys of the partitions that are held; those of others change at any time.
pub(crate) async fn parked_keys(
    tx: &mut GenerationTx,
    holds: impl Fn(&TopicPartition) -> bool,
) -> Result<ParkedKeys, StoreError> {
    let keys = tx.parked_keys().await?.into_iter().filter(|(partition, ..)| holds(partition));
    Ok(keys.map(|(partition, key, first)| ((partition, key), first)).collect())
}

/// A record as it is parked by the projection or reactor called `name`.
pub(crate) fn parked_record(name: &str, record: &Record, reason: &Reason, parked_at: i64) -> ParkedRecord {
    ParkedRecord {
        id: id(name, record),
        partition: record.partition.clone(),
        offset: record.offset,
        key: record.key.clone(),
        headers: keep(record),
        payload: record.payload.clone(),
        error: reason.to_string(),
        parked_at,
        discarded_at: None,
    }
}

/// The id of a parked record: made of where it stands, so that it is the same in the next generation.
fn id(name: &str, record: &Record) -> Uuid {
    let TopicPartition { topic, partition } = &record.partition;
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{name}/{topic}/{partition}/{}", record.offset).as_bytes())
}
