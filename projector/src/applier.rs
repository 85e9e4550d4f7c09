use std::sync::Arc;

use balcony_event_log::{Positions, TopicPartition};
use balcony_store::{Database, Generation, StoreError};
use tokio::time::Instant;

use crate::away::Away;
use crate::backoff::Backoff;
use crate::batch::{Decoded, SetAside, halves};
use crate::error::WorkError;
use crate::observer::Observer;
use crate::parking::{Failures, ParkedKeys, PassedOver, key};
use crate::received::Reads;
use crate::sink::{NotWritten, Sink};
use crate::taken::Batch;

/// Applies batches to one generation, wherever its events go. What cannot be decoded or applied is found and set
/// aside with what follows of its key.
pub(crate) struct Applier<S> {
    reads: Arc<dyn Reads>,
    pub(crate) sink: S,
    name: Arc<str>,
    parked_keys: ParkedKeys,
    passed_over: PassedOver,
    on_failure: OnFailure,
    failures: Failures,
    observer: Observer,
}

/// What is done about a record that cannot be decoded or applied.
#[derive(Debug)]
pub(crate) enum OnFailure {
    /// It is parked, until too much of it fails.
    Park,
    /// It is parked, however much it is: an operator has said so.
    #[cfg_attr(not(feature = "operations"), expect(dead_code, reason = "operators say so by a command"))]
    ParkAll,
    /// It stops the work, and nothing of it is written.
    Stop,
    /// The same, unless it was parked in the generation before, or this one has caught up with the log.
    StopUnless(ParkedBefore),
}

/// What is parked in the generation before, which may have come further since it was asked.
#[derive(Debug)]
pub(crate) struct ParkedBefore {
    database: Database,
    generation: Generation,
    known: PassedOver,
}

impl ParkedBefore {
    pub(crate) fn new(database: Database, generation: Generation) -> Self {
        Self { database, generation, known: PassedOver::new() }
    }

    async fn has(&mut self, place: &(TopicPartition, i64)) -> Result<bool, StoreError> {
        if !self.known.contains(place) {
            let parked = self.database.look_at(&self.generation).await?.parked().await?;
            self.known = parked.into_iter().map(|record| (record.partition, record.offset)).collect();
        }
        Ok(self.known.contains(place))
    }
}

impl<S: Sink> Applier<S> {
    pub(crate) fn new(
        reads: Arc<dyn Reads>,
        sink: S,
        name: Arc<str>,
        on_failure: OnFailure,
        observer: Observer,
    ) -> Self {
        Self {
            reads,
            sink,
            name,
            parked_keys: ParkedKeys::new(),
            passed_over: PassedOver::new(),
            on_failure,
            failures: Failures::default(),
            observer,
        }
    }

    /// How far the generation has come, in the partitions that are held.
    pub(crate) fn positions(&self) -> Positions {
        self.sink.positions()
    }

    /// Takes over `partitions`, all that this worker then holds; waits while the database is away, for a
    /// while.
    pub(crate) async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<(), StoreError> {
        let (mut backoff, mut away) = (Backoff::new(), Away::default());
        loop {
            match self.sink.claim(partitions).await {
                Ok(claimed) => {
                    self.parked_keys = claimed.parked_keys;
                    self.observer.parked(claimed.parked);
                    self.observer.stands_at(self.positions());
                    return Ok(());
                }
                Err(error) if error.is_transient() && !away.gives_up_after(&error) => {
                    self.observer.waiting(&error);
                    backoff.pause().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets go of `partitions`.
    pub(crate) fn release(&mut self, partitions: &[TopicPartition]) {
        self.sink.release(partitions);
        self.observer.stands_at(self.positions());
        self.parked_keys.retain(|(partition, _), _| !partitions.contains(partition));
    }

    /// Goes on at `positions`, which the log has nothing below of.
    pub(crate) async fn pass_lost(&mut self, positions: Positions) -> Result<(), WorkError> {
        self.apply(Batch { records: Vec::new(), reached: positions }).await
    }

    /// Passes over `records` from now on, which are parked in this generation as they were in the one before; these
    /// keys are then parked.
    pub(crate) fn pass_over(&mut self, records: PassedOver, parked_keys: ParkedKeys) {
        self.parked_keys = parked_keys;
        self.passed_over = records;
    }

    /// What is needed to decode batches beside this applier; see [`Decoder`].
    pub(crate) fn decoder(&self) -> Decoder {
        Decoder {
            reads: self.reads.clone(),
            held: self.positions(),
            parked_keys: self.parked_keys.clone(),
            passed_over: self.passed_over.clone(),
        }
    }

    /// Applies a batch.
    pub(crate) async fn apply(&mut self, batch: Batch) -> Result<(), WorkError> {
        let decoded = self.decode(&batch);
        self.apply_decoded(batch, decoded).await
    }

    /// Applies a batch that was decoded, in pieces where it cannot be applied whole: the records that fail are found
    /// by halving and set aside, everything else is applied.
    pub(crate) async fn apply_decoded(&mut self, batch: Batch, decoded: Decoded) -> Result<(), WorkError> {
        let mut decoded = Some(decoded);
        let mut pieces = vec![batch];
        while let Some(piece) = pieces.pop() {
            // Each piece is decoded when its turn comes: what was parked before may be of its keys.
            let decoded = decoded.take().unwrap_or_else(|| self.decode(&piece));
            self.stop_at_unapplicable(&decoded).await?;
            let refusal = match self.write_when_possible(&piece, decoded).await {
                Err(WorkError::Store(error @ StoreError::Refused(_))) => error.to_string(),
                Err(error) => return Err(error),
                Ok(()) => continue,
            };
            match piece.records.len() {
                // A batch without records moves checkpoints only, and the database refuses even that.
                0 => return Err(WorkError::Stuck(refusal)),
                1 => {
                    let failed = Decoded::failed(self.reads.as_ref(), &piece, &refusal);
                    self.stop_at_unapplicable(&failed).await?;
                    self.stop_at_too_many(&failed)?;
                    self.write_when_possible(&piece, failed).await?;
                }
                _ => {
                    let [first, second] = halves(piece);
                    pieces.push(second);
                    pieces.push(first);
                }
            }
        }
        Ok(())
    }

    /// Stops at a record that may not be parked.
    async fn stop_at_unapplicable(&mut self, decoded: &Decoded) -> Result<(), WorkError> {
        for (record, error) in decoded.failed_records() {
            let may_be_parked = match &mut self.on_failure {
                OnFailure::Park | OnFailure::ParkAll => break,
                OnFailure::StopUnless(_) if self.sink.has_caught_up() => break,
                OnFailure::Stop => false,
                OnFailure::StopUnless(before) => before.has(&(record.partition.clone(), record.offset)).await?,
            };
            if !may_be_parked {
                let (partition, offset) = (record.partition.clone(), record.offset);
                return Err(WorkError::Unapplicable { partition, offset, error: error.to_owned() });
            }
        }
        Ok(())
    }

    /// Records that cannot be decoded say nothing about the projection or the database, and do not count.
    fn stop_at_too_many(&self, decoded: &Decoded) -> Result<(), WorkError> {
        match (decoded.refused_records().next(), self.failures.limit()) {
            (Some((_, error)), Some(limit)) if !matches!(self.on_failure, OnFailure::ParkAll) => {
                Err(WorkError::at_limit(limit, error))
            }
            _ => Ok(()),
        }
    }

    fn decode(&self, batch: &Batch) -> Decoded {
        let held = |partition: &TopicPartition| self.sink.holds(partition);
        Decoded::new(self.reads.as_ref(), batch, held, &self.parked_keys, &self.passed_over)
    }

    /// Writes a decoded batch, and tries again while the database is away, for a while.
    async fn write_when_possible(&mut self, batch: &Batch, mut decoded: Decoded) -> Result<(), WorkError> {
        if decoded.reached.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let (mut backoff, mut away) = (Backoff::new(), Away::default());
        loop {
            match self.sink.write(&decoded, &self.parked_keys).await {
                Ok(()) => break,
                Err(NotWritten::ParkedKeys(parked_keys)) => {
                    self.parked_keys = parked_keys;
                    decoded = self.decode(batch);
                }
                Err(NotWritten::Store(error)) if error.is_transient() && !away.gives_up_after(&error) => {
                    self.observer.waiting(&error);
                    backoff.pause().await;
                    // The commit may have gone through although its answer was lost.
                    if self.sink.has_written(&decoded.reached).await {
                        break;
                    }
                }
                Err(NotWritten::Store(error)) => return Err(error.into()),
                Err(NotWritten::Replica(error)) => return Err(error.into()),
            }
        }

        self.sink.written(&decoded.reached);
        let passed = decoded.events.len() + decoded.unknown;
        self.failures.note(decoded.refused_records().count(), passed);
        for set_aside in &decoded.set_aside {
            self.note_parked(set_aside);
        }
        let (events, set_aside) = (decoded.events.len(), decoded.set_aside.len());
        self.observer.applied(events, decoded.unknown, set_aside, &decoded.reached, started.elapsed());
        Ok(())
    }

    fn note_parked(&mut self, SetAside { record, reason }: &SetAside) {
        tracing::warn!(
            step = &*self.name, topic = %record.partition.topic, partition = record.partition.partition,
            offset = record.offset, error = reason.to_string(),
            "parked a record"
        );
        if !record.key.is_empty() {
            self.parked_keys.entry(key(record)).or_insert(record.offset);
        }
    }
}

/// Decodes batches while the [`Applier`] it is from is busy with another. Good for as long as nothing was parked since.
pub(crate) struct Decoder {
    reads: Arc<dyn Reads>,
    held: Positions,
    parked_keys: ParkedKeys,
    passed_over: PassedOver,
}

impl Decoder {
    pub(crate) fn decode(&self, batch: &Batch) -> Decoded {
        let held = |partition: &TopicPartition| self.held.names(partition);
        Decoded::new(self.reads.as_ref(), batch, held, &self.parked_keys, &self.passed_over)
    }

    /// Whether it still decodes as `applier` would itself.
    pub(crate) fn is_current<S>(&self, applier: &Applier<S>) -> bool {
        self.parked_keys.len() == applier.parked_keys.len()
    }
}
