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
/// clock, no randomness, no table but its own. Events of one key come in order; events of different partitions come
/// in any.
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
