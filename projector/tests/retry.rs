//! What becomes of parked records that are retried or discarded, beside a running worker.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::testing::eventually;
use balcony_event_log::{EventLog, Headers, Message, Record, Topic};
use balcony_projector::{
    AnyProjection, Decode, Outcome, Projection, Projector, Received, RetryError, discard, discard_all, retry,
};
use balcony_store::{
    BuildOptions, Database, DatabasePlace, Generation, GenerationState, ParkedRecord, ReadModel, Reader, Settings,
    StoreError, Tx, Value,
};
use tokio::time::Instant;
use uuid::Uuid;

struct Number(i64);

impl Decode for Number {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let text = String::from_utf8_lossy(&record.payload);
        if text == "newer" {
            return Ok(None);
        }
        text.parse().map(|number| Some(Self(number))).map_err(|_| format!("{text:?} is no number"))
    }
}

/// Numbers in the order in which they were applied. The database refuses some, which can be changed.
#[derive(Clone)]
struct Numbers {
    model: ReadModel,
    refused: Arc<Mutex<HashSet<i64>>>,
    /// The numbers that were applied, each with the time at which it was appended.
    appended: Arc<Mutex<Vec<(i64, i64)>>>,
}

impl Numbers {
    fn of_version(version: u32, refused: Arc<Mutex<HashSet<i64>>>) -> Self {
        let schema = "CREATE TABLE numbers (place BIGINT NOT NULL PRIMARY KEY, number BIGINT NOT NULL);";
        Self { model: ReadModel::new("numbers", version, ["numbers"], schema), refused, appended: Arc::default() }
    }
}

impl Projection for Numbers {
    type Event = Number;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    async fn apply(&self, events: &[Received<Number>], tx: &mut Tx) -> Result<(), StoreError> {
        for received in events {
            let number = received.0;
            let refused = self.refused.lock().unwrap().contains(&number);
            let number = if refused { Value::Int(None) } else { number.into() };
            let sql = "INSERT INTO numbers SELECT COALESCE(MAX(place), 0) + 1, $1 FROM numbers";
            tx.execute(sql, &[number]).await?;
            self.appended.lock().unwrap().push((received.0, received.appended_at));
        }
        Ok(())
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

struct Installation {
    log: Arc<dyn EventLog>,
    database: Database,
    numbers: Numbers,
    step: AnyProjection,
}

impl Installation {
    async fn open(folder: &Path, refused: &[i64]) -> Self {
        let topic: Arc<str> = "numbers".into();
        let topics = [Topic { name: topic.clone(), partitions: 1, replication: 1, retention: None }];
        let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(&folder.join("log.db"), &topics).unwrap());
        let place = DatabasePlace::Sqlite { directory: folder.join("read-models") };
        let settings = Settings { namespace: "test".parse().unwrap(), place };
        let refused = Arc::new(Mutex::new(refused.iter().copied().collect()));
        let numbers = Numbers::of_version(1, refused);
        let step = AnyProjection::from(numbers.clone());
        Self { log, database: Database::open(&settings).await.unwrap(), numbers, step }
    }

    /// Appends records of one key.
    async fn append(&self, key: &str, payloads: &[&str]) {
        for payload in payloads {
            let message = Message { key: key.into(), headers: Headers::new(), payload: (*payload).into() };
            self.log.append(&self.numbers.model.topics[0], message).await.unwrap();
        }
    }

    fn refuse(&self, refused: &[i64]) {
        *self.numbers.refused.lock().unwrap() = refused.iter().copied().collect();
    }

    fn projector(&self) -> Projector {
        let mut projector = Projector::new(self.log.clone(), self.database.clone(), "test.");
        projector.start(self.numbers.clone());
        projector
    }

    /// Waits until the log was read to its end and gives what was applied, in order.
    async fn applied(&self) -> Vec<i64> {
        let reader = Reader::open(&self.database, vec![self.numbers.model.clone()]).await;
        let ends = self.log.ends(&self.numbers.model.topics).await.unwrap();
        // It is not ready before its first generation is live.
        eventually("the projection comes to the end of the log", PATIENCE, async || {
            reader.wait_for(&self.numbers.model, &ends, Instant::now() + PATIENCE).await.unwrap_or(false).then_some(())
        })
        .await;
        let rows: Vec<(i64,)> = reader.fetch("SELECT number FROM numbers ORDER BY place", &[]).await.unwrap();
        rows.into_iter().map(|(number,)| number).collect()
    }

    async fn live(&self) -> Generation {
        let listed = self.database.generations(Some("numbers")).await.unwrap();
        listed.into_iter().next().unwrap().generation
    }

    async fn parked(&self) -> Vec<ParkedRecord> {
        let mut tx = self.database.look_at(&self.live().await).await.unwrap();
        tx.parked_after(None, false, 1_000).await.unwrap()
    }

    /// The payloads of what is parked.
    async fn payloads(&self) -> Vec<String> {
        let payload = |record: ParkedRecord| String::from_utf8(record.payload).unwrap();
        self.parked().await.into_iter().map(payload).collect()
    }

    /// The id of the parked record with this payload.
    async fn id(&self, payload: &str) -> Uuid {
        self.parked().await.into_iter().find(|record| record.payload == payload.as_bytes()).unwrap().id
    }

    async fn retry(&self, payload: &str) -> Outcome {
        retry(&self.step, &self.database, self.id(payload).await).await.unwrap()
    }

    async fn discard(&self, payloads: &[&str]) -> Outcome {
        let mut ids = Vec::new();
        for payload in payloads {
            ids.push(self.id(payload).await);
        }
        discard(&self.step, &self.database, &ids).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_applies_the_whole_key_in_order_and_the_worker_goes_on_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path(), &[13]).await;
    let projector = installation.projector();
    installation.append("key", &["13", "14", "newer", "15"]).await;
    installation.append("other", &["1"]).await;
    assert_eq!(installation.applied().await, [1]);

    installation.refuse(&[]);
    let outcome = installation.retry("14").await;
    assert_eq!((outcome.applied, outcome.refused), (4, vec![]), "it begins with the first of the key");
    assert_eq!(installation.payloads().await, [""; 0]);
    installation.append("key", &["16"]).await;
    assert_eq!(installation.applied().await, [1, 13, 14, 15, 16]);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_again_stays_with_everything_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path(), &[13, 21]).await;
    let projector = installation.projector();
    installation.append("key", &["13", "14", "21", "15", "16"]).await;
    installation.append("", &["no number", "13"]).await;
    assert_eq!(installation.applied().await, [0; 0]);

    let before = installation.parked().await;
    let outcome = installation.retry("16").await;
    assert_eq!((outcome.applied, outcome.refused[0].id, outcome.refused[0].waiting), (0, before[0].id, 4));
    assert_eq!(installation.parked().await.len(), 7);

    installation.refuse(&[21]);
    let outcome = installation.retry("13").await;
    assert_eq!((outcome.applied, outcome.refused[0].waiting), (2, 2));
    assert!(outcome.refused[0].error.contains("NOT NULL"), "{outcome:?}");
    assert_eq!(installation.payloads().await, ["21", "15", "16", "no number", "13"]);
    assert_eq!(installation.parked().await[0].error, outcome.refused[0].error, "{:?}", installation.parked().await[0]);
    assert_eq!(installation.retry("no number").await.refused[0].waiting, 0, "without a key nothing waits");
    installation.append("key", &["17"]).await;
    assert_eq!(installation.applied().await, [13, 14], "the key still waits");
    assert_eq!(installation.parked().await.len(), 6);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_behind_a_discarded_record_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path(), &[13]).await;
    let projector = installation.projector();
    installation.append("key", &["13", "14", "15", "x", "16"]).await;
    assert_eq!(installation.applied().await, [0; 0]);

    let outcome = installation.discard(&["14"]).await;
    assert_eq!((outcome.discarded, outcome.applied), (1, 0), "the others wait behind another");
    let outcome = installation.discard(&["13"]).await;
    assert_eq!((outcome.discarded, outcome.applied, outcome.refused[0].waiting), (1, 1, 1));
    assert_eq!(installation.payloads().await, ["x", "16"]);
    installation.append("key", &["17"]).await;
    assert_eq!(installation.applied().await, [15]);
    let outcome = installation.discard(&["x", "17"]).await;
    assert_eq!((outcome.discarded, outcome.applied, outcome.refused), (2, 1, vec![]));
    assert_eq!(installation.applied().await, [15, 16]);

    installation.append("key", &["x", "18"]).await;
    installation.append("", &["y"]).await;
    installation.applied().await;
    let id = installation.id("x").await;
    assert_eq!(discard_all(&installation.step, &installation.database).await.unwrap(), 3);
    assert_eq!(installation.payloads().await, [""; 0]);
    let refused = retry(&installation.step, &installation.database, id).await;
    assert!(matches!(refused, Err(RetryError::Discarded(_))), "{refused:?}");
    assert_eq!(discard(&installation.step, &installation.database, &[id]).await.unwrap(), Outcome::default());
    assert_eq!(installation.applied().await, [15, 16]);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_goes_on_with_its_own_whatever_becomes_of_a_newer_one() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path(), &[13]).await;
    let projector = installation.projector();
    installation.append("a", &["13"]).await;
    installation.append("b", &["13"]).await;
    installation.append("c", &["no number"]).await;
    installation.applied().await;
    let (database, model) = (&installation.database, &installation.numbers.model);
    let newer = Numbers::of_version(2, installation.numbers.refused.clone());
    let built = database.begin_build(&newer.model, BuildOptions::default()).await.unwrap();
    assert_eq!(installation.discard(&["no number"]).await.discarded, 1);
    database.build_failed(&built, "as it was asked to").await.unwrap();
    installation.refuse(&[]);
    assert_eq!(installation.retry("13").await.applied, 1);

    database.begin_build(model, BuildOptions::default()).await.unwrap();
    eventually("the older version is built anew", PATIENCE, async || {
        let listed = database.generations(Some("numbers")).await.unwrap();
        listed.iter().any(|listed| listed.generation.number == 3 && listed.state == GenerationState::Live).then_some(())
    })
    .await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retried_is_received_as_it_was_appended() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path(), &[13]).await;
    let projector = installation.projector();
    installation.append("key", &["13"]).await;
    installation.append("other", &["1"]).await;
    assert_eq!(installation.applied().await, [1]);
    installation.refuse(&[]);
    assert_eq!(installation.retry("13").await.applied, 1);
    let appended = installation.numbers.appended.lock().unwrap().clone();
    let [(1, one), (13, thirteen)] = appended[..] else { panic!("{appended:?}") };
    assert!(0 < thirteen && thirteen <= one, "{appended:?}");
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_while_the_next_generation_is_built_or_by_another_version() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::open(folder.path(), &[13]).await;
    let projector = installation.projector();
    installation.append("key", &["13"]).await;
    installation.applied().await;
    projector.stop().await;
    let (database, id) = (&installation.database, installation.id("13").await);
    installation.refuse(&[]);

    let next = database.begin_build(&installation.numbers.model, BuildOptions::default()).await.unwrap();
    for failed in [false, true] {
        if failed {
            database.build_failed(&next, "as it was asked to").await.unwrap();
        }
        let refused = retry(&installation.step, database, id).await.unwrap_err();
        assert!(refused.to_string().contains("rebuild numbers --cancel"), "{refused}");
        let refused = discard_all(&installation.step, database).await.unwrap_err();
        assert!(matches!(refused, RetryError::Rebuilding { .. }), "{refused}");
    }
    database.cancel_build("numbers", 1).await.unwrap();

    let newer = AnyProjection::from(Numbers::of_version(2, installation.numbers.refused.clone()));
    let refused = discard(&newer, database, &[id]).await.unwrap_err();
    assert!(matches!(refused, RetryError::OtherVersion { .. }), "{refused}");
    let refused = retry(&installation.step, database, Uuid::nil()).await.unwrap_err();
    assert!(matches!(refused, RetryError::Unknown { .. }), "{refused}");
    assert_eq!(installation.payloads().await, ["13"]);
    assert_eq!(installation.retry("13").await.applied, 1);
}
