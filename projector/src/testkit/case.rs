use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use balcony_event_log::{Positions, Record, TopicPartition};
use balcony_store::{BuildOptions, Generation, ReadModel, StoreError, Tx, Writer};

use super::contents::Contents;
use super::schedule::{self, Schedule, Step};
use super::scratch::OpenScratch;
use crate::applier::{Applier, OnFailure};
use crate::error::WorkError;
use crate::observer::Observer;
use crate::projection::{AnyProjection, Projection};
use crate::received::Received;
use crate::rows::Rows;
use crate::taken::{Batch, Taken};

/// A projection and a log for it.
pub(super) struct Case {
    pub(super) make: Make,
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) records: Vec<Record>,
    /// The records that repeat an earlier one, and which.
    pub(super) repeats: BTreeMap<usize, usize>,
}

/// Makes the projection as a starting process does. It fails after applying while it is told to.
pub(super) type Make = Arc<dyn Fn(Arc<AtomicBool>) -> AnyProjection + Send + Sync>;

/// A projection whose transactions can be lost before they are committed.
pub(super) struct Losing<P> {
    pub(super) projection: P,
    pub(super) loses: Arc<AtomicBool>,
}

/// A generation, and the connections that all who write it share: making new ones would take most of the time.
pub(super) struct Ground<'s> {
    scratch: &'s OpenScratch,
    generation: Generation,
    writer: Writer,
}

/// A process that works on the projection, as the schedule has it.
struct Hand {
    applier: Applier<Rows>,
    observer: Observer,
    loses: Arc<AtomicBool>,
    partitions: Vec<TopicPartition>,
}

/// What a payload is shortened to when it is printed.
const SHOWN: usize = 160;

impl Case {
    pub(super) fn model(&self) -> ReadModel {
        (self.make)(Arc::default()).read_model().clone()
    }

    /// The partition of each record, by its number.
    pub(super) fn partition_of_each(&self) -> Vec<usize> {
        let number = |record: &Record| self.partitions.iter().position(|partition| *partition == record.partition);
        self.records.iter().map(|record| number(record).expect("every record has its partition")).collect()
    }

    /// What a generation of its own holds after `schedule`.
    pub(super) async fn outcome(&self, scratch: &OpenScratch, schedule: &Schedule) -> Result<Contents, String> {
        let (database, model) = (&scratch.database, self.model());
        let generation = database.begin_build(&model, BuildOptions::default()).await.map_err(text)?;
        let contents = self.build(&Ground::new(scratch, generation), schedule).await;
        database.cancel_build(&model.name, model.version).await.map_err(text)?;
        contents
    }

    async fn build(&self, ground: &Ground<'_>, schedule: &Schedule) -> Result<Contents, String> {
        let (database, model) = (&ground.scratch.database, self.model());
        if !schedule.indexes_last {
            database.make_indexes(&ground.generation, &model).await.map_err(text)?;
        }
        self.apply(ground, schedule).await?;
        if schedule.indexes_last {
            database.make_indexes(&ground.generation, &model).await.map_err(text)?;
        }
        ground.contents().await
    }

    /// Brings a generation to the end of the log.
    pub(super) async fn apply(&self, ground: &Ground<'_>, schedule: &Schedule) -> Result<(), String> {
        let mut workers: Vec<Hand> = Vec::new();
        for step in &schedule.steps {
            match step {
                Step::Start(shares) => {
                    workers.clear();
                    for share in shares {
                        let partitions = share.iter().map(|&number| self.partitions[number].clone()).collect();
                        workers.push(self.start(ground, partitions).await?);
                    }
                }
                Step::Apply(batch) => self.commit(&mut workers[batch.worker], batch).await?,
                Step::AtOnce([one, other]) if ground.scratch.writes_at_once() => {
                    let both = workers.get_disjoint_mut([one.worker, other.worker]);
                    let [first, second] = both.map_err(|_| "a worker is at two batches at once")?;
                    let (one, other) = tokio::join!(self.commit(first, one), self.commit(second, other));
                    one.and(other)?;
                }
                Step::AtOnce(batches) => {
                    for batch in batches {
                        self.commit(&mut workers[batch.worker], batch).await?;
                    }
                }
                Step::Fail(batch) => self.lose(&mut workers[batch.worker], batch).await?,
                Step::Die(batch) => {
                    let worker = &mut workers[batch.worker];
                    self.lose(worker, batch).await?;
                    let partitions = std::mem::take(&mut worker.partitions);
                    *worker = self.start(ground, partitions).await?;
                }
            }
        }
        Ok(())
    }

    async fn start(&self, ground: &Ground<'_>, partitions: Vec<TopicPartition>) -> Result<Hand, String> {
        let loses = Arc::new(AtomicBool::new(false));
        let projection = (self.make)(loses.clone());
        let (database, generation) = (&ground.scratch.database, ground.generation.clone());
        let observer = Observer::new(database.namespace(), projection.name(), generation.number);
        let rows = Rows::over(ground.writer.clone(), projection.clone(), database, generation);
        let name = projection.name().clone();
        let mut applier = Applier::new(Arc::new(projection), rows, name, OnFailure::Stop, observer.clone());
        applier.claim(&partitions).await.map_err(text)?;
        Ok(Hand { applier, observer, loses, partitions })
    }

    async fn commit(&self, worker: &mut Hand, batch: &schedule::Batch) -> Result<(), String> {
        worker.applier.apply(self.batch(worker, batch)).await.map_err(refusal)?;
        match worker.observer.last_error() {
            Some(error) if error.contains("deadlock") => {
                Err(format!("workers lock each other out, so they do not touch their keys in one order: {error}"))
            }
            _ => Ok(()),
        }
    }

    /// Applies without a commit. A batch in which the projection finds nothing to apply is committed all the same.
    async fn lose(&self, worker: &mut Hand, batch: &schedule::Batch) -> Result<(), String> {
        worker.loses.store(true, Ordering::Relaxed);
        let lost = worker.applier.apply(self.batch(worker, batch)).await;
        worker.loses.store(false, Ordering::Relaxed);
        match lost {
            Ok(()) | Err(WorkError::Store(StoreError::Fenced(_))) => Ok(()),
            Err(error) => Err(refusal(error)),
        }
    }

    fn batch(&self, worker: &Hand, batch: &schedule::Batch) -> Batch {
        let committed = worker.applier.positions();
        let records = batch.records.iter().map(|&number| &self.records[number]);
        let records = records.filter(|record| record.offset >= committed.next_offset(&record.partition));
        let records: Vec<_> = records.cloned().map(Taken::Own).collect();
        let reached = records.iter().map(|record| (record.partition.clone(), record.offset + 1));
        Batch { reached: reached.collect::<Positions>(), records }
    }

    /// What is printed of a failure: the steps, and the records in them.
    pub(super) fn show(&self, schedule: &Schedule) -> String {
        let mut text = String::new();
        let mut line = |indent: &str, of: String| {
            writeln!(text, "{indent}{of}").expect("writing to a String does not fail");
        };
        line("", format!("secondary indexes are made {}", if schedule.indexes_last { "last" } else { "first" }));
        for step in &schedule.steps {
            match step {
                Step::Start(shares) => {
                    let holds = |(worker, share): (usize, &Vec<usize>)| {
                        let names: Vec<String> = share.iter().map(|&number| self.name(number)).collect();
                        format!("worker {worker} begins with {}", names.join(" "))
                    };
                    line("", shares.iter().enumerate().map(holds).collect::<Vec<_>>().join(", "));
                }
                Step::Apply(batch) => line("  ", self.show_batch(batch)),
                Step::AtOnce([one, other]) => {
                    line("  ", format!("{}, at once with {}", self.show_batch(one), self.show_batch(other)));
                }
                Step::Fail(batch) => {
                    line("  ", format!("{}, is refused the commit and tries again", self.show_batch(batch)));
                }
                Step::Die(batch) => {
                    line("  ", format!("{}, dies before the commit and is replaced", self.show_batch(batch)));
                }
            }
        }
        line("", "the log:".into());
        let mut numbers: Vec<usize> =
            schedule.steps.iter().flat_map(Step::batches).flat_map(|b| b.records.clone()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let Record { key, payload, .. } = &self.records[number];
            let shown: String = String::from_utf8_lossy(payload).chars().take(SHOWN).collect();
            let again = match self.repeats.get(&number) {
                Some(first) => format!("  (again {})", self.position(*first)),
                None => String::new(),
            };
            line("  ", format!("{}  {}  {shown}{again}", self.position(number), String::from_utf8_lossy(key)));
        }
        text
    }

    fn show_batch(&self, batch: &schedule::Batch) -> String {
        let positions: Vec<String> = batch.records.iter().map(|&number| self.position(number)).collect();
        format!("{} applies {}", batch.worker, positions.join(" "))
    }

    fn position(&self, number: usize) -> String {
        let record = &self.records[number];
        let partition = self.partitions.iter().position(|partition| *partition == record.partition);
        format!("{}:{}", self.name(partition.unwrap_or_default()), record.offset)
    }

    /// The partition's number, with its topic where there are several.
    fn name(&self, number: usize) -> String {
        let TopicPartition { topic, partition } = &self.partitions[number];
        let several = self.partitions.iter().any(|other| other.topic != *topic);
        if several { format!("{topic}/{partition}") } else { partition.to_string() }
    }
}

impl<'s> Ground<'s> {
    pub(super) fn new(scratch: &'s OpenScratch, generation: Generation) -> Self {
        let writer = scratch.database.writer(&generation);
        Self { scratch, generation, writer }
    }

    /// What the generation holds now.
    pub(super) async fn contents(&self) -> Result<Contents, String> {
        let read = async {
            let mut tx = self.writer.snapshot().await?;
            Ok(Contents::new(tx.contents().await?))
        };
        read.await.map_err(|error: StoreError| error.to_string())
    }
}

impl<P: Projection> Projection for Losing<P> {
    type Event = P::Event;

    fn read_model(&self) -> &ReadModel {
        self.projection.read_model()
    }

    fn wants(&self, record: &Record) -> bool {
        self.projection.wants(record)
    }

    async fn apply(&self, events: &[Received<P::Event>], tx: &mut Tx) -> Result<(), StoreError> {
        self.projection.apply(events, tx).await?;
        if self.loses.load(Ordering::Relaxed) {
            return Err(StoreError::Fenced("it, as the schedule says".into()));
        }
        Ok(())
    }
}

/// What is wrong, without advice for operators.
fn refusal(error: WorkError) -> String {
    match error {
        WorkError::Unapplicable { partition: TopicPartition { topic, partition }, offset, error } => {
            format!("{topic}/{partition} offset {offset} cannot be applied: {error}")
        }
        error => error.to_string(),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
