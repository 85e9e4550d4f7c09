//! Events a second of the comments projection, rebuilt and catching up, against reading and writing the same without
//! Balcony.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use balcony_domain::Topics;
use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::kafka::KafkaLog;
use balcony_event_log::{EventLog, Topic};
use balcony_projector::{Projection as _, Projector};
use balcony_read_models::Comments;
use balcony_store::{BuildOptions, Database, GenerationState, Reader};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rusqlite::TransactionBehavior;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::bench::Bench;
use crate::consumption::{Consumers, microseconds_each};
use crate::events;
use crate::process::Deployment;
use crate::report::{Line, Report, Section};
use crate::rows::{self, CopyBuffer, Row};
use crate::scratch::PARTITIONS;
use crate::{figures, memory};

/// Records in one transaction of the bare writers.
const BATCHES: [u32; 2] = [5_000, 20_000];
/// Batches that a bare writer may be behind its reader.
const BATCHES_AHEAD: usize = 2;
/// How long reading or writing everything may take at the most.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// How long the broker may be silent.
const POLL: Duration = Duration::from_secs(20);
/// How often Balcony is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What Balcony does with the log, a line for each.
const BALCONY: [&str; 3] =
    ["balcony, rebuilding: the copy", "balcony, rebuilding: until it is live", "balcony, catching up after a stop"];

/// What Balcony works on.
struct Installation<'a> {
    log: &'a Arc<dyn EventLog>,
    topics: &'a Topics,
    group: String,
    events: u32,
    consumers: &'a Consumers,
}

pub(crate) async fn run(bench: Bench<'_>, deployment: Deployment, report: &mut Report) -> anyhow::Result<()> {
    let section = match deployment {
        Deployment::Embedded => embedded(bench).await?,
        Deployment::Distributed => distributed(bench).await?,
    };
    report.add(section);
    Ok(())
}

// --- Kafka to PostgreSQL ---

async fn distributed(Bench { options, scratch, progress }: Bench<'_>) -> anyhow::Result<Section> {
    let (events, brokers) = (options.events(), scratch.brokers()?.to_owned());
    let topics = Topics::with_prefix(&scratch.prefix("projecting"));
    let topic = Topic { name: topics.facts.clone(), partitions: PARTITIONS, replication: 3, retention: None };
    let log: Arc<dyn EventLog> = Arc::new(KafkaLog::open(&brokers, &[topic]).await?);
    progress.step(format!("projecting, Kafka: appending {events} comments"));
    events::append(&log, &topics.facts, events).await?;
    let consumers = scratch.services().and("client", std::process::id());

    let mut section = Section::new(format!("projecting comments, Kafka to PostgreSQL, {events} events"), "events/s");
    section.lines.push(Line::new("consuming, payload only"));
    section.lines.push(Line::new("consuming, headers and JSON parsed"));
    for indexes in ["primary key", "all indexes"] {
        for batch in BATCHES {
            section.lines.push(Line::new(format!("consuming into COPY, batches of {batch}, {indexes}")));
        }
    }
    section.lines.push(Line::new(format!("consuming into COPY, batches of {}, indexes last", BATCHES[1])));
    let balcony = section.lines.len();
    section.lines.extend(BALCONY.map(Line::new));
    let bare_url = scratch.create_database("bare").await?;
    for round in 1..=options.rounds {
        let step =
            |what: &str| progress.step(format!("projecting, Kafka: round {round} of {}: {what}", options.rounds));
        for (place, line) in section.lines[..balcony].iter_mut().enumerate() {
            step(&line.what);
            if place >= 2 {
                prepare(&bare_url, matches!(place, 4 | 5)).await?;
            }
            consumers.rest_of_services().await?;
            let before = consumers.seconds();
            let started = Instant::now();
            let (brokers, topic) = (brokers.clone(), topics.facts.clone());
            match place {
                0 => {
                    let payload = |message: &BorrowedMessage<'_>| {
                        black_box(message.payload());
                        Ok(())
                    };
                    spawn_blocking(move || consume(&brokers, &topic, events, payload)).await??;
                }
                1 => {
                    let parsed = |message: &BorrowedMessage<'_>| parse(message).map(|row| drop(black_box(row)));
                    spawn_blocking(move || consume(&brokers, &topic, events, parsed)).await??;
                }
                6 => {
                    copy(&brokers, &topic, events, BATCHES[1], &bare_url).await?;
                    let mut connection = PgConnection::connect(&bare_url).await?;
                    sqlx::raw_sql(AssertSqlSafe(rows::indexes())).execute(&mut connection).await?;
                }
                _ => copy(&brokers, &topic, events, BATCHES[place % 2], &bare_url).await?,
            }
            line.figures.push(f64::from(events) / started.elapsed().as_secs_f64());
            line.processor(microseconds_each(&before, &consumers.seconds(), events.into()));
        }

        let name = format!("projecting{round}");
        let group = scratch.prefix(&name);
        let installation = Installation { log: &log, topics: &topics, group, events, consumers: &consumers };
        let lines = &mut section.lines[balcony..];
        for place in [Place::Rebuilding, Place::CatchingUp] {
            step(place.step());
            let url = scratch.create_database(&name).await?;
            let database = open(balcony_store::DatabasePlace::Postgres { url }).await?;
            consumers.rest_of_services().await?;
            installation.measure(place, database, lines).await?;
            scratch.drop_database(&name).await?;
        }
    }
    for limit in 0..balcony {
        section.compare(balcony, limit);
    }
    section.compare(balcony + 1, 6);
    for limit in [4, 5] {
        section.compare(balcony + 2, limit);
    }
    Ok(section)
}

/// Reads the whole topic.
fn consume(
    brokers: &str,
    topic: &str,
    events: u32,
    mut each: impl FnMut(&BorrowedMessage<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "balcony-bench")
        .set("enable.auto.commit", "false")
        // The default stops fetching for a second whenever the local queue is full.
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Offset(0))?;
    }
    consumer.assign(&partitions)?;
    for _ in 0..events {
        let message = consumer.poll(POLL).context("the broker is silent")??;
        each(&message)?;
    }
    Ok(())
}

fn parse<'a>(message: &'a BorrowedMessage<'_>) -> anyhow::Result<Row<'a>> {
    let headers = message.headers().context("a record without headers")?;
    let headers = headers.iter().filter_map(|header| Some((header.key, header.value?)));
    Row::parse(headers, message.payload().unwrap_or_default())?.context("a record that is no comment")
}

/// Makes the tables anew.
async fn prepare(url: &str, indexes: bool) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let sql = format!(
        "DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public; {}
         CREATE TABLE position (next_offset BIGINT NOT NULL); INSERT INTO position VALUES (0);",
        rows::schema(indexes)
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    Ok(())
}

/// Reads the whole topic into the table: a thread reads and parses while a connection writes, each batch in one
/// transaction with a position.
async fn copy(brokers: &str, topic: &str, events: u32, batch: u32, url: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    // As Balcony's projections write: the log is there to read again.
    sqlx::raw_sql("SET synchronous_commit = off").execute(&mut connection).await?;
    let (batches, mut received) = mpsc::channel::<(u32, Vec<u8>)>(BATCHES_AHEAD);
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    let reading = spawn_blocking(move || {
        let (mut buffer, mut read) = (CopyBuffer::new(), 0);
        consume(&brokers, &topic, events, |message| {
            buffer.push(&parse(message)?);
            read += 1;
            if read % batch == 0 || read == events {
                let full = std::mem::replace(&mut buffer, CopyBuffer::new());
                batches.blocking_send((read, full.finish())).context("the writer has ended")?;
            }
            Ok(())
        })
    });
    while let Some((read, rows)) = received.recv().await {
        let mut transaction = connection.begin().await?;
        sqlx::query("UPDATE position SET next_offset = $1").bind(i64::from(read)).execute(&mut *transaction).await?;
        let mut copy = transaction.copy_in_raw(rows::COPY).await?;
        copy.send(rows).await?;
        copy.finish().await?;
        transaction.commit().await?;
    }
    reading.await?
}

// --- the embedded log to SQLite ---

async fn embedded(Bench { options, scratch, progress }: Bench<'_>) -> anyhow::Result<Section> {
    let events = options.events();
    let topics = Topics::with_prefix("balcony.");
    let topic = Topic { name: topics.facts.clone(), partitions: 1, replication: 1, retention: None };
    let file = scratch.path("projecting.db");
    let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(&file, &[topic])?);
    progress.step(format!("projecting, embedded: appending {events} comments"));
    events::append(&log, &topics.facts, events).await?;
    let consumers = Consumers::default().and("client", std::process::id());

    let mut section = Section::new(format!("projecting comments, embedded log to SQLite, {events} events"), "events/s");
    let limits = [
        "reading the log's payloads",
        "inserting rows, primary key",
        "inserting rows, all indexes",
        "inserting rows, indexes last",
    ];
    section.lines.extend(limits.into_iter().chain(BALCONY).map(Line::new));
    let balcony = limits.len();
    for round in 1..=options.rounds {
        let step = |what: &str| {
            progress.step(format!("projecting, embedded: round {round} of {}: {what}", options.rounds));
        };
        for (place, line) in section.lines[..balcony].iter_mut().enumerate() {
            step(&line.what);
            let before = consumers.seconds();
            let started = Instant::now();
            let bare = scratch.path(&format!("bare{round}-{place}.db"));
            let file = file.clone();
            spawn_blocking(move || match place {
                0 => read(&file, events),
                1 => insert(&bare, events, Indexes::None),
                2 => insert(&bare, events, Indexes::Live),
                _ => insert(&bare, events, Indexes::Last),
            })
            .await??;
            line.figures.push(f64::from(events) / started.elapsed().as_secs_f64());
            line.processor(microseconds_each(&before, &consumers.seconds(), events.into()));
        }

        let group = format!("bench{round}.");
        let installation = Installation { log: &log, topics: &topics, group, events, consumers: &consumers };
        for place in [Place::Rebuilding, Place::CatchingUp] {
            step(place.step());
            let directory = scratch.path(&format!("read-models{round}"));
            let database = open(balcony_store::DatabasePlace::Sqlite { directory: directory.clone() }).await?;
            installation.measure(place, database, &mut section.lines[balcony..]).await?;
            std::fs::remove_dir_all(directory)?;
        }
    }
    for limit in 0..balcony {
        section.compare(balcony, limit);
    }
    section.compare(balcony + 1, 3);
    section.compare(balcony + 2, 2);
    Ok(section)
}

/// Reads every payload of the log in `file`.
fn read(file: &Path, events: u32) -> anyhow::Result<()> {
    let connection = rusqlite::Connection::open(file)?;
    let mut statement = connection.prepare("SELECT offset, headers, payload FROM records ORDER BY offset")?;
    let mut rows = statement.query([])?;
    let mut read = 0;
    while let Some(row) = rows.next()? {
        black_box((row.get_ref(1)?.as_blob()?, row.get_ref(2)?.as_blob()?));
        read += 1;
    }
    ensure!(read == events, "the log has {read} records");
    Ok(())
}

/// When the secondary indexes are made.
#[derive(PartialEq, Eq)]
enum Indexes {
    None,
    Live,
    Last,
}

/// Writes as many rows as the projection, with its durability.
fn insert(file: &Path, events: u32, indexes: Indexes) -> anyhow::Result<()> {
    let mut connection = rusqlite::Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.execute_batch(&rows::schema(indexes == Indexes::Live))?;
    connection.execute_batch("CREATE TABLE position (next_offset BIGINT NOT NULL); INSERT INTO position VALUES (0)")?;
    let body = events::body();
    for first in (0..events).step_by(BATCHES[0] as usize) {
        let next = events.min(first + BATCHES[0]);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut statement = transaction.prepare_cached(rows::INSERT)?;
            for index in first..next {
                let comment = events::comment(index, body.clone());
                Row::of(&comment).context("no comment")?.insert(&mut statement)?;
            }
        }
        transaction.execute("UPDATE position SET next_offset = ?1", [next])?;
        transaction.commit()?;
    }
    if indexes == Indexes::Last {
        connection.execute_batch(&rows::indexes())?;
    }
    Ok(())
}

// --- Balcony ---

/// What is measured in an empty database.
#[derive(Clone, Copy)]
enum Place {
    /// A generation is built beside one of as many rows.
    Rebuilding,
    /// A live generation is as far behind as the log is long.
    CatchingUp,
}

impl Place {
    fn step(self) -> &'static str {
        match self {
            Self::Rebuilding => "balcony rebuilds",
            Self::CatchingUp => "balcony catches up",
        }
    }
}

impl Installation<'_> {
    /// Measures one of both and notes it in the lines of [`BALCONY`].
    async fn measure(&self, place: Place, database: Database, lines: &mut [Line]) -> anyhow::Result<()> {
        let projection = Comments::new(self.topics);
        let model = projection.read_model().clone();
        if let Place::CatchingUp = place {
            database.live_or_new(projection.read_model()).await?;
        }
        let before = self.consumers.seconds();
        memory::forget_peak()?;
        let started = Instant::now();
        let mut projector = Projector::new(self.log.clone(), database.clone(), &*self.group);
        projector.start(projection);
        let note = |line: &mut Line, took: Duration| {
            line.figures.push(f64::from(self.events) / took.as_secs_f64());
            line.detail("ms in all", figures::milliseconds(took));
        };
        match place {
            Place::CatchingUp => {
                let reached = || projector.states()[0].events >= u64::from(self.events);
                until(async || Ok(reached())).await?;
                note(&mut lines[2], started.elapsed());
                lines[2].detail("peak MiB", memory::peak()?);
                lines[2].processor(microseconds_each(&before, &self.consumers.seconds(), self.events.into()));
            }
            Place::Rebuilding => {
                until(async || Ok(state_of(&database, 1).await? == Some(GenerationState::Live))).await?;
                self.consumers.rest_of_services().await?;
                let before = self.consumers.seconds();
                memory::forget_peak()?;
                let started = Instant::now();
                database.begin_build(&model, BuildOptions::default()).await?;
                let is_copied = |state| !matches!(state, Some(GenerationState::Copying));
                until(async || Ok(is_copied(state_of(&database, 2).await?))).await?;
                note(&mut lines[0], started.elapsed());
                lines[0].processor(microseconds_each(&before, &self.consumers.seconds(), self.events.into()));
                until(async || Ok(state_of(&database, 2).await? == Some(GenerationState::Live))).await?;
                note(&mut lines[1], started.elapsed());
                lines[1].detail("peak MiB", memory::peak()?);
                lines[1].processor(microseconds_each(&before, &self.consumers.seconds(), self.events.into()));
            }
        }
        projector.stop().await;

        let ends = self.log.ends(std::slice::from_ref(&self.topics.facts)).await?;
        let reached = Reader::open(&database, vec![model.clone()]).await.checkpoints(&model).await?;
        ensure!(reached.covers(&ends), "the checkpoints do not stand at the log's end");
        Ok(())
    }
}

async fn open(place: balcony_store::DatabasePlace) -> anyhow::Result<Database> {
    Ok(Database::open(&balcony_store::Settings { namespace: "balcony".parse()?, place }).await?)
}

async fn state_of(database: &Database, generation: i64) -> anyhow::Result<Option<GenerationState>> {
    let listed = database.generations(Some("comments")).await?;
    let listed = listed.into_iter().find(|listed| listed.generation.number == generation);
    if let Some(error) = listed.as_ref().and_then(|listed| listed.error.as_ref()) {
        bail!("generation {generation}: {error}");
    }
    Ok(listed.map(|listed| listed.state))
}

async fn until(mut is_so: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let started = Instant::now();
    while !is_so().await? {
        ensure!(started.elapsed() < PATIENCE, "it takes too long");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
