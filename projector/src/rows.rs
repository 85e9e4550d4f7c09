use std::time::Duration;

use balcony_event_log::{Positions, TopicPartition};
use balcony_store::{Claim, Database, Generation, Incarnation, StoreError, Writer};

use crate::AnyProjection;
use crate::batch::{Decoded, SetAside};
use crate::clock::milliseconds_now;
use crate::parking::{ParkedKeys, Reason, parked_keys, parked_record};
use crate::sink::{Claimed, NotWritten, Sink};

/// The least time between two small transactions in a database of this process alone, of whose readers it is known whether
/// they wait. A transaction costs as much as some ten events.
const REST: Duration = Duration::from_millis(5);

/// The rows of one generation of a projection: they, their checkpoints and what is set aside change in one transaction,
/// under a claim.
pub(crate) struct Rows {
    projection: AnyProjection,
    database: Database,
    generation: Generation,
    writer: Writer,
    claim: Claim,
    /// The incarnation of the database that was met last before the last transaction was begun.
    begun_in: Incarnation,
    /// Whether the last transaction parked anything.
    parks: bool,
}

impl Rows {
    pub(crate) fn new(projection: AnyProjection, database: &Database, generation: Generation) -> Self {
        let writer = database.writer(&generation);
        Self::over(writer, projection, database, generation)
    }

    /// The same over connections that are there already.
    pub(crate) fn over(writer: Writer, projection: AnyProjection, database: &Database, generation: Generation) -> Self {
        let begun_in = database.progress().incarnation();
        Self {
            projection,
            database: database.clone(),
            generation,
            writer,
            claim: Claim::default(),
            begun_in,
            parks: false,
        }
    }

    pub(crate) fn projection(&self) -> &AnyProjection {
        &self.projection
    }

    /// Whether there is a database that can be written to.
    pub(crate) async fn can_write(&self) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        tx.execute("UPDATE checkpoints SET epoch = epoch WHERE FALSE", &[]).await.map(drop)
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    pub(crate) fn claim_of(&self) -> &Claim {
        &self.claim
    }
}

impl Sink for Rows {
    const PACE: Duration = Duration::from_millis(5);

    fn rest(&self) -> Duration {
        if self.database.progress().knows_who_waits() { REST } else { Duration::ZERO }
    }

    async fn is_wanted(&self) {
        self.database.progress().is_wanted(&self.generation).await;
    }

    fn positions(&self) -> Positions {
        self.claim.positions()
    }

    fn holds(&self, partition: &TopicPartition) -> bool {
        self.claim.holds(partition)
    }

    async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<Claimed, StoreError> {
        let incarnation = self.database.progress().incarnation();
        let mut tx = self.writer.begin().await?;
        let claim = tx.claim(partitions).await?;
        let parked_keys = parked_keys(&mut tx, |partition| claim.holds(partition)).await?;
        let parked = tx.parked_count().await?;
        tx.commit().await?;
        self.claim = claim;
        self.database.progress().announce(&self.generation, &self.claim.positions(), &incarnation);
        Ok(Claimed { parked_keys, parked })
    }

    fn release(&mut self, partitions: &[TopicPartition]) {
        self.claim.release(partitions);
    }

    async fn write(&mut self, decoded: &Decoded, known: &ParkedKeys) -> Result<(), NotWritten> {
        self.begun_in = self.database.progress().incarnation();
        self.parks = !decoded.set_aside.is_empty();
        let mut tx = self.writer.begin().await?;
        tx.advance(&self.claim, &decoded.reached).await?;
        if decoded.set_aside.iter().any(|set_aside| set_aside.reason == Reason::Waits) {
            // From here on the checkpoints are held, and with them what an operator may do to parked records.
            let parked_keys = parked_keys(&mut tx, |partition| self.claim.holds(partition)).await?;
            if parked_keys != *known {
                return Err(NotWritten::ParkedKeys(parked_keys));
            }
        }
        self.projection.apply(&decoded.events, &mut tx).await?;
        if self.parks {
            let parked_at = milliseconds_now();
            let of = |SetAside { record, reason }: &SetAside| {
                parked_record(&self.generation.projection, record, reason, parked_at)
            };
            let records: Vec<_> = decoded.set_aside.iter().map(of).collect();
            tx.park(&records).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn has_written(&mut self, reached: &Positions) -> bool {
        self.begun_in = self.database.progress().incarnation();
        let Ok(mut tx) = self.writer.begin().await else { return false };
        tx.stands_at(&self.claim, reached).await.unwrap_or(false)
    }

    fn written(&mut self, reached: &Positions) {
        self.claim.advanced(reached);
        if self.parks {
            self.database.progress().generations_changed();
        }
        self.database.progress().announce(&self.generation, reached, &self.begun_in);
    }
}
