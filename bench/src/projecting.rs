//! Events a second of the comments projection from zero, against reading and writing the same without Balcony.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use balcony_domain::Topics;
use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::kafka::KafkaLog;
use balcony_event_log::{EventLog, Topic};
use balcony_projector::Projector;
use balcony_projector::projections::Comments;
use balcony_store::{Database, Reader};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rusqlite::TransactionBehavior;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::consumption::{Consumers, microseconds_each};
use crate::events;
use crate::process::Deployment;
use crate::progress::Progress;
use crate::report::{Line, Report, Section};
use crate::rows::{self, CopyBuffer, Row};
use crate::scratch::{PARTITIONS, Scratch};
use crate::{Options, figures};

/// Records in one transaction of the bare writers.
const BATCHES: [u32; 2] = [5_000, 20_000];
/// Batches that a bare writer may be behind its reader.
const BATCHES_AHEAD: usize = 2;
/// How long reading or writing everything may take at the most.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// How long the broker may be silent.
const POLL: Duration = Duration::from_secs(20);
/// How often the projection is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long a projection took from its start to its end, and how long after its first batch, with the events left then.
struct Projected {
    took: Duration,
    running: Duration,
    running_events: u64,
}

pub(crate) async fn run(
    deployment: Deployment,
    options: &Options,
    scratch: &Scratch,
    progress: &Progress,
    report: &mut Report,
) -> anyhow::Result<()> {
    let section = match deployment {
        Deployment::Embedded => embedded(options, scratch, progress).await?,
        Deployment::Distributed => distributed(options, scratch, progress).await?,
    };
    report.add(section);
    Ok(())
}

// --- Kafka to PostgreSQL ---

async fn distributed(options: &Options, scratch: &Scratch, progress: &Progress) -> anyhow::Result<Section> {
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
    section.lines.push(Line::new("balcony's projection, with its start"));
    section.lines.push(Line::new("balcony's projection, once running"));
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

        step("balcony's projection");
        let name = format!("projecting{round}");
        let url = scratch.create_database(&name).await?;
        let database = Database::open(&balcony_store::Settings::Postgres { url }).await?;
        consumers.rest_of_services().await?;
        let group = scratch.prefix(&name);
        let lines = &mut section.lines[balcony..];
        measure(log.clone(), database, &topics, &group, events, lines, &consumers).await?;
        scratch.drop_database(&name).await?;
    }
    for limit in 0..balcony {
        section.compare(balcony, limit);
    }
    for limit in 2..balcony {
        section.compare(balcony + 1, limit);
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

async fn embedded(options: &Options, scratch: &Scratch, progress: &Progress) -> anyhow::Result<Section> {
    let events = options.events();
    let topics = Topics::with_prefix("balcony.");
    let topic = Topic { name: topics.facts.clone(), partitions: 1, replication: 1, retention: None };
    let file = scratch.path("projecting.db");
    let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(&file, &[topic])?);
    progress.step(format!("projecting, embedded: appending {events} comments"));
    events::append(&log, &topics.facts, events).await?;
    let consumers = Consumers::default().and("client", std::process::id());

    let mut section = Section::new(format!("projecting comments, embedded log to SQLite, {events} events"), "events/s");
    section.lines = [
        "reading the log's payloads",
        "inserting rows, primary key",
        "inserting rows, all indexes",
        "balcony's projection, with its start",
        "balcony's projection, once running",
    ]
    .map(Line::new)
    .into();
    for round in 1..=options.rounds {
        let step = |what: &str| {
            progress.step(format!("projecting, embedded: round {round} of {}: {what}", options.rounds));
        };
        for (place, line) in section.lines[..3].iter_mut().enumerate() {
            step(&line.what);
            let before = consumers.seconds();
            let started = Instant::now();
            let bare = scratch.path(&format!("bare{round}-{place}.db"));
            let file = file.clone();
            spawn_blocking(move || if place == 0 { read(&file, events) } else { insert(&bare, events, place == 2) })
                .await??;
            line.figures.push(f64::from(events) / started.elapsed().as_secs_f64());
            line.processor(microseconds_each(&before, &consumers.seconds(), events.into()));
        }

        step("balcony's projection");
        let directory = scratch.path(&format!("read-models{round}"));
        let database = Database::open(&balcony_store::Settings::Sqlite { directory: directory.clone() }).await?;
        let group = format!("bench{round}.");
        measure(log.clone(), database, &topics, &group, events, &mut section.lines[3..], &consumers).await?;
        std::fs::remove_dir_all(directory)?;
    }
    for limit in 0..3 {
        section.compare(3, limit);
    }
    section.compare(4, 2);
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

/// Writes as many rows as the projection, with its durability.
fn insert(file: &Path, events: u32, indexes: bool) -> anyhow::Result<()> {
    let mut connection = rusqlite::Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.execute_batch(&rows::schema(indexes))?;
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
    Ok(())
}

// --- Balcony ---

/// Runs the comments projection into an empty database and notes it in two lines: with its start, and once running.
async fn measure(
    log: Arc<dyn EventLog>,
    database: Database,
    topics: &Topics,
    group: &str,
    events: u32,
    lines: &mut [Line],
    consumers: &Consumers,
) -> anyhow::Result<()> {
    let before = consumers.seconds();
    let projected = project(log.clone(), database.clone(), topics, group, events.into()).await?;
    lines[0].figures.push(f64::from(events) / projected.took.as_secs_f64());
    lines[0].processor(microseconds_each(&before, &consumers.seconds(), events.into()));
    lines[1].figures.push(projected.running_events as f64 / projected.running.as_secs_f64());
    lines[0].detail("start ms", figures::milliseconds(projected.took.saturating_sub(projected.running)));

    let ends = log.ends(std::slice::from_ref(&topics.facts)).await?;
    let reached = Reader::open(&database, &["comments"]).await.checkpoints("comments").await?;
    ensure!(reached.covers(&ends), "the checkpoints do not stand at the log's end");
    Ok(())
}

async fn project(
    log: Arc<dyn EventLog>,
    database: Database,
    topics: &Topics,
    group: &str,
    events: u64,
) -> anyhow::Result<Projected> {
    let started = Instant::now();
    let mut projector = Projector::new(log, database, group);
    projector.start(Comments::new(topics));
    let mut first = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let state = &projector.states()[0];
        if state.events > 0 && first.is_none() {
            first = Some((Instant::now(), state.events));
        }
        if let Some((first_at, first_events)) = first.filter(|_| state.events >= events) {
            let (took, running) = (started.elapsed(), first_at.elapsed());
            projector.stop().await;
            return Ok(Projected { took, running, running_events: events - first_events });
        }
        ensure!(started.elapsed() < PATIENCE, "the projection stands at {}: {:?}", state.events, state.last_error);
    }
}
