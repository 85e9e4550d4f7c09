use std::sync::Arc;

use balcony_event_log::{Incoming, LogError};
use tokio::sync::watch;

use crate::applier::Applier;
use crate::backoff::Backoff;
use crate::error::WorkError;
use crate::losses::Losses;
use crate::observer::Observer;
use crate::pace::{Pace, comes};
use crate::reading::Reading;
use crate::rows::Rows;
use crate::sink::Sink;
use crate::source::Source;
use crate::supervise::told_to;

/// Applies one step's events to one generation, for as long as it is not told to stop.
pub(crate) struct Follower<S> {
    applier: Applier<S>,
    source: Source,
    losses: Losses,
    observer: Observer,
}

impl Follower<Rows> {
    /// Works as a member of the group called `group`, which shares out the partitions. One that cannot write does not
    /// join: it would keep partitions from others, which may be able to.
    pub(crate) async fn work(
        applier: Applier<Rows>,
        losses: Losses,
        group: String,
        reading: Arc<Reading>,
        observer: Observer,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), WorkError> {
        let mut backoff = Backoff::new();
        while let Err(error) = applier.sink.can_write().await
            && error.is_away()
        {
            observer.waiting(&error);
            tokio::select! {
                () = backoff.pause() => {}
                () = told_to(&mut stop) => return Ok(()),
            }
        }
        let member = losses.log.join(&group, &applier.sink.projection().read_model().topics);
        Self::new(applier, Source::of_member(reading, member), losses, observer).run(stop).await
    }
}

impl<S: Sink> Follower<S> {
    pub(crate) fn new(applier: Applier<S>, source: Source, losses: Losses, observer: Observer) -> Self {
        Self { applier, source, losses, observer }
    }

    /// Works until something fails for good or it is told to stop: then it ends after the batch it is at, and leaves
    /// its group, so that others take over at once. Dropping the future at any await is as good as a crash, and a
    /// crash is harmless.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), WorkError> {
        let mut pace = Pace::new();
        loop {
            let due = self.applier.sink.commit_due();
            let sink = &self.applier.sink;
            let incoming = tokio::select! {
                biased;
                () = told_to(&mut stop) => {
                    self.source.close().await;
                    return Ok(());
                }
                () = comes(due, sink) => {
                    self.applier.sink.commit().await?;
                    continue;
                }
                incoming = self.source.next(), if !sink.is_full() => incoming,
            };
            match incoming {
                Ok(Incoming::Assigned(partitions)) => {
                    self.applier.claim(&partitions).await?;
                    self.losses.pass(&mut self.applier).await?;
                    self.source.start(self.applier.positions());
                    self.observer.running();
                }
                Ok(Incoming::Revoked(partitions)) => self.applier.release(&partitions),
                // It says that the log is back.
                Ok(Incoming::Records(batch)) if batch.records.is_empty() && batch.reached.is_empty() => {
                    self.observer.running();
                }
                Ok(Incoming::Records(mut batch)) => {
                    pace.gather(&mut batch, &mut self.source, &self.applier.sink, &mut stop).await;
                    self.applier.apply(batch).await?;
                }
                Err(error @ LogError::Unavailable(_)) => self.observer.waiting(&error),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
