use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use balcony_domain::{Event, Recorded, may_delete_comment};
use balcony_event_log::{Batch, Delivery, EventLog, LogError, Positions, Record, TopicPartition};
use balcony_search::{Check, Comment, Error, Index, Kept, Serving, Writer};
use balcony_store::{Database, Generation, ListedGeneration, StoreError};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use super::{Replica, SEARCH};
use crate::Decode;
use crate::applier::milliseconds_now;
use crate::keeper::supervise;
use crate::observer::{Backoff, Observer};
use crate::parking::{Failures, Reason, parked_record};
use crate::worker::{WorkerError, told_to};

/// The most records that are indexed before they are committed.
const MOST_UNCOMMITTED: usize = 40_000;
/// The most records of one step.
const MOST_RECORDS: usize = 10_000;
/// A step of so many records is likely not the last: the next one goes into the same commit, if it comes at once.
const MORE_FROM: usize = 2_000;
const AT_ONCE: Duration = Duration::from_millis(20);
/// The least time between two commits, each of which is a segment: many small ones cost merges.
const COMMIT_EVERY: Duration = Duration::from_millis(50);

/// One index that follows the log.
pub(super) struct Tail {
    pub(super) generation: Generation,
    /// Whether it is being built.
    pub(super) is_built: bool,
    pub(super) observer: Observer,
    shown: watch::Receiver<Shown>,
    stop: watch::Sender<bool>,
    handle: JoinHandle<()>,
}

/// What a tail shows of its index.
#[derive(Clone, Default)]
struct Shown {
    index: Option<Index>,
    has_caught_up: bool,
    /// How far the log reached when the index was opened.
    ends: Positions,
    /// Why the index was made anew.
    lost: Option<String>,
}

/// Who does the work.
struct Follower {
    log: Arc<dyn EventLog>,
    database: Database,
    topics: [Arc<str>; 1],
    generation: Generation,
    /// Until it has caught up, a record that fails and was not parked in this generation stops the work.
    strict_after: Option<Generation>,
    is_built: bool,
    directory: PathBuf,
    serving: Serving,
    observer: Observer,
    shown: watch::Sender<Shown>,
}

/// What became of a step.
#[derive(Default)]
struct Step {
    events: usize,
    unknown: usize,
    broken: Vec<(Record, String)>,
    broken_at_the_end: usize,
}

impl Tail {
    pub(super) fn start(
        replica: &Replica,
        listed: &ListedGeneration,
        before: Option<Generation>,
        directory: PathBuf,
        observer: Observer,
    ) -> Self {
        let is_built = listed.state.is_unfinished();
        let (shown, showing) = watch::channel(Shown::default());
        let follower = Arc::new(Follower {
            log: replica.log.clone(),
            database: replica.database.clone(),
            topics: replica.topics.clone(),
            generation: listed.generation.clone(),
            strict_after: before.filter(|_| is_built && !listed.options.park_failures),
            is_built,
            directory,
            serving: replica.serving.clone(),
            observer: observer.clone(),
            shown,
        });
        let stop = watch::Sender::new(false);
        let work = move |stop| follower.clone().run(stop);
        let handle = tokio::spawn(supervise(work, observer.clone(), stop.subscribe()));
        Self { generation: listed.generation.clone(), is_built, observer, shown: showing, stop, handle }
    }

    /// The index, once it has what was in the log when it was opened.
    pub(super) fn caught_up(&self) -> Option<Index> {
        let shown = self.shown.borrow();
        shown.index.clone().filter(|_| shown.has_caught_up)
    }

    /// How far the index has come.
    pub(super) fn positions(&self) -> Option<Positions> {
        self.shown.borrow().index.as_ref().map(Index::positions)
    }

    /// What there is to say about an index that cannot be searched yet.
    pub(super) fn note(&self) -> String {
        let shown = self.shown.borrow();
        let Some(index) = &shown.index else { return "it is being opened".to_owned() };
        let (reached, ends) = (index.positions(), &shown.ends);
        let sum = |positions: &Positions| positions.into_iter().map(|(_, next)| next).sum::<i64>();
        let lost = shown.lost.as_ref().map(|lost| format!(", because {lost}")).unwrap_or_default();
        format!("it is being built{lost}: {} of {} events", sum(&reached), sum(ends))
    }

    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        // It ends after the step it is at; a panic was reported where it happened.
        let _ = self.handle.await;
    }
}

impl Follower {
    async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) -> Result<(), WorkerError> {
        match self.follow(stop).await {
            Err(error @ WorkerError::Log(LogError::OutOfRange { .. })) => {
                // What is in the index is not of this log.
                match std::fs::remove_dir_all(&self.directory) {
                    Err(removing) if removing.kind() != std::io::ErrorKind::NotFound => {
                        Err(Error::from(removing).into())
                    }
                    _ => Err(error),
                }
            }
            Err(error) if !error.may_pass() && self.is_built => {
                // Who has changed its state meanwhile knows better.
                match self.database.build_failed(&self.generation, &error.to_string()).await {
                    Ok(()) | Err(StoreError::Fenced(_)) => Err(error),
                    Err(store) => Err(store.into()),
                }
            }
            done => done,
        }
    }

    async fn follow(&self, mut stop: watch::Receiver<bool>) -> Result<(), WorkerError> {
        self.shown.send_modify(|shown| shown.has_caught_up = false);
        let (index, lost) = self.open().await?;
        let ends = self.log.ends(&self.topics).await?;
        let from: Positions =
            ends.partitions().map(|partition| (partition.clone(), index.positions().next_offset(partition))).collect();
        self.observer.stands_at(from.clone());
        self.observer.running();
        let has_caught_up = from.covers(&ends);
        self.shown.send_replace(Shown { index: Some(index.clone()), has_caught_up, ends: ends.clone(), lost });

        let mut known = self.set_aside_before().await?;
        let mut writer = Some(self.writer(&index).await?);
        let mut reader = self.log.read(from.clone());
        let mut reached = from;
        let mut failures = Failures::default();
        let (mut uncommitted, mut more, mut committed_at) = (0, false, Instant::now());
        let mut is_committed = true;
        loop {
            let patience = if is_committed {
                Duration::MAX
            } else if more {
                AT_ONCE
            } else {
                Duration::ZERO
            };
            let delivery = tokio::select! {
                delivery = timeout(patience, reader.next()) => delivery,
                () = told_to(&mut stop) => return Ok(()),
            };
            match delivery {
                Ok(Ok(Delivery::Records(mut batch))) => {
                    let started = Instant::now();
                    reader.fill(&mut batch, MOST_RECORDS);
                    reached.merge(&batch.reached);
                    more = batch.records.len() >= MORE_FROM;
                    uncommitted += batch.records.len();
                    is_committed = false;
                    let own = writer.take().ok_or(Error::Failed)?;
                    let (own, step) = blocking(move || index_batch(own, &batch)).await??;
                    writer = Some(own);
                    self.set_aside(&step, &mut known, &mut failures).await?;
                    self.observer.did(step.events, step.unknown, &reached, started.elapsed());
                    if more && uncommitted < MOST_UNCOMMITTED {
                        continue;
                    }
                }
                Ok(Ok(Delivery::Assigned(_) | Delivery::Revoked(_))) => {}
                Ok(Err(error @ LogError::Unavailable(_))) => self.observer.waiting(&error),
                Ok(Err(error)) => return Err(error.into()),
                // Nothing more has come.
                Err(_) => {}
            }
            if is_committed {
                continue;
            }
            tokio::time::sleep_until(committed_at + COMMIT_EVERY).await;
            let (own, positions) = (writer.take().ok_or(Error::Failed)?, reached.clone());
            writer = Some(blocking(move || commit(own, &positions)).await??);
            (uncommitted, more, is_committed, committed_at) = (0, false, true, Instant::now());
            self.serving.moved();
            if reached.covers(&ends) {
                self.shown.send_if_modified(|shown| !std::mem::replace(&mut shown.has_caught_up, true));
            }
        }
    }

    /// The index as the last commit left it, or a new one and why, where that is lost.
    async fn open(&self) -> Result<(Index, Option<String>), WorkerError> {
        let directory = self.directory.clone();
        let opened = blocking(move || open(&directory)).await?;
        let (index, lost) = opened?;
        if let Some(lost) = &lost {
            tracing::warn!(generation = self.generation.number, lost, "the search index is built anew");
        }
        Ok((index, lost))
    }

    async fn writer(&self, index: &Index) -> Result<Writer, WorkerError> {
        let mut backoff = Backoff::new();
        loop {
            let own = index.clone();
            match blocking(move || own.writer()).await? {
                // A process that was just started may hold this one's locks for a moment.
                Err(Error::Locked) => backoff.pause().await,
                writer => return Ok(writer?),
            }
        }
    }

    /// The records that may fail, which were set aside in the generation before and are so in this one, too.
    async fn set_aside_before(&self) -> Result<Vec<(TopicPartition, i64)>, StoreError> {
        let Some(before) = &self.strict_after else { return Ok(Vec::new()) };
        let set_aside = self.database.look_at(before).await?.parked().await?;
        let mut tx = self.database.writer(&self.generation).begin().await?;
        tx.park(&set_aside).await?;
        tx.commit().await?;
        Ok(set_aside.into_iter().map(|record| (record.partition, record.offset)).collect())
    }

    /// Parks what could not be read, before a commit passes it. Every process does, and finds the same.
    async fn set_aside(
        &self,
        step: &Step,
        known: &mut Vec<(TopicPartition, i64)>,
        failures: &mut Failures,
    ) -> Result<(), WorkerError> {
        if let Some((_, error)) = step.broken.first() {
            failures.stop_at_too_many(error)?;
        }
        failures.note(step.broken.len(), step.events + step.unknown, step.broken_at_the_end);
        if step.broken.is_empty() {
            return Ok(());
        }
        let is_strict = self.strict_after.is_some() && !self.shown.borrow().has_caught_up;
        let mut records = Vec::with_capacity(step.broken.len());
        for (record, error) in &step.broken {
            let place = (record.partition.clone(), record.offset);
            if is_strict && !known.contains(&place) {
                // The generation before may have come to it since.
                *known = self.set_aside_before().await?;
                if !known.contains(&place) {
                    let (partition, offset) = place;
                    return Err(WorkerError::Unapplicable { partition, offset, error: error.clone() });
                }
            }
            if !known.contains(&place) {
                records.push(parked_record(SEARCH, record, &Reason::Failed(error.clone()), milliseconds_now()));
            }
        }
        let writer = self.database.writer(&self.generation);
        let mut backoff = Backoff::new();
        loop {
            let parked = async {
                let mut tx = writer.begin().await?;
                tx.park(&records).await?;
                let count = tx.parked_count().await?;
                tx.commit().await?;
                Ok::<_, StoreError>(count)
            };
            match parked.await {
                Ok(count) => {
                    self.observer.parked(count);
                    return Ok(());
                }
                Err(error) if error.is_transient() => {
                    self.observer.waiting(&error);
                    backoff.pause().await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Runs what takes its thread for long.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, WorkerError> {
    spawn_blocking(work).await.map_err(|_| WorkerError::Panicked)
}

fn open(directory: &Path) -> Result<(Index, Option<String>), Error> {
    let lost = match Index::open(directory, Check::Checksums) {
        Err(Error::Missing(_)) => None,
        Err(error @ (Error::Damaged(_) | Error::OtherForm(_))) => Some(error.to_string()),
        opened => return Ok((opened?, None)),
    };
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    Ok((Index::create(directory)?, lost))
}

fn commit(mut writer: Writer, positions: &Positions) -> Result<Writer, Error> {
    writer.commit(positions)?;
    Ok(writer)
}

fn index_batch(mut writer: Writer, batch: &Batch) -> Result<(Writer, Step), Error> {
    let mut step = Step::default();
    for record in &batch.records {
        match <Recorded as Decode>::decode(record) {
            Ok(Some(recorded)) => {
                step.events += 1;
                step.broken_at_the_end = 0;
                index(&mut writer, &recorded)?;
            }
            Ok(None) => {
                step.unknown += 1;
                step.broken_at_the_end = 0;
            }
            Err(error) => {
                step.broken_at_the_end += 1;
                step.broken.push((record.clone(), error));
            }
        }
    }
    Ok((writer, step))
}

/// A comment and its deletion have the same key, so the deletion always comes later.
fn index(writer: &mut Writer, recorded: &Recorded) -> Result<(), Error> {
    match &recorded.event {
        Event::CommentPosted(post) => {
            writer.add(&Comment {
                id: post.comment_id,
                movie: post.movie_id,
                author: post.author_id,
                posted_at: recorded.time,
                title: post.title.as_deref(),
                body: &post.body,
            })?;
        }
        Event::CommentDeleted(deletion) => {
            if let Some(Kept::Comment { author }) = writer.find(deletion.comment_id)?
                && may_delete_comment(author, deletion.deleted_by, deletion.role)
            {
                writer.delete(deletion.comment_id)?;
            }
        }
        _ => {}
    }
    Ok(())
}
