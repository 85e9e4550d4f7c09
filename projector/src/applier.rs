use std::time::{Duration, SystemTime, UNIX_EPOCH};

use balcony_event_log::{Batch, Positions, TopicPartition};
use balcony_store::{Claim, Database, Generation, ParkedRecord, StoreError, Writer};
use tokio::time::Instant;

use crate::AnyProjection;
use crate::batch::{Decoded, SetAside, halves};
use crate::observer::{Backoff, Observer};
use crate::parking::{Failures, MOST_FAILED_IN_A_ROW, ParkedKeys, PassedOver, Reason, key, parked_keys, parked_record};
use crate::worker::WorkerError;

/// Applies batches to one generation: rows, checkpoint and what is set aside in one transaction, under a claim.
pub(crate) struct Applier {
    projection: AnyProjection,
    database: Database,
    generation: Generation,
    writer: Writer,
    claim: Claim,
    parked_keys: ParkedKeys,
    passed_over: PassedOver,
    on_failure: OnFailure,
    failures: Failures,
    observer: Observer,
}

/// What is done about a record that cannot be decoded or applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// It is parked.
    Park,
    /// It stops the work, and nothing of it is written.
    Stop,
}

/// Why a transaction was not written.
enum NotWritten {
    Store(StoreError),
    /// An operator has had parked records applied or discarded meanwhile; these keys are left.
    ParkedKeys(ParkedKeys),
}

impl Applier {
    pub(crate) fn new(
        projection: AnyProjection,
        database: &Database,
        generation: Generation,
        on_failure: OnFailure,
        observer: Observer,
    ) -> Self {
        let writer = database.writer(&generation);
        Self {
            projection,
            database: database.clone(),
            generation,
            writer,
            claim: Claim::default(),
            parked_keys: ParkedKeys::new(),
            passed_over: PassedOver::new(),
            on_failure,
            failures: Failures::default(),
            observer,
        }
    }

    /// The same over connections that are there already.
    #[cfg(feature = "testkit")]
    pub(crate) fn over(self, writer: Writer) -> Self {
        Self { writer, ..self }
    }

    /// How far the generation has come, in the partitions that are held.
    pub(crate) fn positions(&self) -> Positions {
        self.claim.positions()
    }

    /// Takes over `partitions`, all that this worker now holds; waits while the database is away.
    pub(crate) async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<(), StoreError> {
        let mut backoff = Backoff::new();
        loop {
            match self.try_claim(partitions).await {
                Err(error) if error.is_transient() => {
                    self.observer.waiting(&error);
                    backoff.pause().await;
                }
                done => return done,
            }
        }
    }

    async fn try_claim(&mut self, partitions: &[TopicPartition]) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        let claim = tx.claim(partitions).await?;
        let parked_keys = parked_keys(&mut tx, &claim).await?;
        self.observer.parked(tx.parked_count().await?);
        tx.commit().await?;
        self.claim = claim;
        self.observer.stands_at(self.claim.positions());
        self.parked_keys = parked_keys;
        self.database.progress().announce(&self.generation, &self.claim.positions());
        Ok(())
    }

    /// Lets go of `partitions`.
    pub(crate) fn release(&mut self, partitions: &[TopicPartition]) {
        self.claim.release(partitions);
        self.observer.stands_at(self.claim.positions());
        self.parked_keys.retain(|(partition, _), _| !partitions.contains(partition));
    }

    /// Sets aside in this generation what was set aside in the one before, and passes over it from now on.
    pub(crate) async fn pass_over(&mut self, records: &[ParkedRecord]) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        tx.park(records).await?;
        let parked_keys = parked_keys(&mut tx, &self.claim).await?;
        tx.commit().await?;
        self.parked_keys = parked_keys;
        self.passed_over = records.iter().map(|record| (record.partition.clone(), record.offset)).collect();
        Ok(())
    }

    /// What is needed to decode batches beside this applier; see [`Decoder`].
    pub(crate) fn decoder(&self) -> Decoder {
        Decoder {
            projection: self.projection.clone(),
            claim: self.claim.clone(),
            parked_keys: self.parked_keys.clone(),
            passed_over: self.passed_over.clone(),
        }
    }

    /// Applies a batch.
    pub(crate) async fn apply(&mut self, batch: Batch) -> Result<(), WorkerError> {
        let decoded = self.decode(&batch);
        self.apply_decoded(batch, decoded).await
    }

    /// Applies a batch that was decoded, in pieces where it cannot be applied whole: the records that fail are found
    /// by halving and set aside, everything else is applied.
    pub(crate) async fn apply_decoded(&mut self, batch: Batch, decoded: Decoded) -> Result<(), WorkerError> {
        let mut decoded = Some(decoded);
        let mut pieces = vec![batch];
        while let Some(piece) = pieces.pop() {
            // Each piece is decoded when its turn comes: what was parked before may be of its keys.
            let decoded = decoded.take().unwrap_or_else(|| self.decode(&piece));
            let refusal = if self.may_apply(&decoded)? || piece.records.len() <= 1 {
                self.stop_at_too_many(&decoded)?;
                match self.write_when_possible(&piece, decoded).await {
                    Err(error @ StoreError::Refused(_)) => Some(error.to_string()),
                    Err(error) => return Err(error.into()),
                    Ok(()) => continue,
                }
            } else {
                None
            };
            match refusal {
                Some(refusal) if piece.records.len() == 1 => {
                    let failed = Decoded::failed(&self.projection, &piece, &refusal);
                    self.may_apply(&failed)?;
                    self.stop_at_too_many(&failed)?;
                    self.write_when_possible(&piece, failed).await?;
                }
                // A batch without records moves checkpoints only, and the database refuses even that.
                Some(refusal) if piece.records.is_empty() => return Err(WorkerError::Stuck(refusal)),
                _ => {
                    let [first, second] = halves(piece);
                    pieces.push(second);
                    pieces.push(first);
                }
            }
        }
        Ok(())
    }

    /// Whether the batch may be applied as a whole. It may not when more of it fail than may fail in a row.
    fn may_apply(&self, decoded: &Decoded) -> Result<bool, WorkerError> {
        if self.on_failure == OnFailure::Stop
            && let Some((record, error)) = decoded.first_failure()
        {
            return Err(WorkerError::Unapplicable {
                partition: record.partition.clone(),
                offset: record.offset,
                error: error.to_owned(),
            });
        }
        Ok(self.failures.in_a_row() + decoded.failures() <= MOST_FAILED_IN_A_ROW)
    }

    fn stop_at_too_many(&self, decoded: &Decoded) -> Result<(), WorkerError> {
        match decoded.first_failure() {
            Some((_, error)) => self.failures.stop_at_too_many(error),
            None => Ok(()),
        }
    }

    fn decode(&self, batch: &Batch) -> Decoded {
        let held = |partition: &TopicPartition| self.claim.holds(partition);
        Decoded::new(&self.projection, batch, held, &self.parked_keys, &self.passed_over)
    }

    /// Writes a decoded batch, and tries again while the database is away.
    async fn write_when_possible(&mut self, batch: &Batch, mut decoded: Decoded) -> Result<(), StoreError> {
        if decoded.reached.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let mut backoff = Backoff::new();
        loop {
            match self.write(&decoded).await {
                Ok(()) => break,
                Err(NotWritten::ParkedKeys(parked_keys)) => {
                    self.parked_keys = parked_keys;
                    decoded = self.decode(batch);
                }
                Err(NotWritten::Store(error)) if error.is_transient() => {
                    self.observer.waiting(&error);
                    backoff.pause().await;
                    // The commit may have gone through although its answer was lost.
                    if self.stands_at(&decoded.reached).await {
                        break;
                    }
                }
                Err(NotWritten::Store(error)) => return Err(error),
            }
        }

        self.claim.advanced(&decoded.reached);
        self.database.progress().announce(&self.generation, &decoded.reached);
        let passed = decoded.events.len() + decoded.unknown;
        self.failures.note(decoded.failures(), passed, decoded.failed_at_the_end);
        for set_aside in &decoded.set_aside {
            self.note_parked(set_aside);
        }
        self.observer.applied(&decoded, started.elapsed());
        Ok(())
    }

    async fn write(&self, decoded: &Decoded) -> Result<(), NotWritten> {
        let mut tx = self.writer.begin().await?;
        tx.advance(&self.claim, &decoded.reached).await?;
        if decoded.set_aside.iter().any(|set_aside| set_aside.reason == Reason::Waits) {
            // From here on the checkpoints are held, and with them what an operator may do to parked records.
            let parked_keys = parked_keys(&mut tx, &self.claim).await?;
            if parked_keys != self.parked_keys {
                return Err(NotWritten::ParkedKeys(parked_keys));
            }
        }
        self.projection.apply(&decoded.events, &mut tx).await?;
        if !decoded.set_aside.is_empty() {
            let parked_at = milliseconds_now();
            let of = |SetAside { record, reason }: &SetAside| {
                parked_record(&self.generation.projection, record, reason, parked_at)
            };
            let records: Vec<_> = decoded.set_aside.iter().map(of).collect();
            tx.park(&records).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn stands_at(&self, reached: &Positions) -> bool {
        let Ok(mut tx) = self.writer.begin().await else { return false };
        tx.stands_at(&self.claim, reached).await.unwrap_or(false)
    }

    fn note_parked(&mut self, SetAside { record, reason }: &SetAside) {
        tracing::warn!(
            projection = self.generation.projection, topic = %record.partition.topic,
            partition = record.partition.partition, offset = record.offset, error = reason.to_string(),
            "parked a record"
        );
        if !record.key.is_empty() {
            self.parked_keys.entry(key(record)).or_insert(record.offset);
        }
    }
}

/// Decodes batches while the [`Applier`] it is from is busy with another. Good for as long as nothing was parked since.
pub(crate) struct Decoder {
    projection: AnyProjection,
    claim: Claim,
    parked_keys: ParkedKeys,
    passed_over: PassedOver,
}

impl Decoder {
    pub(crate) fn decode(&self, batch: &Batch) -> Decoded {
        let held = |partition: &TopicPartition| self.claim.holds(partition);
        Decoded::new(&self.projection, batch, held, &self.parked_keys, &self.passed_over)
    }

    /// Whether it still decodes as `applier` would itself.
    pub(crate) fn is_current(&self, applier: &Applier) -> bool {
        self.parked_keys.len() == applier.parked_keys.len()
    }
}

impl From<StoreError> for NotWritten {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

pub(crate) fn milliseconds_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
