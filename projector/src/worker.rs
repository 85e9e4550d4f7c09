use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use balcony_event_log::{Batch, Delivery, EventLog, LogError, Positions, Reader, Record, TopicPartition};
use balcony_store::{Claim, Database, Generation, ParkedRecord, StoreError, Writer};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Projection;
use crate::batch::{Decoded, ParkedKeys, halves};
use crate::supervisor::{Backoff, Observer, State};

/// The most records in one transaction. Batches grow to it with the backlog: a worker takes whatever has come while
/// the last transaction was under way.
const MOST_RECORDS: usize = 10_000;
/// From how many records in one batch on the next does not begin before [`PACE`] has passed: many small transactions
/// cost much more than few large ones, and nobody waits long.
const PACED_FROM: usize = 32;
const PACE: Duration = Duration::from_millis(5);
/// How many records in a row may be refused before the fault is taken to be elsewhere than in the records.
const MOST_REFUSED_IN_A_ROW: u32 = 100;

/// Why a worker stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(
        "{MOST_REFUSED_IN_A_ROW} records in a row were refused and parked, the last because {0}; look at what they have in common"
    )]
    TooManyRefused(StoreError),
    #[error("it panicked; the message is in the log")]
    Panicked,
}

impl WorkerError {
    /// Whether starting again could help without anybody changing anything.
    pub(crate) fn may_pass(&self) -> bool {
        !matches!(self, Self::TooManyRefused(_))
    }
}

/// Applies one projection's events, for as long as it is not told to stop.
pub(crate) struct Worker<P: Projection> {
    projection: Arc<P>,
    database: Database,
    generation: Generation,
    writer: Writer,
    reader: Reader,
    claim: Claim,
    parked_keys: ParkedKeys,
    refused_in_a_row: u32,
    observer: Observer,
}

impl<P: Projection> Worker<P> {
    /// Joins the group of workers on the projection's live generation.
    pub(crate) async fn join(
        projection: Arc<P>,
        log: &dyn EventLog,
        database: &Database,
        group_prefix: &str,
        observer: Observer,
    ) -> Result<Self, WorkerError> {
        let generation = database.live_or_new(&projection.read_model()).await?;
        let writer = database.writer(&generation);
        let reader = log.join(&format!("{group_prefix}{}", generation.namespace()), projection.topics());
        let database = database.clone();
        observer.generation(generation.number);
        Ok(Self {
            projection,
            database,
            generation,
            writer,
            reader,
            claim: Claim::default(),
            parked_keys: ParkedKeys::new(),
            refused_in_a_row: 0,
            observer,
        })
    }

    /// Works until something fails for good or it is told to stop: then it ends after the batch it is at, and leaves
    /// its group, so that others take over at once. Dropping the future at any await is as good as a crash, and a
    /// crash is harmless.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), WorkerError> {
        let mut pause_until = Instant::now();
        loop {
            let delivery = tokio::select! {
                delivery = self.reader.next() => Some(delivery),
                () = told_to(&mut stop) => None,
            };
            let Some(delivery) = delivery else {
                self.reader.close().await;
                return Ok(());
            };
            match delivery {
                Ok(Delivery::Assigned(partitions)) => {
                    self.claim(&partitions).await?;
                    self.reader.start(self.claim.positions());
                    self.observer.state(State::Running);
                }
                Ok(Delivery::Revoked(partitions)) => self.claim.release(&partitions),
                Ok(Delivery::Records(mut batch)) => {
                    tokio::time::sleep_until(pause_until).await;
                    self.reader.fill(&mut batch, MOST_RECORDS);
                    let paced = batch.records.len() >= PACED_FROM;
                    pause_until = Instant::now() + if paced { PACE } else { Duration::ZERO };
                    self.apply(batch).await?;
                }
                Err(error @ LogError::Unavailable(_)) => self.observer.waiting(&error),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes over what was assigned: all that this worker now holds.
    async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<(), StoreError> {
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
        let parked = tx.parked_keys().await?;
        self.observer.parked(tx.parked_count().await?);
        tx.commit().await?;
        self.claim = claim;
        self.parked_keys = parked.into_iter().map(|(topic, key)| (topic.into(), key)).collect();
        self.database.progress().announce(&self.generation, &self.claim.positions());
        Ok(())
    }

    /// Applies a batch, in pieces where a piece is refused: the records that cannot be applied are found by halving
    /// and parked, everything else is applied.
    async fn apply(&mut self, batch: Batch) -> Result<(), WorkerError> {
        let mut pieces = vec![batch];
        while let Some(piece) = pieces.pop() {
            match self.apply_piece(&piece, None).await {
                Ok(()) => self.refused_in_a_row = 0,
                Err(error @ StoreError::Refused(_)) => {
                    if piece.records.len() > 1 {
                        let [first, second] = halves(piece);
                        pieces.push(second);
                        pieces.push(first);
                        continue;
                    }
                    self.refused_in_a_row += 1;
                    if self.refused_in_a_row > MOST_REFUSED_IN_A_ROW {
                        return Err(WorkerError::TooManyRefused(error));
                    }
                    self.apply_piece(&piece, Some(error.to_string())).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Applies a piece, or parks its one record because of `refusal`, and tries again while the database is away.
    async fn apply_piece(&mut self, piece: &Batch, refusal: Option<String>) -> Result<(), StoreError> {
        let started = Instant::now();
        let (held, wants) = (|partition: &_| self.claim.holds(partition), |record: &_| self.projection.wants(record));
        let mut decoded = Decoded::new(piece, held, wants, &self.parked_keys);
        if let Some(refusal) = refusal {
            decoded.events.clear();
            decoded.parked = piece.records.iter().map(|record| (record.clone(), refusal.clone())).collect();
        }
        if decoded.reached.is_empty() {
            return Ok(());
        }
        let mut backoff = Backoff::new();
        loop {
            match self.write(&decoded).await {
                Ok(()) => break,
                Err(error) if error.is_transient() => {
                    self.observer.waiting(&error);
                    backoff.pause().await;
                    // The commit may have gone through although its answer was lost.
                    if self.stands_at(&decoded.reached).await {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }

        self.claim.advanced(&decoded.reached);
        self.database.progress().announce(&self.generation, &decoded.reached);
        for (record, error) in &decoded.parked {
            tracing::warn!(
                projection = self.generation.projection, topic = %record.partition.topic,
                partition = record.partition.partition, offset = record.offset, error, "parked a record"
            );
            if !record.key.is_empty() {
                self.parked_keys.insert((record.partition.topic.clone(), record.key.clone()));
            }
        }
        self.observer.applied(decoded.events.len(), decoded.unknown, decoded.parked.len(), started.elapsed());
        Ok(())
    }

    async fn write(&self, decoded: &Decoded<P::Event>) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        tx.advance(&self.claim, &decoded.reached).await?;
        if !decoded.events.is_empty() {
            self.projection.apply(&decoded.events, &mut tx).await?;
        }
        if !decoded.parked.is_empty() {
            let parked_at = milliseconds_now();
            let records: Vec<_> =
                decoded.parked.iter().map(|(record, error)| parked_record(record, error, parked_at)).collect();
            tx.park(&records).await?;
        }
        tx.commit().await
    }

    async fn stands_at(&self, reached: &Positions) -> bool {
        let Ok(mut tx) = self.writer.begin().await else { return false };
        tx.stands_at(&self.claim, reached).await.unwrap_or(false)
    }
}

async fn told_to(stop: &mut watch::Receiver<bool>) {
    // Whoever could tell is gone: that is as good as told.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn milliseconds_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn parked_record<'a>(record: &'a Record, error: &str, parked_at: i64) -> ParkedRecord<'a> {
    let headers: serde_json::Map<String, serde_json::Value> = record
        .headers
        .iter()
        .map(|(name, value)| {
            (name.replace('\0', "\u{FFFD}"), String::from_utf8_lossy(value).replace('\0', "\u{FFFD}").into())
        })
        .collect();
    ParkedRecord {
        id: Uuid::now_v7(),
        partition: &record.partition,
        offset: record.offset,
        key: &record.key,
        headers: serde_json::Value::Object(headers).to_string(),
        payload: &record.payload,
        error: error.to_owned(),
        parked_at,
    }
}
