use std::time::Duration;

use balcony_event_log::{Delivery, EventLog, LogError, Reader, TopicPartition};
use balcony_store::{Database, Generation, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::AnyProjection;
use crate::applier::{Applier, OnFailure};
use crate::observer::Observer;
use crate::parking::MOST_FAILED_IN_A_ROW;

/// The most records in one transaction. Batches grow to it with the backlog: a worker takes whatever has come while
/// the last transaction was under way.
const MOST_RECORDS: usize = 10_000;
/// From how many records in one batch on the next does not begin before [`PACE`] has passed: many small transactions
/// cost much more than few large ones, and nobody waits long.
const PACED_FROM: usize = 32;
const PACE: Duration = Duration::from_millis(5);

/// Why whoever works on a generation stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Search(#[from] balcony_search::Error),
    #[error(
        "{MOST_FAILED_IN_A_ROW} records in a row failed and were parked, and so would the next, because {0}; look at \
         what they have in common (balcony parked list), mend it and start the projector again"
    )]
    TooManyInARow(String),
    #[error(
        "more than half of the last records failed and were parked, the last because {0}; look at what they have in \
         common (balcony parked list), mend it and start the projector again"
    )]
    TooLargeAShare(String),
    #[error(
        "{}/{} offset {offset} cannot be applied and was never parked: {error}; mend the projection and rebuild again, \
         which goes on from here, or rebuild with --park to park what fails, or with --cancel to give up",
        .partition.topic, .partition.partition
    )]
    Unapplicable { partition: TopicPartition, offset: i64, error: String },
    #[error("{0}")]
    Differs(String),
    #[error("the database refuses to move the checkpoints: {0}")]
    Stuck(String),
    #[error("it panicked; the message is in the log")]
    Panicked,
}

impl WorkerError {
    /// Whether starting again could help without anybody changing anything.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Log(_) | Self::Search(_) | Self::Panicked)
    }
}

/// Applies one projection's events to one generation, for as long as it is not told to stop.
pub(crate) struct Worker {
    applier: Applier,
    reader: Reader,
    observer: Observer,
}

impl Worker {
    /// Joins the group of workers on `generation`.
    pub(crate) fn join(
        projection: &AnyProjection,
        log: &dyn EventLog,
        database: &Database,
        generation: &Generation,
        group_prefix: &str,
        observer: Observer,
    ) -> Self {
        let reader = log.join(&format!("{group_prefix}{}", generation.namespace()), projection.topics());
        let generation = generation.clone();
        let applier = Applier::new(projection.clone(), database, generation, OnFailure::Park, observer.clone());
        Self { applier, reader, observer }
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
                    self.applier.claim(&partitions).await?;
                    self.reader.start(self.applier.positions());
                    self.observer.running();
                }
                Ok(Delivery::Revoked(partitions)) => self.applier.release(&partitions),
                Ok(Delivery::Records(mut batch)) => {
                    tokio::time::sleep_until(pause_until).await;
                    self.reader.fill(&mut batch, MOST_RECORDS);
                    let paced = batch.records.len() >= PACED_FROM;
                    pause_until = Instant::now() + if paced { PACE } else { Duration::ZERO };
                    self.applier.apply(batch).await?;
                }
                Err(error @ LogError::Unavailable(_)) => self.observer.waiting(&error),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

pub(crate) async fn told_to(stop: &mut watch::Receiver<bool>) {
    // Whoever could tell is gone: that is as good as told.
    let _ = stop.wait_for(|stop| *stop).await;
}
