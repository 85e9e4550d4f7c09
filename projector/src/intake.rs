//! Takes into the log what is outside of it, each thing once.

use std::sync::Arc;

use balcony_event_log::{
    AppendError, EventLog, Incoming, LogError, Message, Position, Positions, Record, append_patiently,
};
use balcony_store::{ReadModel, StoreError, Tx, Uuid, Value};

use crate::decode::Decode;
use crate::newest::{Newest, NewestError};
use crate::projection::Projection;
use crate::received::Received;

/// Appends what comes from outside (files, rows, another log), each version of each thing once, however often the process
/// is killed and started again: **the log itself says what was taken**, in headers of the record, and the read model
/// [`Taken`] remembers it. One process at a time takes in a thing; where two do, a version may stand in the log twice,
/// under one id. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    newest: Newest,
    taken: ReadModel,
}

/// The read model of what was taken in: a projection that a program with an [`Intake`] has in its catalogue.
pub struct Taken(ReadModel);

/// What a record says of what was taken in with it.
pub struct Origin {
    thing: Uuid,
    version: i64,
}

/// Why something was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// It is not known what was taken in before.
    #[error(transparent)]
    Newest(#[from] NewestError),
    /// It could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The other log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What is outside cannot be read, for the reason that is given.
    #[error("{0}")]
    Outside(String),
}

const NAME: &str = "taken";
const TABLES: &str = "CREATE TABLE taken (thing UUID, version BIGINT, PRIMARY KEY (thing, version));";
const THING: &str = "ce_intakething";
const VERSION: &str = "ce_intakeversion";
const ID: &str = "ce_id";

impl Taken {
    /// What is taken into `topics`. Others may append to them, too.
    pub fn new(topics: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self(ReadModel::new(NAME, 1, topics, TABLES))
    }
}

impl Decode for Origin {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let header =
            |name| record.headers.get(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
        let thing = Uuid::parse_str(header(THING)).map_err(|error| format!("{THING}: {error}"))?;
        let version = header(VERSION).parse().map_err(|error| format!("{VERSION}: {error}"))?;
        Ok(Some(Self { thing, version }))
    }
}

impl Projection for Taken {
    type Event = Origin;

    fn read_model(&self) -> &ReadModel {
        &self.0
    }

    fn wants(&self, record: &Record) -> bool {
        record.headers.get(THING).is_some()
    }

    async fn apply(&self, origins: &[Received<Origin>], tx: &mut Tx) -> Result<(), StoreError> {
        let rows: Vec<[Value<'_>; 2]> = origins.iter().map(|one| [one.thing.into(), one.version.into()]).collect();
        tx.insert_new("taken", &["thing", "version"], ["thing", "version"], &rows).await.map(drop)
    }
}

impl IntakeError {
    /// What is outside cannot be read, because of `error`.
    pub fn outside(error: impl std::fmt::Display) -> Self {
        Self::Outside(error.to_string())
    }
}

impl Intake {
    /// Takes in what `taken` remembers, which is among the read models of `newest`.
    pub fn new(newest: Newest, taken: &Taken) -> Self {
        Self { newest, taken: taken.0.clone() }
    }

    /// The greatest version of `thing` that was taken in.
    ///
    /// # Errors
    /// [`IntakeError::Newest`].
    pub async fn last(&self, thing: Uuid) -> Result<Option<i64>, IntakeError> {
        let sql = "SELECT MAX(version) FROM taken WHERE thing = $1";
        let rows: Vec<(Option<i64>,)> = self.newest.fetch(&self.taken, sql, &[thing.into()]).await?;
        Ok(rows.into_iter().find_map(|(version,)| version))
    }

    /// Whether this version of `thing` was taken in.
    ///
    /// # Errors
    /// [`IntakeError::Newest`].
    pub async fn has(&self, thing: Uuid, version: i64) -> Result<bool, IntakeError> {
        let sql = "SELECT version FROM taken WHERE thing = $1 AND version = $2";
        let rows: Vec<(i64,)> = self.newest.fetch(&self.taken, sql, &[thing.into(), version.into()]).await?;
        Ok(!rows.is_empty())
    }

    /// Appends `message` as this version of `thing`, which the caller knows not to have been taken in. Without a `ce_id` it
    /// gets one, made of both. While the log is away this waits.
    ///
    /// # Errors
    /// [`IntakeError::Append`] when trying again is of no use.
    pub async fn take(
        &self,
        topic: &str,
        thing: Uuid,
        version: i64,
        mut message: Message,
    ) -> Result<Position, IntakeError> {
        if message.headers.get(ID).is_none() {
            let id = Uuid::new_v5(&thing, &version.to_be_bytes());
            message.headers.push(ID, id.to_string().as_bytes());
        }
        message.headers.push(THING, thing.to_string().as_bytes());
        message.headers.push(VERSION, version.to_string().as_bytes());
        Ok(append_patiently(self.newest.log().as_ref(), topic, message).await?)
    }

    /// Appends what `message` makes of a thing that is in this `state`, unless that was done before. `thing` and `state` are any
    /// texts, and `message` is told whether the thing is new: not taken in before, in whatever state.
    ///
    /// # Errors
    /// As [`last`](Self::last) and [`take`](Self::take).
    pub async fn notice(
        &self,
        topic: &str,
        thing: &str,
        state: &str,
        message: impl FnOnce(bool) -> Message,
    ) -> Result<(), IntakeError> {
        let thing = Uuid::new_v5(&Uuid::NAMESPACE_URL, thing.as_bytes());
        let version = Uuid::new_v5(&Uuid::NAMESPACE_OID, state.as_bytes()).as_u64_pair().0.cast_signed();
        if self.has(thing, version).await? {
            return Ok(());
        }
        let is_new = self.last(thing).await?.is_none();
        self.take(topic, thing, version, message(is_new)).await.map(drop)
    }

    /// Copies the records of `from`, a topic of another log, for which `wants` holds, to `topic`: in the order of each
    /// partition, each once, from where it has come, and on as records come. Each keeps its key, payload and headers, and
    /// gets a `ce_id` when it has none. Ends only by failing. Partitions that `from` gets later are read once it is called
    /// again.
    ///
    /// # Errors
    /// See [`IntakeError`].
    pub async fn copy(
        &self,
        other: &dyn EventLog,
        from: &Arc<str>,
        topic: &str,
        wants: impl Fn(&Record) -> bool,
    ) -> Result<(), IntakeError> {
        let mut positions: Positions = other.starts(std::slice::from_ref(from)).await?;
        for partition in positions.clone().partitions() {
            if let Some(last) = self.last(partition_of(from, partition.partition)).await? {
                positions.advance(partition, last + 1);
            }
        }
        let mut reader = other.read(positions);
        loop {
            let Incoming::Records(batch) = reader.next().await? else { continue };
            for record in batch.records.into_iter().filter(|record| wants(record)) {
                let Record { partition, offset, key, headers, payload, .. } = record;
                let thing = partition_of(from, partition.partition);
                self.take(topic, thing, offset, Message { key, headers, payload }).await?;
            }
        }
    }
}

/// What a partition of another log is known by.
fn partition_of(topic: &str, partition: i32) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{topic}/{partition}").as_bytes())
}
