use std::time::Duration;

use balcony_event_log::{Positions, TopicPartition};
use balcony_store::StoreError;
use tokio::time::Instant;

use crate::ReplicaError;
use crate::batch::Decoded;
use crate::parking::ParkedKeys;

/// Where the events of one generation go, and how far they have come there: the rows of a projection, or one node's
/// store of a replica.
pub(crate) trait Sink: Send + Sync {
    /// The least time between two batches when they are not small.
    const PACE: Duration;

    /// The least time between two batches when they are of very few and nobody waits for them.
    fn rest(&self) -> Duration;

    /// Waits until somebody waits for what is written here.
    fn is_wanted(&self) -> impl Future<Output = ()> + Send;

    /// How far it has come, in the partitions that are held.
    fn positions(&self) -> Positions;

    /// Whether `partition` is held.
    fn holds(&self, partition: &TopicPartition) -> bool;

    /// Takes over `partitions`, all that are then held.
    fn claim(&mut self, partitions: &[TopicPartition]) -> impl Future<Output = Result<Claimed, StoreError>> + Send;

    /// Lets go of `partitions`.
    fn release(&mut self, partitions: &[TopicPartition]);

    /// Writes a batch: its events, what of it is set aside, and how far it brings each partition.
    fn write(
        &mut self,
        decoded: &Decoded,
        parked_keys: &ParkedKeys,
    ) -> impl Future<Output = Result<(), NotWritten>> + Send;

    /// Whether a batch that reaches so far was written although the answer was lost.
    fn has_written(&mut self, reached: &Positions) -> impl Future<Output = bool> + Send;

    /// Notes that a batch that reaches so far was written.
    fn written(&mut self, reached: &Positions);

    /// Whether it has come to where the log ended when it was opened.
    fn has_caught_up(&self) -> bool {
        false
    }

    /// When what was written is to be kept, where that is not so at once.
    fn commit_due(&self) -> Option<Due> {
        None
    }

    /// Whether nothing more is to be written before the next commit.
    fn is_full(&self) -> bool {
        false
    }

    /// Keeps what was written.
    fn commit(&mut self) -> impl Future<Output = Result<(), ReplicaError>> + Send {
        async { Ok(()) }
    }
}

/// When there is to be a commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    /// At the earliest, when somebody waits for it.
    pub(crate) wanted: Instant,
    /// When nobody does.
    pub(crate) latest: Instant,
}

/// What is known of partitions that were taken over.
pub(crate) struct Claimed {
    pub(crate) parked_keys: ParkedKeys,
    /// How many records are parked in the generation, in all partitions.
    pub(crate) parked: i64,
}

/// Why a batch was not written.
pub(crate) enum NotWritten {
    Store(StoreError),
    Replica(ReplicaError),
    /// An operator has had parked records applied or discarded meanwhile; these keys are left.
    ParkedKeys(ParkedKeys),
}

impl From<StoreError> for NotWritten {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
