use std::sync::Arc;

use balcony_event_log::{EventLog, LogError, Positions};
use balcony_store::{Database, Generation, Lost};

use crate::applier::Applier;
use crate::backoff::Backoff;
use crate::error::WorkError;
use crate::observer::Observer;
use crate::sink::Sink;

/// What a generation will never read, because the log has forgotten it first. It is counted, and reading goes on where the
/// log begins: waiting would not bring it back.
#[derive(Clone)]
pub(crate) struct Losses {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) database: Database,
    pub(crate) generation: Generation,
    pub(crate) observer: Observer,
}

impl Losses {
    /// Moves the checkpoints of `applier` over what is lost.
    pub(crate) async fn pass<S: Sink>(&self, applier: &mut Applier<S>) -> Result<(), WorkError> {
        let passed = self.note(&applier.positions()).await?;
        if passed.is_empty() { Ok(()) } else { applier.pass_lost(passed).await }
    }

    /// Counts what is lost for a reader at `positions`, and gives where it goes on in the partitions that have lost
    /// something; waits while the log or the database is away.
    pub(crate) async fn note(&self, positions: &Positions) -> Result<Positions, WorkError> {
        let mut backoff = Backoff::new();
        loop {
            match self.try_note(positions).await {
                Err(WorkError::Log(error @ LogError::Unavailable(_))) => self.observer.waiting(&error),
                Err(WorkError::Store(error)) if error.is_transient() => self.observer.waiting(&error),
                done => return done,
            }
            backoff.pause().await;
        }
    }

    async fn try_note(&self, positions: &Positions) -> Result<Positions, WorkError> {
        let lost = self.lost(positions).await?;
        if lost.is_empty() {
            return Ok(Positions::new());
        }
        self.database.note_lost(&self.generation, &lost).await?;
        for one in &lost {
            self.observer.lost(one);
        }
        Ok(lost.into_iter().map(|lost| (lost.partition, lost.next_offset)).collect())
    }

    async fn lost(&self, positions: &Positions) -> Result<Vec<Lost>, LogError> {
        let mut topics: Vec<Arc<str>> = positions.partitions().map(|partition| partition.topic.clone()).collect();
        topics.dedup();
        let starts = self.log.starts(&topics).await?;
        let kept_for_ever =
            |name: &Arc<str>| self.log.topics().iter().any(|topic| topic.name == *name && topic.retention.is_none());
        let lost = positions.into_iter().filter_map(|(partition, next)| {
            let start = starts.next_offset(partition);
            // The beginning of a topic that is kept for a while is over by rule.
            let is_lost = next < start && (next > 0 || kept_for_ever(&partition.topic));
            is_lost.then(|| Lost { partition: partition.clone(), first_offset: next, next_offset: start })
        });
        Ok(lost.collect())
    }
}
