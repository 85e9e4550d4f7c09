//! What the projection runtime promises, on the embedded log and SQLite, with a projection made to fail.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::testing::eventually;
use balcony_event_log::{EventLog, Headers, Message, Record, Topic};
use balcony_projector::{AnyProjection, Decode, Projection, Projector, Received, State, build};
use balcony_store::{
    BuildOptions, Database, DatabasePlace, GenerationState, ReadModel, Reader, Settings, StoreError, Tx, Value,
};
use tokio::time::Instant;
use uuid::Uuid;

/// An event of a domain of its own: a number, and what happens when it is applied.
struct Number(i64);

/// This number is refused by the database.
const REFUSED: i64 = 13;
/// A second topic, with records in one test.
const OTHER_TOPIC: &str = "others";
/// This number makes `apply` panic, once.
const PANICS: i64 = 666;

impl Decode for Number {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let text = std::str::from_utf8(&record.payload).map_err(|error| error.to_string())?;
        if text == "newer" {
            return Ok(None);
        }
        text.parse().map(|number| Some(Self(number))).map_err(|_| format!("{text:?} is no number"))
    }
}

struct Numbers {
    model: ReadModel,
    panics: Arc<AtomicUsize>,
    /// How often it panics.
    most_panics: usize,
}

impl Numbers {
    fn of(topics: &[Arc<str>]) -> Self {
        let schema = "CREATE TABLE numbers (
            id UUID NOT NULL PRIMARY KEY, number BIGINT NOT NULL CHECK (number <> 13), position BIGINT NOT NULL UNIQUE)";
        Self { model: ReadModel::new("numbers", 1, topics.to_vec(), schema), panics: Arc::default(), most_panics: 1 }
    }
}

impl Projection for Numbers {
    type Event = Number;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    /// Inserts without regard to what is there: applying an event twice fails.
    async fn apply(&self, events: &[Received<Number>], tx: &mut Tx) -> Result<(), StoreError> {
        let rows: Vec<[Value<'_>; 3]> =
            events.iter().map(|received| [Uuid::now_v7().into(), received.0.into(), received.offset.into()]).collect();
        tx.execute_rows("INSERT INTO numbers (id, number, position) VALUES $rows", &rows).await?;
        if events.iter().any(|received| received.0 == PANICS)
            && self.panics.fetch_add(1, Ordering::Relaxed) < self.most_panics
        {
            panic!("as it was asked to");
        }
        Ok(())
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

struct Installation {
    log: Arc<EmbeddedLog>,
    database: Database,
    topic: Arc<str>,
}

impl Installation {
    async fn open(folder: &Path) -> Self {
        let topic: Arc<str> = "numbers".into();
        let topics = [&topic, &Arc::from(OTHER_TOPIC)];
        let topics = topics.map(|name| Topic { name: name.clone(), partitions: 1, replication: 1, retention: None });
        let log = Arc::new(EmbeddedLog::open(&folder.join("log.db"), &topics).unwrap());
        let place = DatabasePlace::Sqlite { directory: folder.join("read-models") };
        let settings = Settings { namespace: "test".parse().unwrap(), place };
        Self { log, database: Database::open(&settings).await.unwrap(), topic }
    }

    async fn append(&self, key: &str, payload: &str) {
        let message = Message { key: key.into(), headers: Headers::new(), payload: payload.into() };
        self.log.append(&self.topic, message).await.unwrap();
    }

    fn model(&self) -> ReadModel {
        Numbers::of(std::slice::from_ref(&self.topic)).model
    }

    fn projector(&self) -> Projector {
        let mut projector = Projector::new(self.log.clone(), self.database.clone(), "test.");
        projector.start(Numbers::of(std::slice::from_ref(&self.topic)));
        projector
    }

    /// Waits until everything in the log is applied and gives the numbers in the order of the log.
    async fn numbers(&self) -> Vec<i64> {
        let reader = Reader::open(&self.database, vec![self.model()]).await;
        let ends = self.log.ends(std::slice::from_ref(&self.topic)).await.unwrap();
        // It is not ready before its first generation is live.
        eventually("the projection comes to the end of the log", PATIENCE, async || {
            reader.wait_for(&self.model(), &ends, Instant::now() + PATIENCE).await.unwrap_or(false).then_some(())
        })
        .await;
        let rows: Vec<(i64,)> = reader.fetch("SELECT number FROM numbers ORDER BY position", &[]).await.unwrap();
        rows.into_iter().map(|(number,)| number).collect()
    }

    async fn parked(&self) -> Vec<(String, String)> {
        let reader = Reader::open(&self.database, vec![self.model()]).await;
        let sql = "SELECT payload, error FROM parked ORDER BY record_offset";
        let rows: Vec<(Vec<u8>, String)> = reader.fetch(sql, &[]).await.unwrap();
        rows.into_iter().map(|(payload, error)| (String::from_utf8(payload).unwrap(), error)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_parked_with_what_follows_of_its_key_and_the_rest_is_applied_once() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path()).await;
    // All of it is there before the projection starts, so that it comes in large batches.
    for number in 0..500 {
        let key = if number % 100 == REFUSED { "unlucky".to_owned() } else { number.to_string() };
        installation.append(&key, &number.to_string()).await;
    }
    installation.append("x", "no number").await;
    installation.append("y", "newer").await;
    installation.append("z", "1000").await;

    let projector = installation.projector();
    let expected: Vec<i64> = (0..500).filter(|number| number % 100 != REFUSED).chain([1000]).collect();
    assert_eq!(installation.numbers().await, expected);
    let parked = installation.parked().await;
    let payloads: Vec<_> = parked.iter().map(|(payload, _)| payload.as_str()).collect();
    assert_eq!(payloads, ["13", "113", "213", "313", "413", "no number"]);
    assert!(parked[0].1.contains("CHECK"), "{parked:?}");
    assert!(parked[1].1.contains("waits behind"), "{parked:?}");
    // The rows are there before their worker says that it has taken them over.
    eventually("the state says so", PATIENCE, async || {
        let states = projector.states();
        matches!(&states[..], [state] if (state.state, state.parked) == (State::Running, 6)).then_some(())
    })
    .await;

    // After a restart later records of that key wait, too.
    projector.stop().await;
    installation.append("unlucky", "14").await;
    installation.append("other", "15").await;
    let projector = installation.projector();
    assert_eq!(installation.numbers().await.last(), Some(&15));
    assert_eq!(installation.parked().await.len(), 7);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_panics_is_started_again_and_takes_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path()).await;
    let projector = installation.projector();
    installation.append("key", "1").await;
    assert_eq!(installation.numbers().await, [1]);
    for number in [PANICS, 2] {
        installation.append("key", &number.to_string()).await;
    }
    assert_eq!(installation.numbers().await, [1, PANICS, 2]);
    let state = &projector.states()[0];
    assert!(state.last_error.as_ref().is_some_and(|error| error.contains("panicked")), "{state:?}");
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_refusals_in_a_row_stop_the_projection_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path()).await;
    let projector = installation.projector();
    installation.append("key", "1").await;
    assert_eq!(installation.numbers().await, [1]);
    for number in 0..120 {
        installation.append(&number.to_string(), &REFUSED.to_string()).await;
    }
    eventually("it stops", PATIENCE, async || (projector.states()[0].state == State::Stopped).then_some(())).await;
    let error = projector.states()[0].last_error.clone().unwrap();
    assert!(error.contains("in a row"), "{error}");
    assert_eq!(installation.parked().await.len(), 100);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_no_events_are_parked_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path()).await;
    for number in 0..350 {
        installation.append(if number % 2 == 0 { "" } else { "key" }, "plain text").await;
    }
    installation.append("other", "1").await;
    let projector = installation.projector();
    assert_eq!(installation.numbers().await, [1]);
    for _ in 0..150 {
        installation.append("", "more of it").await;
    }
    installation.append("other", "2").await;
    assert_eq!(installation.numbers().await, [1, 2]);
    assert_eq!(installation.parked().await.len(), 500);
    eventually("it runs on", PATIENCE, async || (projector.states()[0].state == State::Running).then_some(())).await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_panics_again_and_again_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path()).await;
    installation.append("key", &PANICS.to_string()).await;
    let numbers = Numbers { most_panics: usize::MAX, ..Numbers::of(std::slice::from_ref(&installation.topic)) };
    let (log, database) = (installation.log.clone(), installation.database.clone());
    let generation = database.begin_build(&numbers.model, BuildOptions::default()).await.unwrap();
    tokio::time::timeout(PATIENCE, build(numbers.into(), log, database, generation)).await.expect("it ends");
    let listed = installation.database.generations(Some("numbers")).await.unwrap().remove(0);
    assert_eq!(listed.state, GenerationState::Failed);
    assert!(listed.error.unwrap().contains("panicked") && listed.attempts > 1);
}

impl Installation {
    /// A projector of the next version, which reads the topic of numbers alone, too.
    fn next_projector(&self) -> Projector {
        let mut next = Numbers::of(std::slice::from_ref(&self.topic));
        next.model.version = 2;
        let mut projector = Projector::new(self.log.clone(), self.database.clone(), "test.");
        projector.start(next);
        projector
    }

    async fn generations(&self) -> Vec<(i64, i64, GenerationState)> {
        let listed = self.database.generations(Some("numbers")).await.unwrap();
        listed.iter().map(|listed| (listed.generation.number, listed.generation.version, listed.state)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_build_that_was_given_up_is_not_begun_again_before_an_operator_asks() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path()).await;
    let projector = installation.projector();
    installation.append("key", "1").await;
    assert_eq!(installation.numbers().await, [1]);
    // The next version has not heard of what is parked only after it began.
    projector.stop().await;
    installation.append("unlucky", &REFUSED.to_string()).await;
    let next = installation.next_projector();
    eventually("the first build of the next version fails", PATIENCE, async || {
        (installation.generations().await.last()?.2 == GenerationState::Failed).then_some(())
    })
    .await;
    let given_up = installation.database.cancel_build("numbers", 2).await.unwrap().unwrap();
    assert_eq!(given_up.number, 2);
    eventually("its projector says that it waits", PATIENCE, async || {
        let error = next.states()[0].last_error.clone()?;
        error.contains("was given up: rebuild it").then_some(())
    })
    .await;
    assert_eq!(installation.generations().await, [(1, 1, GenerationState::Live)]);
    // Another process does not begin it again, either.
    next.stop().await;
    let next = installation.next_projector();
    eventually("that one waits, too", PATIENCE, async || (next.states()[0].state == State::Stopped).then_some(()))
        .await;
    assert_eq!(installation.generations().await, [(1, 1, GenerationState::Live)]);

    let mut model = installation.model();
    model.version = 2;
    let park = BuildOptions { park_failures: true, ..BuildOptions::default() };
    installation.database.begin_build(&model, park).await.unwrap();
    eventually("it is built when an operator asks", PATIENCE, async || {
        (installation.generations().await.last()?.2 == GenerationState::Live).then_some(())
    })
    .await;
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_does_not_wait_for_topics_that_the_new_version_does_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path()).await;
    installation.append("key", "1").await;
    let other = Message { key: b"key".to_vec(), headers: Headers::new(), payload: b"2".to_vec() };
    installation.log.append(OTHER_TOPIC, other).await.unwrap();
    let mut old = Projector::new(installation.log.clone(), installation.database.clone(), "test.");
    old.start(Numbers::of(&[installation.topic.clone(), OTHER_TOPIC.into()]));
    let live = eventually("the old version is live", PATIENCE, async || {
        let listed = installation.database.generations(Some("numbers")).await.unwrap();
        listed.into_iter().find(|listed| listed.state == GenerationState::Live)
    })
    .await;
    eventually("it has read both topics", PATIENCE, async || {
        let checkpoints = installation.database.look_at(&live.generation).await.unwrap().checkpoints().await.unwrap();
        let ends = installation.log.ends(&[installation.topic.clone(), OTHER_TOPIC.into()]).await.unwrap();
        checkpoints.covers(&ends).then_some(())
    })
    .await;
    let next = installation.next_projector();
    eventually("the next version is live", PATIENCE, async || {
        (installation.generations().await.last()? == &(2, 2, GenerationState::Live)).then_some(())
    })
    .await;
    next.stop().await;
    old.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_goes_on_where_some_partitions_are_done_already() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path()).await;
    installation.append("key", "1").await;
    let other = Message { key: b"key".to_vec(), headers: Headers::new(), payload: b"2".to_vec() };
    installation.log.append(OTHER_TOPIC, other).await.unwrap();

    let topics = vec![installation.topic.clone(), OTHER_TOPIC.into()];
    let projection = AnyProjection::from(Numbers::of(&topics));
    let (log, database) = (installation.log.clone(), installation.database.clone());
    let generation = database.begin_build(projection.read_model(), BuildOptions::default()).await.unwrap();
    let ends = log.ends(&topics[1..]).await.unwrap();
    let done: Vec<_> = ends.partitions().cloned().collect();
    let mut tx = database.writer(&generation).begin().await.unwrap();
    let claim = tx.claim(&done).await.unwrap();
    tx.advance(&claim, &ends).await.unwrap();
    tx.commit().await.unwrap();

    let built = build(projection, log, database, generation);
    tokio::time::timeout(Duration::from_secs(30), built).await.expect("it ends");
    assert_eq!(installation.numbers().await, [1]);
}
