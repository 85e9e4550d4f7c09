use std::collections::HashSet;
use std::sync::Arc;

use balcony_event_log::{EventLog, Positions, Record, TopicPartition};
use balcony_store::{Claim, Database, Generation, Incarnation, ReadModel, StoreError, Writer};

use super::delivered;
use super::later;
use super::repeats::{self, Repeats};
use super::spec::AnyReactor;
use super::window::Window;
use crate::away::Away;
use crate::backoff::Backoff;
use crate::clock::milliseconds_now;
use crate::error::WorkError;
use crate::group::group;
use crate::observer::Observer;
use crate::parking::{Key, ParkedKeys, PassedOver, Reason, is_behind, key, parked_keys, parked_record};

/// What a dispatcher writes down: how far everything is done, and what is parked, in one transaction under a
/// claim.
pub(super) struct Ledger {
    database: Database,
    generation: Generation,
    writer: Writer,
    claim: Claim,
    parked_keys: ParkedKeys,
    passed_over: PassedOver,
    repeats: Repeats,
    /// Whether something was written down as delivered ahead of the checkpoints, which goes when they pass it.
    has_ahead: bool,
    /// What is to be written down as parked.
    parking: Vec<Parking>,
    observer: Observer,
}

struct Parking {
    record: Arc<Record>,
    reason: Reason,
}

const SCHEMA: &str = include_str!("../../../migrations/reactor.sql");

impl Ledger {
    /// Opens the reactor's namespace, which it keeps for ever, and writes down where it starts in the topics that it
    /// has never read.
    pub(super) async fn open(
        reactor: &AnyReactor,
        log: &dyn EventLog,
        database: &Database,
        observer: Observer,
    ) -> Result<Self, WorkError> {
        let model = ReadModel::new(reactor.name().clone(), 1, reactor.topics().to_vec(), SCHEMA);
        let generation = database.live_or_new(&model).await?;
        // What was done cannot be done again: no crash may take back where it started and how far it has come.
        let writer = database.durable_writer(&generation);
        repeats::prepare(reactor.name(), database, &writer).await?;
        later::prepare(reactor.name(), database, &writer).await?;
        let begun = writer.snapshot().await?.checkpoints().await?;
        let is_begun = |topic: &Arc<str>| begun.partitions().any(|partition| partition.topic == *topic);
        if !reactor.topics().iter().all(is_begun) {
            let start = reactor.start(log.ends(reactor.topics()).await?);
            let mut tx = writer.begin().await?;
            tx.begin_at(&start).await?;
            tx.commit().await?;
        }
        Ok(Self {
            database: database.clone(),
            generation,
            writer,
            claim: Claim::default(),
            parked_keys: ParkedKeys::new(),
            passed_over: PassedOver::new(),
            repeats: Repeats::default(),
            has_ahead: false,
            parking: Vec::new(),
            observer,
        })
    }

    /// The reactor's namespace.
    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// The consumer group of the reactor's dispatchers.
    pub(super) fn group(&self, prefix: &str) -> String {
        group(prefix, &self.generation)
    }

    /// Takes over `partitions`, all that this dispatcher then holds, and says where each goes on; waits while the database
    /// is away.
    pub(super) async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<Positions, StoreError> {
        let (mut backoff, mut away) = (Backoff::new(), Away::default());
        loop {
            match self.try_claim(partitions).await {
                Err(error) if error.is_transient() && !away.gives_up_after(&error) => {
                    self.observer.waiting(&error);
                    backoff.pause().await;
                }
                done => return done.map(|()| self.claim.positions()),
            }
        }
    }

    async fn try_claim(&mut self, partitions: &[TopicPartition]) -> Result<(), StoreError> {
        let incarnation = self.database.progress().incarnation();
        let mut tx = self.writer.begin().await?;
        let claim = tx.claim(partitions).await?;
        let parked_keys = parked_keys(&mut tx, |partition| claim.holds(partition)).await?;
        let mut ahead = delivered::ahead(&mut tx, &claim).await?;
        let has_ahead = !ahead.is_empty();
        ahead.extend(tx.parked_ahead().await?.into_iter().filter(|(partition, _)| claim.holds(partition)));
        let parked = tx.parked_count().await?;
        tx.commit().await?;
        self.passed_over = ahead;
        self.has_ahead = has_ahead;
        self.claim = claim;
        self.parked_keys = parked_keys;
        self.parking.clear();
        self.repeats.begin_anew();
        self.observer.parked(parked);
        self.database.progress().announce(&self.generation, &self.claim.positions(), &incarnation);
        Ok(())
    }

    /// Lets go of `partitions`.
    pub(super) fn release(&mut self, partitions: &[TopicPartition]) {
        self.claim.release(partitions);
        self.parked_keys.retain(|(partition, _), _| !partitions.contains(partition));
        self.parking.retain(|parking| !partitions.contains(&parking.record.partition));
        self.repeats.release(partitions);
    }

    /// Takes from `records`, which come next, those that repeat an event which `reactor` has met before; waits while the
    /// database is away.
    pub(super) async fn leave_out_repeats(
        &mut self,
        reactor: &AnyReactor,
        mut records: Vec<Record>,
    ) -> Result<Vec<Record>, StoreError> {
        let (mut backoff, mut away) = (Backoff::new(), Away::default());
        let repeats = loop {
            match self.repeats.among(&records, reactor, &self.writer).await {
                Err(error) if error.is_transient() && !away.gives_up_after(&error) => {
                    self.observer.waiting(&error);
                    backoff.pause().await;
                }
                repeats => break repeats?,
            }
        };
        for repeat in &repeats {
            tracing::debug!(step = &**reactor.name(), at = ?repeat, "passes over an event that was met before");
        }
        if !repeats.is_empty() {
            records.retain(|record| !repeats.contains(&record.position()));
        }
        Ok(records)
    }

    /// Whether the record was delivered or parked before the checkpoint had come so far.
    pub(super) fn passes_over(&self, record: &Record) -> bool {
        !self.passed_over.is_empty() && self.passed_over.contains(&(record.partition.clone(), record.offset))
    }

    /// Whether an earlier record of its key is parked.
    pub(super) fn is_behind_parked(&self, record: &Record) -> bool {
        !record.key.is_empty() && !self.parked_keys.is_empty() && is_behind(&self.parked_keys, record)
    }

    /// Sets a record aside, to be written down as parked with the next commit.
    pub(super) fn park(&mut self, record: Arc<Record>, reason: Reason, window: &mut Window) {
        tracing::warn!(
            step = self.generation.projection, topic = %record.partition.topic,
            partition = record.partition.partition, offset = record.offset, error = reason.to_string(),
            "parks a record"
        );
        if !record.key.is_empty() {
            self.parked_keys.entry(key(&record)).or_insert(record.offset);
        }
        window.set_aside(&record);
        self.parking.push(Parking { record, reason });
    }

    /// Whether there is something to be written down.
    pub(super) fn has_news(&self, window: &Window) -> bool {
        !self.parking.is_empty() || window.frontier() != self.claim.positions() || !window.ahead().is_empty()
    }

    /// Writes down the frontier, what is delivered above it and what is parked, and tries again while the database is away. Fails, too, when
    /// somebody else has taken over. Gives the records that were to wait behind a parked one which an operator has
    /// had delivered or discarded meanwhile.
    pub(super) async fn commit(&mut self, window: &mut Window) -> Result<Vec<Arc<Record>>, StoreError> {
        let mut freed = Vec::new();
        let (mut backoff, mut away) = (Backoff::new(), Away::default());
        loop {
            let incarnation = self.database.progress().incarnation();
            match self.try_commit(window, &mut freed).await {
                Ok(parked) => {
                    self.committed(window, &incarnation);
                    if let Some(parked) = parked {
                        self.observer.parked(parked);
                    }
                    return Ok(freed);
                }
                Err(error) if error.is_transient() && !away.gives_up_after(&error) => {
                    self.observer.waiting(&error);
                    backoff.pause().await;
                    // The commit may have gone through although its answer was lost. Where nothing was to be moved,
                    // the same is done again without harm.
                    let reached = window.frontier();
                    if reached != self.claim.positions() && self.stands_at(&reached).await {
                        self.committed(window, &incarnation);
                        return Ok(freed);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the number of parked records when it has changed.
    async fn try_commit(
        &mut self,
        window: &mut Window,
        freed: &mut Vec<Arc<Record>>,
    ) -> Result<Option<i64>, StoreError> {
        let mut tx = self.writer.begin().await?;
        if self.parking.iter().any(|parking| parking.reason == Reason::Waits) {
            // From here on the checkpoints are held, and with them what an operator may do to parked records.
            tx.advance(&self.claim, &self.claim.positions()).await?;
            let parked_keys = parked_keys(&mut tx, |partition| self.claim.holds(partition)).await?;
            self.free(parked_keys, window, freed);
        }
        let reached = window.frontier();
        tx.advance(&self.claim, &reached).await?;
        delivered::note(&mut tx, &window.ahead()).await?;
        if self.has_ahead {
            delivered::forget(&mut tx, &reached).await?;
        }
        self.repeats.note(&mut tx, &reached).await?;
        let mut parked = None;
        if !self.parking.is_empty() {
            let (name, parked_at) = (&self.generation.projection, milliseconds_now());
            let of = |Parking { record, reason }: &Parking| parked_record(name, record, reason, parked_at);
            let records: Vec<_> = self.parking.iter().map(of).collect();
            tx.park(&records).await?;
            let later = self.parking.iter().zip(&records);
            let later = later.filter(|(parking, _)| matches!(parking.reason, Reason::Later(_)));
            let later: Vec<_> = later.map(|(_, record)| record.id).collect();
            later::note(&mut tx, &later, parked_at).await?;
            parked = Some(tx.parked_count().await?);
        }
        tx.commit().await?;
        Ok(parked)
    }

    /// Takes back what need not wait, given what is parked already.
    fn free(&mut self, parked_keys: ParkedKeys, window: &mut Window, freed: &mut Vec<Arc<Record>>) {
        self.parked_keys = parked_keys;
        let mut failing: HashSet<Key> = HashSet::new();
        for parking in std::mem::take(&mut self.parking) {
            let Parking { record, reason } = &parking;
            let stays = match reason {
                Reason::Broken(_) | Reason::Failed(_) | Reason::Later(_) => true,
                Reason::Waits => is_behind(&self.parked_keys, record) || failing.contains(&key(record)),
            };
            if stays {
                failing.insert(key(record));
                self.parking.push(parking);
            } else {
                window.take_back(record);
                freed.push(parking.record);
            }
        }
        for Parking { record, .. } in self.parking.iter().filter(|parking| !parking.record.key.is_empty()) {
            self.parked_keys.entry(key(record)).or_insert(record.offset);
        }
    }

    fn committed(&mut self, window: &mut Window, incarnation: &Incarnation) {
        let reached = window.frontier();
        self.claim.advanced(&reached);
        self.repeats.kept(&reached);
        for Parking { record, .. } in self.parking.drain(..) {
            window.parked(&record);
        }
        self.has_ahead |= !window.ahead().is_empty();
        window.noted();
        self.database.progress().announce(&self.generation, &reached, incarnation);
        self.observer.running();
    }

    async fn stands_at(&self, reached: &Positions) -> bool {
        let Ok(mut tx) = self.writer.begin().await else { return false };
        tx.stands_at(&self.claim, reached).await.unwrap_or(false)
    }
}
