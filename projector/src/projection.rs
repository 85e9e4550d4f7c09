use std::sync::Arc;

use balcony_event_log::{BoxFuture, Record, TopicPartition};
use balcony_store::{ReadModel, StoreError, Tx};

use crate::decode::Decode;
use crate::received::{Events, Reads, Received, Verdict};
use crate::taken::Taken;

/// Turns events into the rows of one read model.
///
/// `apply` may be called with any cut of the log into batches, by several workers at once that hold different
/// partitions, and again from the beginning for a new generation. Its result may depend on the events alone: no
/// clock, no randomness, no table but its own, and not on where batches begin and end. Events of one key come in order;
/// events of different partitions come in any.
pub trait Projection: Send + Sync + 'static {
    /// What it reads.
    type Event: Decode;

    /// Its name, version, topics and tables.
    fn read_model(&self) -> &ReadModel;

    /// Whether the record could matter here. What does not is passed over without being decoded, and cannot be parked.
    fn wants(&self, _record: &Record) -> bool {
        true
    }

    /// Changes the rows as the events say. The checkpoint is written by the caller in the same transaction.
    ///
    /// # Errors
    /// The store's. A refusal ([`StoreError::Refused`]) parks the event it is due to.
    fn apply(
        &self,
        events: &[Received<Self::Event>],
        tx: &mut Tx,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether a new generation may take over from a generation of `version` what the log has forgotten of `topic`; see
    /// [`Projection::inherit`]. Where it may not, a rebuild that would lose something stops and says so.
    fn inherits(&self, _topic: &str, _version: u32) -> bool {
        false
    }

    /// Copies into the new generation all rows that the generation before has from `partition`, which it has read up
    /// to where the new one then goes on. Called once for each partition whose beginning the log has forgotten, in one
    /// transaction with the checkpoint. What is copied has to be told from the rows of other partitions, so such a
    /// read model has the partition in its keys. `version` is that of the generation before.
    ///
    /// # Errors
    /// The store's.
    fn inherit(
        &self,
        _partition: &TopicPartition,
        _version: u32,
        _before: &mut Tx,
        _tx: &mut Tx,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }
}

/// Any projection, whatever its events are, as the runtime holds it. Cheap to clone.
#[derive(Clone)]
pub struct AnyProjection(Arc<dyn Erased>);

impl AnyProjection {
    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.read_model().name
    }

    /// Its name, version, topics and tables.
    pub fn read_model(&self) -> &ReadModel {
        self.0.read_model()
    }

    /// See [`Projection::inherits`].
    pub(crate) fn inherits(&self, topic: &str, version: u32) -> bool {
        self.0.inherits(topic, version)
    }

    /// See [`Projection::apply`].
    pub(crate) async fn apply(&self, events: &Events, tx: &mut Tx) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        self.0.apply(events, tx).await
    }

    /// See [`Projection::inherit`].
    pub(crate) async fn inherit(
        &self,
        partition: &TopicPartition,
        version: u32,
        before: &mut Tx,
        tx: &mut Tx,
    ) -> Result<(), StoreError> {
        self.0.inherit(partition, version, before, tx).await
    }
}

impl Reads for AnyProjection {
    fn events(&self, capacity: usize) -> Events {
        self.0.events(capacity)
    }

    fn wants(&self, record: &Record) -> bool {
        self.0.wants(record)
    }

    fn decode(&self, record: &Taken, events: &mut Events) -> Verdict {
        self.0.decode(record, events)
    }
}

impl<P: Projection> From<P> for AnyProjection {
    fn from(projection: P) -> Self {
        Self(Arc::new(projection))
    }
}

/// A [`Projection`] whose type of events is hidden.
trait Erased: Send + Sync {
    fn read_model(&self) -> &ReadModel;
    fn inherits(&self, topic: &str, version: u32) -> bool;
    fn events(&self, capacity: usize) -> Events;
    fn wants(&self, record: &Record) -> bool;
    fn decode(&self, record: &Taken, events: &mut Events) -> Verdict;
    fn apply<'a>(&'a self, events: &'a Events, tx: &'a mut Tx) -> BoxFuture<'a, Result<(), StoreError>>;
    fn inherit<'a>(
        &'a self,
        partition: &'a TopicPartition,
        version: u32,
        before: &'a mut Tx,
        tx: &'a mut Tx,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}

impl<P: Projection> Erased for P {
    fn read_model(&self) -> &ReadModel {
        Projection::read_model(self)
    }

    fn inherits(&self, topic: &str, version: u32) -> bool {
        Projection::inherits(self, topic, version)
    }

    fn events(&self, capacity: usize) -> Events {
        Events::with_capacity::<P::Event>(capacity)
    }

    fn wants(&self, record: &Record) -> bool {
        Projection::wants(self, record)
    }

    fn decode(&self, record: &Taken, events: &mut Events) -> Verdict {
        events.decode::<P::Event>(record)
    }

    fn apply<'a>(&'a self, events: &'a Events, tx: &'a mut Tx) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(Projection::apply(self, events.of::<P::Event>(), tx))
    }

    fn inherit<'a>(
        &'a self,
        partition: &'a TopicPartition,
        version: u32,
        before: &'a mut Tx,
        tx: &'a mut Tx,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(Projection::inherit(self, partition, version, before, tx))
    }
}
