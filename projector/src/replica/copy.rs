use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{EventLog, LogError, Positions, TopicPartition};
use balcony_store::{Database, Generation, ParkedRecord, StoreError, Writer};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::spec::{AnyReplica, AnyStore, AnyView, OpenedAny, ReplicaError, ReplicaPlace};
use crate::applier::{Applier, OnFailure, ParkedBefore};
use crate::batch::{Decoded, SetAside};
use crate::clock::milliseconds_now;
use crate::error::WorkError;
use crate::follower::Follower;
use crate::losses::Losses;
use crate::observer::Observer;
use crate::parking::{ParkedKeys, Reason, parked_keys, parked_record};
use crate::plan::whole_before;
use crate::reading::Reading;
use crate::sink::{Claimed, Due, NotWritten, Sink};
use crate::source::Source;

/// The most records that are applied before they are committed.
const MOST_UNCOMMITTED: usize = 40_000;
/// A batch of so many records is likely not the last: the next one goes into the same commit, if it comes at once.
const MORE_FROM: usize = 2_000;
const AT_ONCE: Duration = Duration::from_millis(20);
/// The least time between two commits, each of which costs a search index a segment.
const COMMIT_EVERY: Duration = Duration::from_millis(50);
/// The same while nobody waits for one: [`COMMITS_SHARE`] times what the last one took, within these bounds.
const COMMIT_AT_REST: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);
/// How many times longer than committing everything else takes, while nobody waits.
const COMMITS_SHARE: u32 = 10;
/// The least time between two small batches while nobody waits for them.
const REST: Duration = Duration::from_millis(5);

/// One generation of a replica on this node, and what is shown of it.
#[derive(Clone)]
pub(crate) struct Copying {
    pub(crate) replica: AnyReplica,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) reading: Arc<Reading>,
    pub(crate) database: Database,
    pub(crate) generation: Generation,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) observer: Observer,
    pub(crate) shown: watch::Sender<Shown>,
}

/// What is shown of a copy.
#[derive(Clone, Default)]
pub(crate) struct Shown {
    pub(crate) view: Option<Arc<dyn AnyView>>,
    /// How far the last commit has come.
    pub(crate) positions: Positions,
    pub(crate) has_caught_up: bool,
    /// How far the log reached when the store was opened.
    pub(crate) ends: Positions,
    /// Why the store was made anew.
    pub(crate) lost: Option<String>,
}

impl Shown {
    /// The view, once it has what was in the log when it was opened.
    pub(crate) fn caught_up(&self) -> Option<Arc<dyn AnyView>> {
        self.view.clone().filter(|_| self.has_caught_up)
    }

    /// What there is to say about a store that cannot be read yet.
    pub(crate) fn note(&self) -> String {
        if self.view.is_none() {
            return "it is being opened".to_owned();
        }
        let lost = self.lost.as_ref().map(|lost| format!(", because {lost}")).unwrap_or_default();
        format!("it is being built{lost}: {} of {} events", self.positions.sum(), self.ends.sum())
    }
}

impl Copying {
    /// Brings the store to the end of the log and follows it.
    pub(crate) async fn run(self, stop: watch::Receiver<bool>) -> Result<(), WorkError> {
        // It may have become live since this node began with it.
        let build = self.build().await?;
        let is_built = build.is_some();
        let followed = self.follow(build.unwrap_or_default(), stop).await;
        match followed {
            Err(error @ WorkError::Log(LogError::OutOfRange { .. })) => {
                // Below the log's beginning something is lost; beyond its end, what is in the store is not of this log.
                let ends = self.log.ends(&self.replica.read_model().topics).await?;
                let reached = self.shown.borrow().positions.clone();
                if !ends.covers(&reached) {
                    self.forget()?;
                }
                Err(error)
            }
            Err(error) if !error.may_pass() && is_built => {
                // Who has changed its state meanwhile knows better.
                match self.database.build_failed(&self.generation, &error.to_string()).await {
                    Ok(()) | Err(StoreError::Fenced(_)) => Err(error),
                    Err(store) => Err(store.into()),
                }
            }
            done => done,
        }
    }

    async fn follow(&self, build: Build, stop: watch::Receiver<bool>) -> Result<(), WorkError> {
        let ends = self.log.ends(&self.replica.read_model().topics).await?;
        let OpenedAny { store, view, lost } = self.open(ends.clone()).await?;
        if let Some(lost) = &lost {
            tracing::warn!(step = &**self.replica.name(), lost, "the store of a replica is built anew");
        }
        let partitions: Vec<TopicPartition> = ends.partitions().cloned().collect();
        let positions = store.positions().among(&partitions);
        // What was read before a commit failed, of a full disk say, is read on: it is as good as it was.
        let goes_on = |shown: &Shown| shown.has_caught_up && positions.covers(&shown.positions);
        let has_caught_up = positions.covers(&ends) || goes_on(&self.shown.borrow());
        self.shown.send_replace(Shown { view: Some(view.clone()), positions, has_caught_up, ends, lost });

        let passed_over = self.discarded(build.before.as_ref()).await?;
        let copy = Copy {
            generation: self.generation.clone(),
            writer: self.database.writer(&self.generation),
            store: Some(store),
            view,
            committed: Positions::new(),
            reached: Positions::new(),
            uncommitted: 0,
            more_until: None,
            committed_at: Instant::now(),
            rest: *COMMIT_AT_REST.start(),
            shown: self.shown.clone(),
        };
        let on_failure = match build.before.filter(|_| build.is_strict) {
            Some(before) => OnFailure::StopUnless(ParkedBefore::new(self.database.clone(), before)),
            None => OnFailure::Park,
        };
        let (reads, name) = (Arc::new(self.replica.clone()), self.replica.name().clone());
        let mut applier = Applier::new(reads, copy, name, on_failure, self.observer.clone());
        applier.claim(&partitions).await?;
        let keys = applier.sink.parked_keys().await?;
        let places = passed_over.into_iter().map(|record| (record.partition, record.offset));
        applier.pass_over(places.collect(), keys);
        let losses = Losses {
            log: self.log.clone(),
            database: self.database.clone(),
            generation: self.generation.clone(),
            observer: self.observer.clone(),
        };
        losses.pass(&mut applier).await?;
        let source = Source::of(self.reading.clone(), applier.positions());
        self.observer.running();
        Follower::new(applier, source, losses, self.observer.clone()).run(stop).await
    }

    async fn open(&self, ends: Positions) -> Result<OpenedAny, WorkError> {
        let (replica, directory) = (self.replica.clone(), self.directory.clone());
        let open = move || replica.open(&ReplicaPlace { directory: directory.as_deref(), ends: &ends });
        Ok(spawn_blocking(open).await.map_err(|_| WorkError::Panicked)??)
    }

    fn forget(&self) -> Result<(), ReplicaError> {
        match self.directory.as_ref().map(std::fs::remove_dir_all) {
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => Err(ReplicaError::new(error)),
            _ => Ok(()),
        }
    }

    /// What was given up for ever: in this generation, and in the one `before` while this one is built, which is then given
    /// up in this one, too. What is only parked there may be read by now.
    async fn discarded(&self, before: Option<&Generation>) -> Result<Vec<ParkedRecord>, WorkError> {
        let is_discarded = |record: &ParkedRecord| record.discarded_at.is_some();
        let mut inherited = match before {
            Some(before) => self.database.look_at(before).await?.parked().await?,
            None => Vec::new(),
        };
        inherited.retain(is_discarded);
        let mut tx = self.database.writer(&self.generation).begin().await?;
        tx.park(&inherited).await?;
        let mut discarded = tx.parked().await?;
        tx.commit().await?;
        discarded.retain(is_discarded);
        Ok(discarded)
    }

    /// How this generation is built; `None` when it is not, or not any more.
    async fn build(&self) -> Result<Option<Build>, StoreError> {
        let listed = self.database.generations(Some(&self.generation.projection)).await?;
        let own = listed.iter().find(|listed| listed.generation == self.generation && listed.state.is_unfinished());
        let Some(own) = own else { return Ok(None) };
        let before = whole_before(&self.database, &self.generation).await?;
        Ok(Some(Build { before, is_strict: !own.options.park_failures }))
    }
}

/// How a generation is built.
#[derive(Default)]
struct Build {
    /// The generation before.
    before: Option<Generation>,
    /// Whether a failure that the one before does not have stops it.
    is_strict: bool,
}

/// The store of one generation of a replica, as batches go into it.
pub(crate) struct Copy {
    generation: Generation,
    /// Where records are parked.
    writer: Writer,
    /// `None` while it is at work, and after a panic.
    store: Option<Box<dyn AnyStore>>,
    view: Arc<dyn AnyView>,
    committed: Positions,
    reached: Positions,
    /// Records since the last commit.
    uncommitted: usize,
    /// Until when the next batch is waited for.
    more_until: Option<Instant>,
    committed_at: Instant,
    /// How long the next commit waits that nobody waits for.
    rest: Duration,
    shown: watch::Sender<Shown>,
}

impl Copy {
    /// Does `work` with the store on a thread where it may block.
    async fn with_store<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut dyn AnyStore) -> Result<T, ReplicaError> + Send + 'static,
    ) -> Result<T, ReplicaError> {
        let gone = || ReplicaError::new("the store of the replica is gone: a call panicked");
        let mut store = self.store.take().ok_or_else(gone)?;
        let working = spawn_blocking(move || {
            let done = work(store.as_mut());
            (store, done)
        });
        let (store, done) = working.await.map_err(|_| gone())?;
        self.store = Some(store);
        done
    }

    /// The keys that are parked in the partitions that are held.
    async fn parked_keys(&self) -> Result<ParkedKeys, StoreError> {
        parked_keys(&mut self.writer.begin().await?, |partition| self.reached.names(partition)).await
    }
}

impl Sink for Copy {
    const PACE: Duration = Duration::ZERO;

    fn rest(&self) -> Duration {
        REST
    }

    async fn is_wanted(&self) {
        self.view.is_wanted().await;
    }

    fn positions(&self) -> Positions {
        self.reached.clone()
    }

    fn holds(&self, partition: &TopicPartition) -> bool {
        self.reached.names(partition)
    }

    async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<Claimed, StoreError> {
        let store = self.store.as_ref().expect("nothing is at work yet");
        self.reached = store.positions().among(partitions);
        self.committed.clone_from(&self.reached);
        let parked_keys = self.parked_keys().await?;
        let parked = self.writer.begin().await?.parked_count().await?;
        Ok(Claimed { parked_keys, parked })
    }

    fn release(&mut self, _: &[TopicPartition]) {}

    /// What cannot be read is parked before a commit passes it. Every node does, and finds the same.
    async fn write(&mut self, decoded: &Decoded, known: &ParkedKeys) -> Result<(), NotWritten> {
        if !decoded.set_aside.is_empty() {
            let (name, parked_at) = (&self.generation.projection, milliseconds_now());
            let of = |SetAside { record, reason }: &SetAside| parked_record(name, record, reason, parked_at);
            let records: Vec<_> = decoded.set_aside.iter().map(of).collect();
            let mut tx = self.writer.begin().await?;
            if decoded.set_aside.iter().any(|set_aside| set_aside.reason == Reason::Waits) {
                // An operator may have given up what it waits for.
                let parked_keys = parked_keys(&mut tx, |partition| self.reached.names(partition)).await?;
                if parked_keys != *known {
                    return Err(NotWritten::ParkedKeys(parked_keys));
                }
            }
            tx.park(&records).await?;
            tx.commit().await?;
        }
        if !decoded.events.is_empty() {
            let events = decoded.events.clone();
            self.with_store(move |store| store.apply(&events)).await.map_err(NotWritten::Replica)?;
        }
        let records = decoded.events.len() + decoded.unknown + decoded.set_aside.len();
        self.uncommitted += records;
        self.more_until = (records >= MORE_FROM).then(|| Instant::now() + AT_ONCE);
        Ok(())
    }

    async fn has_written(&mut self, _: &Positions) -> bool {
        false
    }

    fn written(&mut self, reached: &Positions) {
        self.reached.merge(reached);
    }

    fn has_caught_up(&self) -> bool {
        self.shown.borrow().has_caught_up
    }

    fn commit_due(&self) -> Option<Due> {
        if self.reached == self.committed {
            return None;
        }
        let wanted = self.committed_at + COMMIT_EVERY;
        Some(match self.more_until {
            _ if self.is_full() => Due { wanted, latest: wanted },
            Some(more_until) => Due { wanted: wanted.max(more_until), latest: wanted.max(more_until) },
            None => Due { wanted, latest: self.committed_at + self.rest },
        })
    }

    fn is_full(&self) -> bool {
        self.uncommitted >= MOST_UNCOMMITTED
    }

    async fn commit(&mut self) -> Result<(), ReplicaError> {
        let positions = self.reached.clone();
        let begun_at = Instant::now();
        self.with_store(move |store| store.commit(&positions)).await?;
        self.rest = rest_after(begun_at.elapsed());
        self.committed.clone_from(&self.reached);
        (self.uncommitted, self.more_until, self.committed_at) = (0, None, Instant::now());
        self.shown.send_modify(|shown| {
            shown.positions.clone_from(&self.committed);
            shown.has_caught_up |= self.committed.covers(&shown.ends);
        });
        self.view.moved(&self.committed);
        Ok(())
    }
}

/// How long a commit waits that nobody waits for, when the one before took so long: on a machine that has much to do it
/// takes longer, and what it costs is to be had for what people do.
fn rest_after(took: Duration) -> Duration {
    took.saturating_mul(COMMITS_SHARE).clamp(*COMMIT_AT_REST.start(), *COMMIT_AT_REST.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_takes_long_comes_less_often() {
        let rests = [0, 5, 20, 90, 5_000].map(|took| rest_after(Duration::from_millis(took)).as_millis());
        assert_eq!(rests, [100, 100, 200, 900, 1_000]);
    }
}
