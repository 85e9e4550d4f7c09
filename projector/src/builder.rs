use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{Batch, Delivery, EventLog, LogError, Positions, Reader, TopicPartition};
use balcony_store::{Database, Generation, GenerationState, ListedGeneration, StoreError, TableDigest, Tx, Writer};

use tokio::sync::watch;

use crate::AnyProjection;
use crate::applier::{Applier, Decoder, OnFailure};
use crate::batch::{Decoded, below};
use crate::keeper::supervise;
use crate::observer::Observer;
use crate::worker::WorkerError;

/// The most records in one transaction of a copy: rows that many of them change, such as counts, are written once
/// for all, while two batches of large comments still fit into some hundred megabytes.
const MOST_RECORDS: usize = 60_000;
/// How many records behind a copy is ended and the rest is left to following, which readers do not wait for.
const NEARLY_THERE: i64 = 10_000;
/// How often it is looked whether another process still builds, and how far the workers have come.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Builds `generation`, which was asked for by [`Database::begin_build`], and switches to it, as a running projector
/// does: once nobody else builds it, from where they left it. How it ended is noted with the generation.
pub async fn build(projection: AnyProjection, log: Arc<dyn EventLog>, database: Database, generation: Generation) {
    let observer = Observer::new(projection.name(), generation.number);
    let (_stop, stopped) = watch::channel(false);
    let builder =
        |_| Builder::new(projection.clone(), log.clone(), database.clone(), generation.clone(), observer.clone()).run();
    supervise(builder, observer.clone(), stopped).await;
}

/// Builds one generation from the beginning of the log and switches to it.
pub(crate) struct Builder {
    projection: AnyProjection,
    log: Arc<dyn EventLog>,
    database: Database,
    generation: Generation,
    /// To look at the generation with.
    own: Writer,
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
        let own = database.writer(&generation);
        Self { projection, log, database, generation, own, observer }
    }

    /// Does what is left to do, once nobody else does. What failed for good is noted with the generation; everything
    /// else may be tried again, and goes on where this ended.
    pub(crate) async fn run(self) -> Result<(), WorkerError> {
        let _lease = loop {
            match self.database.lease(&self.generation.projection).await? {
                Some(lease) => break lease,
                None => tokio::time::sleep(LOOK_EVERY * 10).await,
            }
        };
        match self.build().await {
            Err(error) if !error.may_pass() => {
                self.database.build_failed(&self.generation, &error.to_string()).await?;
                Err(error)
            }
            done => done,
        }
    }

    async fn build(&self) -> Result<(), WorkerError> {
        let Some(listed) = self.listed().await? else { return Ok(()) };
        if listed.state != GenerationState::Following {
            let on_failure = if listed.options.park_failures { OnFailure::Park } else { OnFailure::Stop };
            self.copy_and_verify(on_failure, listed.options.allow_differences).await?;
        }
        self.follow_and_switch().await
    }

    /// This generation as it is listed now, unless it is not to be built any more.
    async fn listed(&self) -> Result<Option<ListedGeneration>, StoreError> {
        let listed = self.database.generations(Some(&self.generation.projection)).await?;
        let own = |listed: &ListedGeneration| listed.generation == self.generation && listed.state.is_unfinished();
        Ok(listed.into_iter().find(own).filter(|listed| listed.state != GenerationState::Failed))
    }

    async fn live(&self) -> Result<Option<Generation>, StoreError> {
        let listed = self.database.generations(Some(&self.generation.projection)).await?;
        let live = listed.into_iter().find(|listed| listed.state == GenerationState::Live);
        Ok(live.map(|live| live.generation))
    }

    /// The live generation if it is of the same version, so that both hold the same at the same positions.
    fn comparable<'g>(&self, live: Option<&'g Generation>) -> Option<&'g Generation> {
        live.filter(|live| live.version == self.generation.version)
    }

    async fn copy_and_verify(&self, on_failure: OnFailure, allow_differences: bool) -> Result<(), WorkerError> {
        let live = self.live().await?;
        let comparable = self.comparable(live.as_ref());
        self.database.build_stands_at(&self.generation, GenerationState::Copying).await?;
        let mut applier = Applier::new(
            self.projection.clone(),
            &self.database,
            self.generation.clone(),
            on_failure,
            self.observer.clone(),
        );
        let partitions: Vec<TopicPartition> =
            self.log.ends(self.projection.topics()).await?.partitions().cloned().collect();
        applier.claim(&partitions).await?;
        loop {
            // What is compared must not come further than what it is compared with.
            let target = match comparable {
                Some(live) => self.database.writer(live).snapshot().await?.checkpoints().await?,
                None => self.log.ends(self.projection.topics()).await?,
            };
            let target = among(target, &partitions);
            let behind = distance(&applier.positions(), &target);
            applier = self.copy_to(applier, target, live.as_ref()).await?;
            if behind <= NEARLY_THERE {
                break;
            }
        }

        self.database.build_stands_at(&self.generation, GenerationState::Indexing).await?;
        self.database.make_indexes(&self.generation, &self.projection.read_model()).await?;
        if let Some(live) = comparable {
            self.database.build_stands_at(&self.generation, GenerationState::Verifying).await?;
            let differences = self.compare(applier, live, &partitions).await?;
            if !differences.is_empty() && !allow_differences {
                return Err(WorkerError::Differs(format!(
                    "generation {} differs from the live generation {} at the same positions: {}; the log is what \
                     counts: rebuild with --allow-differences to switch to the new one, or with --cancel to give up",
                    self.generation.number,
                    live.number,
                    differences.join(", ")
                )));
            }
        }
        self.database.build_stands_at(&self.generation, GenerationState::Following).await?;
        Ok(())
    }

    /// Comes to where the live generation stands, and says in what the two differ there.
    async fn compare(
        &self,
        applier: Applier,
        live: &Generation,
        partitions: &[TopicPartition],
    ) -> Result<Vec<String>, WorkerError> {
        let mut snapshot = self.database.writer(live).snapshot().await?;
        let target = among(snapshot.checkpoints().await?, partitions);
        let applier = self.copy_to(applier, target, Some(live)).await?;
        let mut own = self.own.snapshot().await?;
        drop(applier);
        let (expected, found) = tokio::try_join!(digests(&mut snapshot), digests(&mut own))?;
        Ok(expected
            .iter()
            .filter(|(table, digest)| found.get(*table) != Some(digest))
            .map(|(table, live)| match found.get(table) {
                Some(new) if new.rows != live.rows => {
                    format!("{table} has {} rows here and {} there", new.rows, live.rows)
                }
                Some(_) => format!("{table} has other keys, of as many rows"),
                None => format!("{table} is there alone"),
            })
            .collect())
    }

    /// Applies everything below `target`: one batch is written while the next is read and decoded.
    async fn copy_to(
        &self,
        mut applier: Applier,
        target: Positions,
        live: Option<&Generation>,
    ) -> Result<Applier, WorkerError> {
        let from = unreached(&applier.positions(), &target);
        if from.is_empty() {
            return Ok(applier);
        }
        if let Some(live) = live {
            let mut set_aside = self.database.writer(live).snapshot().await?.parked().await?;
            set_aside.retain(|record| record.offset < target.next_offset(&record.partition));
            applier.pass_over(&set_aside).await?;
        }
        // A log that is read beside its process learns only now how far it reaches: at least to the target.
        self.log.ends(self.projection.topics()).await?;
        let source = Source { reader: self.log.read(from), reached: applier.positions(), target };
        let mut coming = tokio::spawn(source.next(applier.decoder()));
        loop {
            let next = (&mut coming).await.map_err(|_| WorkerError::Panicked)??;
            let Some((source, decoder, batch, decoded)) = next else { return Ok(applier) };
            let decoded = if decoder.is_current(&applier) { decoded } else { applier.decoder().decode(&batch) };
            coming = tokio::spawn(source.next(applier.decoder()));
            if let Err(error) = applier.apply_decoded(batch, decoded).await {
                coming.abort();
                return Err(error);
            }
        }
    }

    /// Workers follow the log with this generation by now, in every process. When they are where the live one is, it
    /// is switched to.
    async fn follow_and_switch(&self) -> Result<(), WorkerError> {
        let live = self.live().await?;
        let live_writer = self.comparable(live.as_ref()).map(|live| self.database.writer(live));
        loop {
            let target = match &live_writer {
                Some(live) => live.snapshot().await?.checkpoints().await?,
                None => self.log.ends(self.projection.topics()).await?,
            };
            if live.is_none() || distance(&self.reached().await?, &target) <= NEARLY_THERE {
                let switched = self.database.switch(&self.generation, async |live| self.wait_for(live).await).await;
                match switched {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    // Cancelled, or switched by another process.
                    Err(StoreError::Fenced(_)) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
            if self.listed().await?.is_none() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn reached(&self) -> Result<Positions, StoreError> {
        self.own.snapshot().await?.checkpoints().await
    }

    /// Waits until the workers have brought this generation as far as `live`.
    async fn wait_for(&self, live: &Positions) -> bool {
        let progress = self.database.progress();
        let mut ticks = progress.ticks();
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
    async fn next(mut self, decoder: Decoder) -> Result<Option<(Self, Decoder, Batch, Decoded)>, WorkerError> {
        let mut batch = Batch::default();
        while batch.records.len() < MOST_RECORDS && !self.reached.covers(&self.target) {
            match self.reader.next().await {
                Ok(Delivery::Records(mut next)) => {
                    self.reader.fill(&mut next, MOST_RECORDS - batch.records.len());
                    let next = below(next, &self.target);
                    self.reached.merge(&next.reached);
                    batch.extend(next);
                }
                Ok(Delivery::Assigned(_) | Delivery::Revoked(_)) => {}
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

async fn digests(tx: &mut Tx) -> Result<BTreeMap<String, TableDigest>, StoreError> {
    Ok(tx.digests().await?.into_iter().map(|digest| (digest.table.clone(), digest)).collect())
}

/// `positions` of these partitions, each named.
fn among(positions: Positions, partitions: &[TopicPartition]) -> Positions {
    partitions.iter().map(|partition| (partition.clone(), positions.next_offset(partition))).collect()
}

/// Of the partitions of `target` those that are not there yet, from where they are read on.
fn unreached(reached: &Positions, target: &Positions) -> Positions {
    let behind = target.into_iter().filter(|(partition, next)| reached.next_offset(partition) < *next);
    behind.map(|(partition, _)| (partition.clone(), reached.next_offset(partition))).collect()
}

/// How many offsets `reached` is behind `target`.
fn distance(reached: &Positions, target: &Positions) -> i64 {
    target.into_iter().map(|(partition, next)| (next - reached.next_offset(partition)).max(0)).sum()
}
