use std::any::Any;
use std::sync::Arc;

use balcony_domain::Recorded;
use balcony_event_log::{Record, TopicPartition};
use balcony_store::{ReadModel, StoreError, Tx};

/// An event as it is read back from a record.
pub trait Decode: Send + Sync + Sized + 'static {
    /// Reads the event. `None` is an event of a type this program does not know, which is passed over.
    ///
    /// # Errors
    /// A text for the operator that says what is wrong with a record that should be an event and is not.
    fn decode(record: &Record) -> Result<Option<Self>, String>;
}

impl Decode for Recorded {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        Self::decode(|name| record.headers.get(name), &record.payload).map_err(|error| error.to_string())
    }
}

/// An event and where it stands in the log.
#[derive(Debug, Clone)]
pub struct Received<E> {
    /// The partition it was read from.
    pub partition: TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// The event.
    pub event: E,
}

/// Turns events into the rows of one read model.
///
/// `apply` may be called with any cut of the log into batches, by several workers at once that hold different
/// partitions, and again from the beginning for a new generation. Its result may depend on the events alone: no
/// clock, no randomness, no table but its own, and not on where batches begin and end. Events of one key come in order;
/// events of different partitions come in any.
#[async_trait::async_trait]
pub trait Projection: Send + Sync + 'static {
    /// What it reads.
    type Event: Decode;

    /// Its name, version and tables.
    fn read_model(&self) -> ReadModel;

    /// The topics it reads.
    fn topics(&self) -> &[Arc<str>];

    /// Whether the record could matter here. What does not is passed over without being decoded, and cannot be parked.
    fn wants(&self, _record: &Record) -> bool {
        true
    }

    /// Changes the rows as the events say. The checkpoint is written by the caller in the same transaction.
    ///
    /// # Errors
    /// The store's. A refusal ([`StoreError::Refused`]) parks the event it is due to.
    async fn apply(&self, events: &[Received<Self::Event>], tx: &mut Tx) -> Result<(), StoreError>;
}

/// Any projection, whatever its events are, as the runtime holds it. Cheap to clone.
#[derive(Clone)]
pub struct AnyProjection(Arc<dyn Erased>);

/// Events of the type that their projection reads, as it decoded them.
pub(crate) struct Events {
    of_its_type: Box<dyn Any + Send + Sync>,
    count: usize,
}

/// What became of a record that was to be decoded.
pub(crate) enum Verdict {
    /// It is among the events now.
    Applies,
    /// Its type is not known here.
    Unknown,
    /// It should be an event and is not, for this reason.
    Broken(String),
}

impl AnyProjection {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.0.read_model().name
    }

    /// Its name, version and tables.
    pub fn read_model(&self) -> ReadModel {
        self.0.read_model()
    }

    /// The topics it reads.
    pub fn topics(&self) -> &[Arc<str>] {
        self.0.topics()
    }

    /// No events yet, and room for some.
    pub(crate) fn events(&self, capacity: usize) -> Events {
        Events { of_its_type: self.0.events(capacity), count: 0 }
    }

    /// Whether the record could matter here.
    pub(crate) fn wants(&self, record: &Record) -> bool {
        self.0.wants(record)
    }

    /// Decodes a record that is wanted and adds it to `events`.
    pub(crate) fn decode(&self, record: &Record, events: &mut Events) -> Verdict {
        let verdict = self.0.decode(record, events.of_its_type.as_mut());
        events.count += usize::from(matches!(verdict, Verdict::Applies));
        verdict
    }

    /// See [`Projection::apply`].
    pub(crate) async fn apply(&self, events: &Events, tx: &mut Tx) -> Result<(), StoreError> {
        if events.count == 0 {
            return Ok(());
        }
        self.0.apply(events.of_its_type.as_ref(), tx).await
    }
}

impl Events {
    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

impl<P: Projection> From<P> for AnyProjection {
    fn from(projection: P) -> Self {
        Self(Arc::new(projection))
    }
}

/// A [`Projection`] whose type of events is hidden: events are a `Vec<Received<Event>>` behind [`Any`].
#[async_trait::async_trait]
trait Erased: Send + Sync {
    fn read_model(&self) -> ReadModel;
    fn topics(&self) -> &[Arc<str>];
    fn events(&self, capacity: usize) -> Box<dyn Any + Send + Sync>;
    fn wants(&self, record: &Record) -> bool;
    fn decode(&self, record: &Record, events: &mut (dyn Any + Send + Sync)) -> Verdict;
    async fn apply(&self, events: &(dyn Any + Send + Sync), tx: &mut Tx) -> Result<(), StoreError>;
}

const SAME_TYPE: &str = "events stay with the projection that decoded them";

#[async_trait::async_trait]
impl<P: Projection> Erased for P {
    fn read_model(&self) -> ReadModel {
        Projection::read_model(self)
    }

    fn topics(&self) -> &[Arc<str>] {
        Projection::topics(self)
    }

    fn events(&self, capacity: usize) -> Box<dyn Any + Send + Sync> {
        Box::new(Vec::<Received<P::Event>>::with_capacity(capacity))
    }

    fn wants(&self, record: &Record) -> bool {
        Projection::wants(self, record)
    }

    fn decode(&self, record: &Record, events: &mut (dyn Any + Send + Sync)) -> Verdict {
        match P::Event::decode(record) {
            Ok(Some(event)) => {
                let events: &mut Vec<Received<P::Event>> = events.downcast_mut().expect(SAME_TYPE);
                events.push(Received { partition: record.partition.clone(), offset: record.offset, event });
                Verdict::Applies
            }
            Ok(None) => Verdict::Unknown,
            Err(error) => Verdict::Broken(error),
        }
    }

    async fn apply(&self, events: &(dyn Any + Send + Sync), tx: &mut Tx) -> Result<(), StoreError> {
        let events: &Vec<Received<P::Event>> = events.downcast_ref().expect(SAME_TYPE);
        Projection::apply(self, events, tx).await
    }
}
