//! What operators do about a reactor's parked records: deliver them after all, or give them up.
//!
//! A record is delivered in the operator's process, in one attempt, under the id that it has always had. The worker that
//! has its partition goes on meanwhile: whatever comes later of the record's key waits for as long as the record is
//! parked, and is looked at again in the transaction that writes it down as waiting. Each record is unparked as soon as
//! it is delivered, in a transaction that holds the checkpoints; a crash between the two repeats that one delivery.

use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{EventLog, Incoming, Positions, Record};
use balcony_store::{
    Database, GenerationState, GenerationTx, Lease, ListedGeneration, ParkedRecord, StoreError, Writer,
};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::delivered;
use super::delivering::attempt_once;
use super::error::ReactError;
use super::later;
use super::publisher::Publisher;
use super::spec::AnyReactor;
use crate::clock::milliseconds_now;
use crate::operations::{Outcome, Refused, RetryError, kept_record};
use crate::parking::Reason;
use crate::supervise::catch_panic;

/// A reactor's parked records, held: until this is dropped, nobody else retries or discards any of them.
pub struct ParkedDeliveries {
    reactor: AnyReactor,
    log: Arc<dyn EventLog>,
    may_publish: bool,
    /// Whether a record is read from the log again.
    reads_log: bool,
    writer: Writer,
    _lease: Lease,
}

/// How many records are given up together, where all are.
const PAGE: u32 = 100;
/// How long the log may take to give a record again.
const READING: Duration = Duration::from_secs(10);
/// How long whoever holds the records is waited for, and how often it is looked: a database notices some time after it
/// that a holder has left.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The lease on what is parked in the reactor called `name`. No generation of a reactor is ever built, so that operators
/// alone take it.
async fn lease(database: &Database, name: &str) -> Result<Lease, RetryError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match database.lease(name).await? {
            Some(lease) => return Ok(lease),
            None if Instant::now() >= deadline => return Err(RetryError::Busy(name.to_string())),
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// The namespace of `reactor`.
async fn live(reactor: &AnyReactor, database: &Database) -> Result<ListedGeneration, StoreError> {
    let listed = database.generations(Some(reactor.name())).await?;
    let live = listed.into_iter().find(|listed| listed.state == GenerationState::Live);
    live.ok_or_else(|| StoreError::NotReady(reactor.name().to_string()))
}

impl ParkedDeliveries {
    /// Holds what is parked in `reactor`. Unless this process may append to `log`, what would publish is refused with
    /// [`RetryError::CannotPublish`].
    ///
    /// # Errors
    /// [`RetryError::Busy`] when somebody else holds them for longer than some seconds, and the store's.
    pub async fn hold(
        reactor: &AnyReactor,
        database: &Database,
        log: Arc<dyn EventLog>,
        may_publish: bool,
    ) -> Result<Self, RetryError> {
        reactor.open(&log, database);
        let name = reactor.name();
        let lease = lease(database, name).await?;
        let live = live(reactor, database).await?;
        // What was done cannot be done again: no crash may take back that it was.
        let writer = database.durable_writer(&live.generation);
        later::prepare(name, database, &writer).await?;
        Ok(Self { reactor: reactor.clone(), log, may_publish, reads_log: true, writer, _lease: lease })
    }

    /// The same, but delivers records as they were kept when they were parked.
    pub(super) fn delivering_what_was_kept(self) -> Self {
        Self { reads_log: false, ..self }
    }

    /// Whether any of what is parked in `reactor` for later was tried last before `before`.
    pub(super) async fn is_any_due(reactor: &AnyReactor, database: &Database, before: i64) -> Result<bool, RetryError> {
        let live = live(reactor, database).await?;
        let mut tx = database.look_at(&live.generation).await?;
        Ok(!later::due(&mut tx, before).await?.is_empty())
    }

    /// The next records that are to be tried again, of those that were parked after `since` and tried last before `before`. From now
    /// on they count as tried.
    pub(super) async fn take_due(&self, since: i64, before: i64) -> Result<Vec<ParkedRecord>, RetryError> {
        let mut tx = self.writer.begin().await?;
        later::give_up(&mut tx, since).await?;
        let due = later::due(&mut tx, before).await?;
        later::note(&mut tx, &due, milliseconds_now()).await?;
        let mut records = Vec::with_capacity(due.len());
        for id in due {
            records.extend(tx.parked_record(id).await?);
        }
        tx.commit().await?;
        Ok(records)
    }

    /// Delivers the parked record `id` and what waits behind it, in the order of the log, beginning with the first
    /// parked record of its key, in one attempt each. It ends at the first that fails again, which stays parked with
    /// its new error and with everything behind it.
    ///
    /// # Errors
    /// See [`RetryError`]. What was delivered before it stays delivered.
    pub async fn retry(&self, id: Uuid) -> Result<Outcome, RetryError> {
        let record = self.record(id).await?;
        if record.discarded_at.is_some() {
            return Err(RetryError::Discarded(id));
        }
        let mut outcome = Outcome::default();
        self.deliver_all_like(record, &mut outcome).await?;
        Ok(outcome)
    }

    /// Gives up the records `ids`, so that they are never delivered, and delivers what waited behind nothing else.
    ///
    /// # Errors
    /// See [`RetryError`]. Once the records are given up they stay so, whatever becomes of what waited.
    pub async fn discard(&self, ids: &[Uuid]) -> Result<Outcome, RetryError> {
        let mut outcome = Outcome::default();
        let mut freed: Vec<ParkedRecord> = Vec::new();
        let mut records: Vec<ParkedRecord> = Vec::new();
        for &id in ids {
            let record = self.record(id).await?;
            if record.discarded_at.is_none() && !records.contains(&record) {
                records.push(record);
            }
        }
        self.forget(&records).await?;
        let mut tx = self.writer.begin().await?;
        tx.hold_checkpoints().await?;
        for record in records.iter().filter(|record| !record.key.is_empty()) {
            let first = tx.parked_of_key(&record.partition, &record.key, 0, 1).await?.pop();
            freed.extend(first.filter(|first| ids.contains(&first.id) && !freed.contains(first)));
        }
        for record in records {
            tx.discard(record.id, milliseconds_now()).await?;
            outcome.discarded += 1;
        }
        tx.commit().await?;

        for record in freed {
            match self.deliver_all_like(record.clone(), &mut outcome).await {
                Err(error @ RetryError::CannotPublish(_)) => self.stays(&record, &error, &mut outcome).await?,
                delivered => delivered?,
            }
        }
        Ok(outcome)
    }

    /// Notes that everything of the record's key stays parked.
    async fn stays(&self, record: &ParkedRecord, error: &RetryError, outcome: &mut Outcome) -> Result<(), RetryError> {
        let ParkedRecord { partition, key, .. } = record;
        let mut tx = self.writer.snapshot().await?;
        if let Some(first) = tx.parked_of_key(partition, key, 0, 1).await?.pop() {
            let waiting = tx.parked_count_of_key(partition, key, first.offset + 1).await?;
            outcome.refused.push(Refused { id: first.id, error: error.to_string(), waiting });
        }
        Ok(())
    }

    /// Gives up every parked record. Says how many there were.
    ///
    /// # Errors
    /// See [`RetryError`]. Records that were given up before it stay so.
    pub async fn discard_all(&self) -> Result<u64, RetryError> {
        let (mut discarded, mut last) = (0, None);
        loop {
            let mut page = self.writer.snapshot().await?.parked_after(last.as_ref(), false, PAGE).await?;
            self.forget(&page).await?;
            let mut tx = self.writer.begin().await?;
            tx.hold_checkpoints().await?;
            for record in &page {
                tx.discard(record.id, milliseconds_now()).await?;
                discarded += 1;
            }
            tx.commit().await?;
            last = page.pop();
            if last.is_none() {
                return Ok(discarded);
            }
        }
    }

    /// Has the reactor forget the deliveries of `records`.
    async fn forget(&self, records: &[ParkedRecord]) -> Result<(), RetryError> {
        let patience = self.reactor.policy().patience;
        for record in records {
            let id = self.reactor.delivery_id(&kept_record(record));
            let reason = match timeout(patience, catch_panic(self.reactor.give_up(id))).await {
                Ok(Some(Ok(()))) => continue,
                Ok(Some(Err(reason))) => reason,
                Ok(None) => "it panicked; the message is in the log".to_owned(),
                Err(_) => format!("it took longer than {patience:?}"),
            };
            return Err(RetryError::NotGivenUp { id: record.id, reason });
        }
        Ok(())
    }

    async fn record(&self, id: Uuid) -> Result<ParkedRecord, RetryError> {
        self.find(&mut self.writer.snapshot().await?, id).await
    }

    async fn find(&self, tx: &mut GenerationTx, id: Uuid) -> Result<ParkedRecord, RetryError> {
        let found = tx.parked_record(id).await?;
        found.ok_or_else(|| RetryError::Unknown { projection: self.reactor.name().to_string(), id })
    }

    /// Delivers every parked record of the same key; without a key, this one alone.
    pub(super) async fn deliver_all_like(&self, record: ParkedRecord, outcome: &mut Outcome) -> Result<(), RetryError> {
        if record.key.is_empty() {
            self.deliver(&record, outcome).await?;
            return Ok(());
        }
        let mut from = 0;
        loop {
            let next = {
                let mut tx = self.writer.snapshot().await?;
                tx.parked_of_key(&record.partition, &record.key, from, 1).await?.pop()
            };
            let Some(next) = next else { return Ok(()) };
            from = next.offset + 1;
            if !self.deliver(&next, outcome).await? {
                return Ok(());
            }
        }
    }

    /// Delivers a record and takes it from the parked ones, or notes why it failed again. Says whether it was
    /// delivered.
    async fn deliver(&self, parked: &ParkedRecord, outcome: &mut Outcome) -> Result<bool, RetryError> {
        let failed = self.attempt(&self.as_it_stands(parked).await).await?;
        let mut tx = self.writer.begin().await?;
        let checkpoints = tx.hold_checkpoints().await?;
        let Some(error) = failed else {
            tx.unpark(parked.id).await?;
            later::forget(&mut tx, parked.id).await?;
            if parked.offset >= checkpoints.next_offset(&parked.partition) {
                // A worker that begins at the checkpoint would deliver it again.
                delivered::note(&mut tx, &[(parked.partition.clone(), parked.offset)]).await?;
            }
            tx.commit().await?;
            outcome.applied += 1;
            return Ok(true);
        };
        if matches!(error, ReactError::Refused(_)) {
            later::forget(&mut tx, parked.id).await?;
        }
        let error = self.reason(parked, error);
        tx.park_error(parked.id, &error).await?;
        let waiting = match parked.key.as_slice() {
            [] => 0,
            key => tx.parked_count_of_key(&parked.partition, key, parked.offset + 1).await?,
        };
        tx.commit().await?;
        outcome.refused.push(Refused { id: parked.id, error, waiting });
        Ok(false)
    }

    /// What is said of a record that failed again.
    fn reason(&self, parked: &ParkedRecord, error: ReactError) -> String {
        let policy = self.reactor.policy();
        let age = u64::try_from(milliseconds_now() - parked.parked_at).unwrap_or(0);
        match error {
            ReactError::Later(reason) if Duration::from_millis(age) + policy.again_every < policy.again_for => {
                Reason::Later(reason).to_string()
            }
            ReactError::Later(reason) | ReactError::Retry(reason) | ReactError::Refused(reason) => reason,
        }
    }

    /// Why the record cannot be delivered; otherwise it is, or passed over as a worker would.
    async fn attempt(&self, record: &Record) -> Result<Option<ReactError>, RetryError> {
        if !self.reactor.wants(record) {
            return Ok(None);
        }
        let id = self.reactor.delivery_id(record);
        let publisher =
            if self.may_publish { Publisher::new(self.log.clone(), id) } else { Publisher::without_log(id) };
        let attempted = attempt_once(&self.reactor, record, id, 1, &publisher).await;
        if publisher.has_refused() {
            return Err(RetryError::CannotPublish(self.reactor.name().to_string()));
        }
        Ok(attempted.err())
    }

    /// The record as the log has it; as far as it was kept, where the log has forgotten it or does not answer.
    async fn as_it_stands(&self, parked: &ParkedRecord) -> Record {
        if !self.reads_log {
            return kept_record(parked);
        }
        let reading = async {
            let from: Positions = [(parked.partition.clone(), parked.offset)].into_iter().collect();
            let mut reader = self.log.read(from);
            loop {
                let Incoming::Records(batch) = reader.next().await.ok()? else { continue };
                let mut records = batch.records.into_iter();
                if let Some(found) = records.find(|record| record.offset == parked.offset) {
                    return Some(found);
                }
                if batch.reached.next_offset(&parked.partition) > parked.offset {
                    return None;
                }
            }
        };
        timeout(READING, reading).await.ok().flatten().unwrap_or_else(|| kept_record(parked))
    }
}
