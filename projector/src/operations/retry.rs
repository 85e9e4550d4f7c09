//! What operators do about the parked records of a projection or a replica: apply them after all, or give them up.
//!
//! Both work on the live generation beside its workers, with its checkpoints held: a worker that sets a record aside
//! because it waits looks under the same hold whether it still has to.

use balcony_event_log::Record;
use balcony_store::{Database, GenerationTx, HeldGenerations, ListedGeneration, ParkedRecord, ReadModel, StoreError};
use serde::Serialize;
use uuid::Uuid;

use crate::clock::milliseconds_now;
use crate::kept::read;
use crate::projection::AnyProjection;
use crate::received::{Reads as _, Verdict};
use crate::replica::AnyReplica;
use crate::taken::Taken;

/// What became of parked records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// How many were applied, or delivered.
    pub applied: u64,
    /// How many were given up.
    pub discarded: u64,
    /// Those that failed again, each with what waits behind it.
    pub refused: Vec<Refused>,
}

/// A record that failed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its id.
    pub id: Uuid,
    /// Why it failed this time.
    pub error: String,
    /// How many records wait behind it.
    pub waiting: i64,
}

/// Why nothing was done about parked records.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// As the database answers. When it went away while it was told to keep what was done, that may have been kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing is parked under this id, any more or at all.
    #[error("{projection} has no parked record {id}")]
    Unknown {
        /// The projection or reactor that was asked.
        projection: String,
        /// The id.
        id: Uuid,
    },
    /// It was given up, and what came after it may have been applied.
    #[error("{0} was discarded")]
    Discarded(Uuid),
    /// The reactor could not forget it.
    #[error("{id} stays parked: {reason}")]
    NotGivenUp {
        /// The record.
        id: Uuid,
        /// Why.
        reason: String,
    },
    /// The next generation takes what is parked over from the live one.
    #[error(
        "generation {number} of {projection} is being built ({state}): wait for it, or cancel the rebuild (rebuild \
         {projection} --cancel)"
    )]
    Rebuilding {
        /// The projection.
        projection: String,
        /// The generation that is being built.
        number: i64,
        /// How far it has come.
        state: String,
    },
    /// Somebody else retries or discards what is parked in this reactor.
    #[error("somebody else retries or discards what is parked in {0}; wait until that is done and try again")]
    Busy(String),
    /// The reactor publishes to the log, which another process has.
    #[error(
        "{0} publishes to the log, and only the process that holds the data folder can do that; stop it and try again"
    )]
    CannotPublish(String),
    /// The live generation is another program's.
    #[error(
        "the live generation of {projection} is of version {live}, this program has version {own}: use the program that \
         runs"
    )]
    OtherVersion {
        /// The projection.
        projection: String,
        /// The live generation's version.
        live: i64,
        /// This program's version.
        own: u32,
    },
}

/// A step whose parked records can be retried beside its workers.
#[derive(Clone, Copy)]
pub enum Retried<'s> {
    /// Rows are written after all.
    Projection(&'s AnyProjection),
    /// What its records say is in stores of other processes, in any order: they can be given up, and are taken in when
    /// the stores are built anew.
    Replica(&'s AnyReplica),
}

impl Retried<'_> {
    fn read_model(&self) -> &ReadModel {
        match self {
            Self::Projection(projection) => projection.read_model(),
            Self::Replica(replica) => replica.read_model(),
        }
    }
}

impl<'s> From<&'s AnyProjection> for Retried<'s> {
    fn from(projection: &'s AnyProjection) -> Self {
        Self::Projection(projection)
    }
}

impl<'s> From<&'s AnyReplica> for Retried<'s> {
    fn from(replica: &'s AnyReplica) -> Self {
        Self::Replica(replica)
    }
}

/// How many records of a key are looked at together.
const PAGE: u32 = 100;

/// Applies the parked record `id` and what waits behind it, in the order of the log, beginning with the first parked
/// record of its key. It ends at the first that fails again, which stays parked with its new error and with everything
/// behind it.
///
/// # Errors
/// See [`RetryError`].
pub async fn retry<'s>(step: impl Into<Retried<'s>>, database: &'s Database, id: Uuid) -> Result<Outcome, RetryError> {
    let mut live = Live::hold(step.into(), database).await?;
    let record = live.record(id).await?;
    if record.discarded_at.is_some() {
        return Err(RetryError::Discarded(id));
    }
    let mut outcome = Outcome::default();
    live.apply_all_like(record, &mut outcome).await?;
    live.commit().await?;
    Ok(outcome)
}

/// Gives up the records `ids`, so that they are never applied, and applies what waited behind nothing else.
///
/// # Errors
/// See [`RetryError`].
pub async fn discard<'s>(
    step: impl Into<Retried<'s>>,
    database: &'s Database,
    ids: &[Uuid],
) -> Result<Outcome, RetryError> {
    let mut live = Live::hold(step.into(), database).await?;
    let mut records: Vec<ParkedRecord> = Vec::new();
    for &id in ids {
        let record = live.record(id).await?;
        if record.discarded_at.is_none() && !records.contains(&record) {
            records.push(record);
        }
    }
    let mut freed: Vec<ParkedRecord> = Vec::new();
    for record in &records {
        let first = live.first_like(record).await?;
        freed.extend(first.filter(|first| ids.contains(&first.id) && !freed.contains(first)));
    }

    let mut outcome = Outcome::default();
    for record in records {
        live.tx.discard(record.id, milliseconds_now()).await?;
        outcome.discarded += 1;
    }
    for record in freed {
        live.apply_all_like(record, &mut outcome).await?;
    }
    live.commit().await?;
    Ok(outcome)
}

/// Gives up every parked record. Says how many there were.
///
/// # Errors
/// See [`RetryError`].
pub async fn discard_all<'s>(step: impl Into<Retried<'s>>, database: &'s Database) -> Result<u64, RetryError> {
    let mut live = Live::hold(step.into(), database).await?;
    let discarded = live.tx.discard_all(milliseconds_now()).await?;
    live.commit().await?;
    Ok(discarded)
}

/// A transaction on the live generation, which stays live, and whose workers wait.
struct Live<'s> {
    step: Retried<'s>,
    database: &'s Database,
    tx: GenerationTx,
    held: HeldGenerations,
}

impl<'s> Live<'s> {
    async fn hold(step: Retried<'s>, database: &'s Database) -> Result<Self, RetryError> {
        let model = step.read_model();
        let held = database.hold_generations(&model.name).await?;
        if let Some(ListedGeneration { generation, state, .. }) = held.unfinished(model.version) {
            return Err(RetryError::Rebuilding {
                projection: generation.projection.clone(),
                number: generation.number,
                state: state.to_string(),
            });
        }
        let Some(live) = held.live(model.version) else {
            return Err(match held.newest_live() {
                Some(other) => RetryError::OtherVersion {
                    projection: other.projection.clone(),
                    live: other.version,
                    own: model.version,
                },
                None => StoreError::NotReady(model.name.to_string()).into(),
            });
        };
        let mut tx = database.writer(live).begin().await?;
        tx.hold_checkpoints().await?;
        Ok(Self { step, database, tx, held })
    }

    async fn record(&mut self, id: Uuid) -> Result<ParkedRecord, RetryError> {
        let found = self.tx.parked_record(id).await?;
        found.ok_or_else(|| RetryError::Unknown { projection: self.step.read_model().name.to_string(), id })
    }

    /// The first parked record of the same key, behind which the others wait; `None` without a key.
    async fn first_like(&mut self, record: &ParkedRecord) -> Result<Option<ParkedRecord>, StoreError> {
        if record.key.is_empty() {
            return Ok(None);
        }
        Ok(self.tx.parked_of_key(&record.partition, &record.key, 0, 1).await?.pop())
    }

    /// Applies every parked record of the same key; without a key, this one alone.
    async fn apply_all_like(&mut self, record: ParkedRecord, outcome: &mut Outcome) -> Result<(), StoreError> {
        if record.key.is_empty() {
            self.apply(&record, outcome).await?;
            return Ok(());
        }
        let mut from = 0;
        loop {
            let page = self.tx.parked_of_key(&record.partition, &record.key, from, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            from = last.offset + 1;
            for parked in &page {
                if !self.apply(parked, outcome).await? {
                    return Ok(());
                }
            }
        }
    }

    /// Applies a record and takes it from the parked ones, or notes why it failed again. Says whether it was applied.
    async fn apply(&mut self, parked: &ParkedRecord, outcome: &mut Outcome) -> Result<bool, StoreError> {
        let Some(error) = self.refusal(&record(parked).into()).await? else {
            self.tx.unpark(parked.id).await?;
            outcome.applied += 1;
            return Ok(true);
        };
        self.tx.park_error(parked.id, &error).await?;
        let waiting = match parked.key.as_slice() {
            [] => 0,
            key => self.tx.parked_count_of_key(&parked.partition, key, parked.offset + 1).await?,
        };
        outcome.refused.push(Refused { id: parked.id, error, waiting });
        Ok(false)
    }

    /// Why the record cannot be decoded or applied; otherwise it is applied, or passed over as a worker would.
    async fn refusal(&mut self, record: &Taken) -> Result<Option<String>, StoreError> {
        let projection = match self.step {
            Retried::Projection(projection) => projection,
            Retried::Replica(replica) => return Ok(refusal_of_replica(replica, record)),
        };
        let mut events = projection.events(1);
        if projection.wants(record)
            && let Verdict::Broken(error) = projection.decode(record, &mut events)
        {
            return Ok(Some(error));
        }
        self.tx.begin_part().await?;
        match projection.apply(&events, &mut self.tx).await {
            Ok(()) => {
                self.tx.end_part(true).await?;
                Ok(None)
            }
            Err(error @ StoreError::Refused(_)) => {
                self.tx.end_part(false).await?;
                Ok(Some(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    async fn commit(self) -> Result<(), StoreError> {
        self.tx.commit().await?;
        self.database.progress().generations_changed();
        // From here on the generations may change again.
        drop(self.held);
        Ok(())
    }
}

/// Why the record cannot be taken in; `None` for one that a store passes over.
fn refusal_of_replica(replica: &AnyReplica, record: &Taken) -> Option<String> {
    let mut events = replica.events(1);
    if !replica.wants(record) {
        return None;
    }
    match replica.decode(record, &mut events) {
        Verdict::Broken(error) => Some(error),
        Verdict::Unknown => None,
        Verdict::Applies => {
            let name = replica.name();
            Some(format!("{name} takes in what can be read by now when it is built anew: rebuild {name}"))
        }
    }
}

/// The record as it stood in the log, as far as it was kept.
pub(crate) fn record(parked: &ParkedRecord) -> Record {
    let (headers, timestamp) = read(&parked.headers);
    Record {
        partition: parked.partition.clone(),
        offset: parked.offset,
        timestamp,
        key: parked.key.clone(),
        headers,
        payload: parked.payload.clone(),
    }
}
