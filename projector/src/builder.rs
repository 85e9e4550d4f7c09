use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use balcony_event_log::{EventLog, Incoming, LogError, Positions, Reader, TopicPartition};
use balcony_store::{
    BuildOptions, Comparand, Database, Generation, GenerationState, ListedGeneration, ParkedRecord, StoreError,
    TableDigest, Writer,
};
use tokio::sync::watch;

use crate::applier::{Applier, Decoder, OnFailure};
use crate::batch::{Decoded, below};
use crate::error::WorkError;
use crate::losses::Losses;
use crate::observer::Observer;
use crate::parking::{PassedOver, parked_keys};
use crate::plan::{lease_name, whole_before};
use crate::projection::AnyProjection;
use crate::rows::Rows;
use crate::sink::Sink as _;
use crate::supervise::{catch_panic, supervise};
use crate::taken::{self, Batch};

/// The most records in one transaction of a copy: rows that many of them change, such as counts, are written once
/// for all, while two batches of large comments still fit into some hundred megabytes.
const MOST_RECORDS: usize = 60_000;
/// How many records behind a copy is ended and the rest is left to following, which readers do not wait for.
const NEARLY_THERE: i64 = 10_000;
/// How often it is looked whether another process still builds, and how far the workers have come.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Within how long workers that keep up come to where those of the generation before are. A switch holds these up for a
/// little longer at the most.
pub(crate) const MOMENT: Duration = Duration::from_millis(250);
/// How many parked records are carried over together.
const SET_ASIDE_AT_ONCE: u32 = 500;
/// How often a build may panic at the same place before it has failed.
const MOST_ATTEMPTS: i64 = 5;
/// The most time between two switches that are tried.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Builds `generation`, which was asked for by [`Database::begin_build`], and switches to it, as a running projector
/// does: once nobody else builds it, from where they left it. How it ended is noted with the generation.
pub async fn build(projection: AnyProjection, log: Arc<dyn EventLog>, database: Database, generation: Generation) {
    let observer = Observer::new(database.namespace(), projection.name(), generation.number);
    let (_stop, stopped) = watch::channel(false);
    let builder =
        |_| Builder::new(projection.clone(), log.clone(), database.clone(), generation.clone(), observer.clone()).run();
    supervise(builder, observer.clone(), stopped).await;
}

/// The generation before the one that is built.
struct Before {
    generation: Generation,
    /// To look at it with.
    writer: Writer,
}

/// Builds one generation from the beginning of the log and switches to it.
pub(crate) struct Builder {
    projection: AnyProjection,
    log: Arc<dyn EventLog>,
    database: Database,
    generation: Generation,
    /// To write the generation with, and to look at it.
    own: Writer,
    /// Whether copying was tried in vain since it came on last.
    has_stumbled: AtomicBool,
    observer: Observer,
}

impl Builder {
    pub(crate) fn new(
        projection: AnyProjection,
        log: Arc<dyn EventLog>,
        database: Database,
        generation: Generation,
        observer: Observer,
    ) -> Self {
        let own = database.patient_writer(&generation);
        Self { projection, log, database, generation, own, has_stumbled: AtomicBool::new(false), observer }
    }

    /// Does what is left to do, once nobody else does. What failed for good is noted with the generation; everything
    /// else may be tried again, and goes on where this ended.
    pub(crate) async fn run(self) -> Result<(), WorkError> {
        let _lease = loop {
            match self.database.lease(&lease_name(self.projection.read_model())).await? {
                Some(lease) => break lease,
                None => tokio::time::sleep(LOOK_EVERY * 10).await,
            }
        };
        let built = catch_panic(self.build()).await.unwrap_or(Err(WorkError::Panicked));
        if let Err(error) = &built {
            self.note(error).await?;
        }
        built
    }

    /// Writes down why the build could not go on, and that it has failed when trying again is of no use.
    async fn note(&self, error: &WorkError) -> Result<(), WorkError> {
        let is_over = match error {
            // What is away comes back, and whoever took over goes on.
            WorkError::Store(StoreError::Unavailable(_) | StoreError::NotReady(_) | StoreError::Fenced(_))
            | WorkError::Log(LogError::Unavailable(_) | LogError::Closed) => false,
            WorkError::Panicked => self.listed().await?.is_some_and(|listed| listed.attempts + 1 >= MOST_ATTEMPTS),
            _ => true,
        };
        let text = error.to_string();
        let noted = if is_over {
            self.database.build_failed(&self.generation, &text).await
        } else {
            self.database.build_stumbled(&self.generation, &text).await.map(drop)
        };
        match noted {
            // Whoever gave it up or switched to it knows better.
            Ok(()) | Err(StoreError::Fenced(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn build(&self) -> Result<(), WorkError> {
        let Some(listed) = self.listed().await? else { return Ok(()) };
        let has_stumbled = listed.attempts > 0 && listed.state == GenerationState::Copying;
        self.has_stumbled.store(has_stumbled, Ordering::Relaxed);
        if listed.state != GenerationState::Following {
            self.copy_and_verify(listed.options).await?;
        }
        self.follow_and_switch().await
    }

    /// This generation as it is listed now, unless it is not to be built any more.
    async fn listed(&self) -> Result<Option<ListedGeneration>, StoreError> {
        let listed = self.database.generations(Some(&self.generation.projection)).await?;
        let own = |listed: &ListedGeneration| listed.generation == self.generation && listed.state.is_unfinished();
        Ok(listed.into_iter().find(own).filter(|listed| listed.state != GenerationState::Failed))
    }

    /// The generation before; see [`whole_before`].
    async fn before(&self) -> Result<Option<Before>, StoreError> {
        let before = whole_before(&self.database, &self.generation).await?;
        let with_writer = |generation| Before { writer: self.database.patient_writer(&generation), generation };
        Ok(before.map(with_writer))
    }

    /// The generation before if it is of the same version, so that both hold the same at the same positions.
    fn comparable<'b>(&self, before: Option<&'b Before>) -> Option<&'b Before> {
        before.filter(|before| before.generation.version == self.generation.version)
    }

    fn topics(&self) -> &[Arc<str>] {
        &self.projection.read_model().topics
    }

    async fn copy_and_verify(&self, options: BuildOptions) -> Result<(), WorkError> {
        let BuildOptions { park_failures, allow_differences, .. } = options;
        let before = self.before().await?;
        // Where the generation before has lost its tables, nobody knows any more what was parked.
        let parks = park_failures || before.is_none();
        let on_failure = if parks { OnFailure::Park } else { OnFailure::Stop };
        let comparable = self.comparable(before.as_ref());
        self.database.build_stands_at(&self.generation, GenerationState::Copying).await?;
        let rows = Rows::over(self.own.clone(), self.projection.clone(), &self.database, self.generation.clone());
        let (reads, name) = (Arc::new(self.projection.clone()), self.projection.name().clone());
        let mut applier = Applier::new(reads, rows, name, on_failure, self.observer.clone());
        let partitions: Vec<TopicPartition> = self.log.ends(self.topics()).await?.partitions().cloned().collect();
        applier.claim(&partitions).await?;
        if let Some(before) = &before {
            self.inherit(&mut applier, before, allow_differences).await?;
        }
        let losses = Losses {
            log: self.log.clone(),
            database: self.database.clone(),
            generation: self.generation.clone(),
            observer: self.observer.clone(),
        };
        losses.pass(&mut applier).await?;
        loop {
            // What is compared must not come further than what it is compared with.
            let target = match comparable {
                Some(live) => live.writer.snapshot().await?.checkpoints().await?,
                None => self.log.ends(self.topics()).await?,
            };
            let target = target.among(&partitions);
            let behind = applier.positions().distance(&target);
            applier = self.copy_to(applier, target, before.as_ref()).await?;
            if behind <= NEARLY_THERE {
                break;
            }
        }

        let make_indexes = self.database.make_indexes(&self.generation, self.projection.read_model());
        match comparable.filter(|_| !allow_differences) {
            Some(live) => {
                let comparands = self.comparands(applier, live, &partitions).await?;
                self.database.build_stands_at(&self.generation, GenerationState::Indexing).await?;
                let index = async {
                    make_indexes.await?;
                    Ok(self.database.build_stands_at(&self.generation, GenerationState::Verifying).await?)
                };
                // Indexes are made by one thread, or one process of the server, and each side is read by another.
                tokio::try_join!(index, self.verify(&live.generation, comparands))?;
            }
            None => {
                self.database.build_stands_at(&self.generation, GenerationState::Indexing).await?;
                make_indexes.await?;
            }
        }
        self.database.build_stands_at(&self.generation, GenerationState::Following).await?;
        Ok(())
    }

    /// Comes to where the live generation stands, and holds what the two hold there.
    async fn comparands(
        &self,
        applier: Applier<Rows>,
        live: &Before,
        partitions: &[TopicPartition],
    ) -> Result<[Comparand; 2], WorkError> {
        let there = live.writer.comparand().await?;
        let target = there.checkpoints().among(partitions);
        self.copy_to(applier, target, Some(live)).await?;
        Ok([there, self.own.comparand().await?])
    }

    /// Checks that the live generation and this one hold the same.
    async fn verify(&self, live: &Generation, [there, here]: [Comparand; 2]) -> Result<(), WorkError> {
        let (expected, found) = tokio::try_join!(digests(there), digests(here))?;
        let difference = |(table, old): (&String, &TableDigest)| match found.get(table) {
            Some(new) if new == old => None,
            Some(new) if new.rows != old.rows => {
                Some(format!("{table} has {} rows here and {} there", new.rows, old.rows))
            }
            Some(_) => Some(format!("{table} has other rows, as many")),
            None => Some(format!("{table} is there alone")),
        };
        let differences: Vec<String> = expected.iter().filter_map(difference).collect();
        if differences.is_empty() {
            return Ok(());
        }
        Err(WorkError::Differs(format!(
            "generation {} differs from the live generation {} at the same positions: {}; the log is what counts: \
             rebuild with --allow-differences to switch to the new one, or with --cancel to give up",
            self.generation.number,
            live.number,
            differences.join(", ")
        )))
    }

    /// Takes over from the generation before what the log has forgotten: what it has read of each partition whose
    /// beginning is not in the log any more.
    async fn inherit(&self, applier: &mut Applier<Rows>, before: &Before, may_be_lost: bool) -> Result<(), WorkError> {
        let starts = self.log.starts(self.topics()).await?;
        let mut known = before.writer.snapshot().await?;
        let read_before = known.checkpoints().await?;
        let lost_before = self.database.lost(&before.generation).await?;
        let version = u32::try_from(before.generation.version).unwrap_or_default();
        for (partition, start) in &starts {
            let position = applier.positions().next_offset(partition);
            // What the generation before has not read either is not lost by this one.
            let was_lost = lost_before
                .iter()
                .any(|lost| lost.partition == *partition && lost.first_offset <= position && start <= lost.next_offset);
            if position >= start || read_before.next_offset(partition) == 0 || was_lost {
                continue;
            }
            // Inheriting is for a partition of which nothing was read yet.
            if position == 0 && self.projection.inherits(&partition.topic, version) {
                let reached = Positions::from_iter([(partition.clone(), read_before.next_offset(partition))]);
                let mut tx = applier.sink.writer().begin().await?;
                tx.advance(applier.sink.claim_of(), &reached).await?;
                self.projection.inherit(partition, version, &mut known, &mut tx).await?;
                tx.commit().await?;
                applier.sink.written(&reached);
            } else if !may_be_lost {
                return Err(WorkError::Forgotten { partition: partition.clone(), start });
            }
        }
        Ok(())
    }

    /// Sets aside in this generation what was set aside below `target` in the one before, and passes over it from now on.
    /// There may be much of it, so that it is carried over in parts.
    async fn pass_over(
        &self,
        applier: &mut Applier<Rows>,
        before: &Before,
        target: &Positions,
    ) -> Result<(), StoreError> {
        let mut set_aside = before.writer.snapshot().await?;
        let mut passed_over = PassedOver::new();
        let mut last: Option<ParkedRecord> = None;
        loop {
            let mut page = set_aside.parked_after(last.as_ref(), true, SET_ASIDE_AT_ONCE).await?;
            let Some(end) = page.last() else { break };
            last = Some(end.clone());
            page.retain(|record| record.offset < target.next_offset(&record.partition));
            let mut tx = applier.sink.writer().begin().await?;
            tx.park(&page).await?;
            tx.commit().await?;
            passed_over.extend(page.into_iter().map(|record| (record.partition, record.offset)));
        }
        let mut tx = applier.sink.writer().begin().await?;
        let parked_keys = parked_keys(&mut tx, |partition| applier.sink.holds(partition)).await?;
        drop(tx);
        applier.pass_over(passed_over, parked_keys);
        Ok(())
    }

    /// Applies everything below `target`: one batch is written while the next is read and decoded.
    async fn copy_to(
        &self,
        mut applier: Applier<Rows>,
        target: Positions,
        before: Option<&Before>,
    ) -> Result<Applier<Rows>, WorkError> {
        let from = applier.positions().behind(&target);
        if let Some(before) = before {
            self.pass_over(&mut applier, before, &target).await?;
        }
        if from.is_empty() {
            return Ok(applier);
        }
        // A log that is read beside its process learns only now how far it reaches: at least to the target.
        self.log.ends(self.topics()).await?;
        let source = Source { reader: self.log.read(from), reached: applier.positions(), target };
        let mut coming = tokio::spawn(source.next(applier.decoder()));
        loop {
            let next = (&mut coming).await.map_err(|_| WorkError::Panicked)??;
            let Some((source, decoder, batch, decoded)) = next else { return Ok(applier) };
            let decoded = if decoder.is_current(&applier) { decoded } else { applier.decoder().decode(&batch) };
            coming = tokio::spawn(source.next(applier.decoder()));
            if let Err(error) = applier.apply_decoded(batch, decoded).await {
                coming.abort();
                return Err(error);
            }
            if self.has_stumbled.swap(false, Ordering::Relaxed) {
                self.database.build_comes_on(&self.generation).await?;
            }
        }
    }

    /// Workers follow the log with this generation by now, in every process. When they are where the live one is, it
    /// is switched to. A switch holds up who works on the generation before, so nothing is held until they have shown
    /// that they keep up with it: not while they still join their group, nor where nobody brings this generation on.
    async fn follow_and_switch(&self) -> Result<(), WorkError> {
        let before = self.before().await?;
        let mut pause = LOOK_EVERY;
        loop {
            let mut wait = LOOK_EVERY;
            if self.keeps_up_with(before.as_ref()).await? {
                let switched = self.database.switch(&self.generation, async |live| self.wait_for(live).await).await;
                match switched {
                    Ok(true) => return Ok(()),
                    Ok(false) => {
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        wait = pause;
                    }
                    // Cancelled, or switched by another process.
                    Err(StoreError::Fenced(_)) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
            if self.listed().await?.is_none() {
                return Ok(());
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether this generation is within a moment where the one before is now.
    async fn keeps_up_with(&self, before: Option<&Before>) -> Result<bool, StoreError> {
        let Some(before) = before else { return Ok(true) };
        let target = before.writer.snapshot().await?.checkpoints().await?;
        Ok(tokio::time::timeout(MOMENT, self.wait_for(&target)).await.unwrap_or(false))
    }

    async fn reached(&self) -> Result<Positions, StoreError> {
        self.own.snapshot().await?.checkpoints().await
    }

    /// Waits until the workers have brought this generation as far as `live`.
    async fn wait_for(&self, live: &Positions) -> bool {
        // The version before may read topics that this one does not.
        let live = &live.of_topics(self.topics());
        let progress = self.database.progress();
        let mut ticks = progress.ticks();
        let _waiting = progress.wait_for(&self.generation);
        loop {
            ticks.mark_unchanged();
            if progress.covers(&self.generation, live) {
                return true;
            }
            match self.reached().await {
                Ok(reached) if reached.covers(live) => return true,
                _ => {
                    // Told or not, it is looked at again.
                    let _ = tokio::time::timeout(LOOK_EVERY, ticks.changed()).await;
                }
            }
        }
    }
}

/// The records of the log up to a target.
struct Source {
    reader: Reader,
    /// Of every partition, those too that are at the target already and are not read.
    reached: Positions,
    target: Positions,
}

impl Source {
    /// Reads and decodes the next batch; `None` at the target.
    async fn next(mut self, decoder: Decoder) -> Result<Option<(Self, Decoder, Batch, Decoded)>, WorkError> {
        let mut batch = Batch::default();
        while batch.records.len() < MOST_RECORDS && !self.reached.covers(&self.target) {
            match self.reader.next().await {
                Ok(Incoming::Records(mut next)) => {
                    self.reader.fill(&mut next, MOST_RECORDS - batch.records.len());
                    let next = below(taken::own(next), &self.target);
                    self.reached.merge(&next.reached);
                    batch.extend(next);
                }
                Ok(Incoming::Assigned(_) | Incoming::Revoked(_)) => {}
                Err(error @ LogError::Unavailable(_)) => tracing::warn!(%error, "a rebuild waits for the log"),
                Err(error) => return Err(error.into()),
            }
        }
        if batch.reached.is_empty() {
            return Ok(None);
        }
        let decoded = decoder.decode(&batch);
        Ok(Some((self, decoder, batch, decoded)))
    }
}

async fn digests(held: Comparand) -> Result<BTreeMap<String, TableDigest>, StoreError> {
    Ok(held.digests().await?.into_iter().map(|digest| (digest.table.clone(), digest)).collect())
}
