use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{Debug, Display, Formatter};
use std::sync::Arc;

use balcony_event_log::{Message, Record, TopicPartition};
use balcony_store::{Generation, ReadModel, Reader, Row};

use super::case::{Case, Ground, Losing, Make};
use super::contents::Contents;
use super::given::Given;
use super::schedule::Schedule;
use super::scratch::OpenScratch;
use super::shrink::{Fault, Shrinking};
use crate::projection::Projection;

/// A projection, and what stands in the log that it reads.
pub struct Scenario {
    make: Make,
    topics: Vec<Arc<str>>,
    partitions: i32,
    messages: Vec<(Arc<str>, Message)>,
    repeats: bool,
}

/// Read models to which a scenario was applied: on SQLite and, where `DATABASE_URL` is set, on PostgreSQL. They go when
/// this is dropped.
pub struct Applied {
    worlds: Vec<(OpenScratch, Generation)>,
    model: ReadModel,
}

/// What a scenario came to grief at.
pub struct Failure(String);

const PARTITIONS: i32 = 3;

impl Scenario {
    /// A scenario for the projection that `make` gives. It is made anew for every worker and after every restart, as
    /// in a process that starts.
    pub fn of<P: Projection>(make: impl Fn() -> P + Send + Sync + 'static) -> Self {
        let topics = make().read_model().topics.clone();
        let make: Make = Arc::new(move |loses| Losing { projection: make(), loses }.into());
        Self { make, topics, partitions: PARTITIONS, messages: Vec::new(), repeats: false }
    }

    /// Each topic has so many partitions, if not three.
    #[must_use]
    pub fn partitions(mut self, number: i32) -> Self {
        assert!(number > 0, "a topic has one partition or more");
        self.partitions = number;
        self
    }

    /// Appends to the projection's topic, or the first of several.
    ///
    /// # Panics
    /// When the projection reads no topic.
    #[must_use]
    pub fn given<G: Given>(self, events: impl IntoIterator<Item = G>) -> Self {
        let topic = self.topics.first().expect("the projection reads a topic").clone();
        self.given_in(&topic, events)
    }

    /// Appends to `topic`, one of those that the projection reads.
    ///
    /// # Panics
    /// When the projection does not read it.
    #[must_use]
    pub fn given_in<G: Given>(mut self, topic: &str, events: impl IntoIterator<Item = G>) -> Self {
        let known = self.topics.iter().find(|known| known.as_ref() == topic);
        let topic = known.unwrap_or_else(|| panic!("the projection does not read {topic}")).clone();
        for event in events {
            let message = event.message(self.messages.len());
            self.messages.push((topic.clone(), message));
        }
        self
    }

    /// Some records stand in the log a second time at any later place, as when a producer or a copy of the log repeats
    /// them. Under every schedule they must change nothing.
    #[must_use]
    pub fn with_repetitions(mut self) -> Self {
        self.repeats = true;
        self
    }

    /// Applies everything under the plainest schedule, one event at a time in the order given, and then under
    /// `schedules` others.
    ///
    /// # Panics
    /// With the [`Failure`] where an event cannot be decoded or applied, or where not every schedule leaves the same
    /// rows.
    pub async fn every_schedule(self, schedules: u64) -> Applied {
        match self.try_every_schedule(schedules).await {
            Ok(applied) => applied,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// As [`Scenario::every_schedule`].
    ///
    /// # Errors
    /// The [`Failure`].
    pub async fn try_every_schedule(self, schedules: u64) -> Result<Applied, Failure> {
        let repeats = self.repeats;
        let case = self.case();
        let scratches = OpenScratch::of_each_kind().await.map_err(|error| Failure(error.to_string()))?;
        let model = case.model();
        let mut worlds = Vec::new();
        for scratch in scratches {
            let checked = async {
                let generation = check(&case, &scratch, schedules).await?;
                if repeats {
                    check_repetitions(&case.repeating(0), &scratch, schedules).await?;
                }
                Ok(generation)
            };
            let generation = checked.await.map_err(|reason: String| {
                Failure(format!("the projection {} on {}: {reason}", model.name, scratch.kind()))
            })?;
            worlds.push((scratch, generation));
        }
        Ok(Applied { worlds, model })
    }

    /// Gives each record its place: keys take turns at the partitions, and so do records without a key. Offsets have
    /// holes, as in any log.
    fn case(self) -> Case {
        let mut partitions = Vec::new();
        for topic in &self.topics {
            partitions.extend((0..self.partitions).map(|number| TopicPartition::new(topic.clone(), number)));
        }
        let mut ends: HashMap<TopicPartition, i64> = HashMap::new();
        let mut turns: HashMap<Arc<str>, i32> = HashMap::new();
        let mut homes: HashMap<(Arc<str>, Vec<u8>), i32> = HashMap::new();
        let mut records = Vec::with_capacity(self.messages.len());
        for (topic, Message { key, headers, payload }) in self.messages {
            let turn = turns.entry(topic.clone()).or_default();
            let mut next = || {
                *turn += 1;
                (*turn - 1) % self.partitions
            };
            let number =
                if key.is_empty() { next() } else { *homes.entry((topic.clone(), key.clone())).or_insert_with(next) };
            let partition = TopicPartition::new(topic, number);
            let end = ends.entry(partition.clone()).or_default();
            let offset = *end;
            *end += if offset % 5 == 2 { 2 } else { 1 };
            records.push(Record { partition, offset, timestamp: 0, key, headers, payload });
        }
        Case { make: self.make, partitions, records, repeats: BTreeMap::new() }
    }
}

/// Makes a live generation under the plainest schedule and compares what comes of the others with it.
async fn check(case: &Case, scratch: &OpenScratch, schedules: u64) -> Result<Generation, String> {
    let of = case.partition_of_each();
    let database = &scratch.database;
    let generation = database.live_or_new(&case.model()).await.map_err(|error| error.to_string())?;
    let plainest = Schedule::plainest(&of);
    let ground = Ground::new(scratch, generation.clone());
    case.apply(&ground, &plainest).await.map_err(|error| format!("one event at a time, {error}"))?;
    compare(case, scratch, schedules, &ground.contents().await?).await?;
    Ok(generation)
}

/// Compares what comes of a log in which records are repeated with what comes of it without the repetitions.
async fn check_repetitions(case: &Case, scratch: &OpenScratch, schedules: u64) -> Result<(), String> {
    let once = Schedule::plainest(&case.partition_of_each()).without(&case.without_effect(&BTreeSet::new()));
    let expected = case.outcome(scratch, &once).await?;
    compare(case, scratch, schedules, &expected).await
}

/// Compares what comes of drawn schedules with what is expected.
async fn compare(case: &Case, scratch: &OpenScratch, schedules: u64, expected: &Contents) -> Result<(), String> {
    let of = case.partition_of_each();
    for seed in 0..schedules {
        let schedule = Schedule::drawn(seed, &of);
        let fault = match case.outcome(scratch, &schedule).await {
            Err(error) => Fault::Refused(error),
            Ok(found) => match expected.difference(&found) {
                Some(difference) => Fault::Differs(difference),
                None => continue,
            },
        };
        let (schedule, fault) = Shrinking::new(case, scratch, schedule, fault).run().await;
        let shown = case.show(&schedule);
        let once = if case.repeats.is_empty() { "" } else { " and none twice" };
        return Err(match fault {
            Fault::Refused(error) => format!("schedule {seed} fails: {error}\n\n{shown}"),
            Fault::Differs(rows) => format!(
                "schedule {seed} leaves other rows than one event at a time{once}:\n\n{shown}\n- one event at a time{once}, + \
                 under this schedule\n{rows}"
            ),
        });
    }
    Ok(())
}

impl Applied {
    /// The rows that a query gives, which has to say their order; the same on every database.
    ///
    /// # Panics
    /// When the query is refused, or the databases give different rows.
    pub async fn rows<R: Row + PartialEq + Debug>(&self, sql: &str) -> Vec<R> {
        let mut first: Option<Vec<R>> = None;
        for (reader, (scratch, _)) in self.readers().await.iter().zip(&self.worlds) {
            let rows = reader.fetch(sql.to_owned(), &[]).await;
            let rows = rows.unwrap_or_else(|error| panic!("{} on {}: {error}", self.model.name, scratch.kind()));
            match &first {
                None => first = Some(rows),
                Some(first) => assert_eq!(*first, rows, "SQLite and {} differ", scratch.kind()),
            }
        }
        first.unwrap_or_default()
    }

    /// Compares the rows that a query gives, which has to say their order, with those that are expected.
    ///
    /// # Panics
    /// When they differ, or as [`Applied::rows`].
    pub async fn expect_rows<R: Row + PartialEq + Debug>(&self, sql: &str, expected: impl AsRef<[R]>) {
        let found = self.rows::<R>(sql).await;
        assert_eq!(found, expected.as_ref(), "{}: found, expected; {sql}", self.model.name);
    }

    /// A reader of each read model, such as queries are given.
    pub async fn readers(&self) -> Vec<Reader> {
        let mut readers = Vec::new();
        for (scratch, _) in &self.worlds {
            readers.push(Reader::open(&scratch.database, vec![self.model.clone()]).await);
        }
        readers
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// As it reads, so that `unwrap` shows it well.
impl Debug for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}
