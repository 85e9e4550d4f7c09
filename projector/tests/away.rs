//! A projector to which its database is silent, while another one reaches it.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::testing::eventually;
use balcony_event_log::{EventLog, Headers, Message, Record, Topic};
use balcony_projector::{Decode, Projection, Projector, Received, State};
use balcony_store::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection};
use balcony_store::{Database, ReadModel, Reader, Scratch, StoreError, Tx, Value};

struct Number(i64);

impl Decode for Number {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let text = std::str::from_utf8(&record.payload).map_err(|error| error.to_string())?;
        text.parse().map(|number| Some(Self(number))).map_err(|_| format!("{text:?} is no number"))
    }
}

struct Numbers {
    model: ReadModel,
}

fn numbers() -> Numbers {
    Numbers { model: ReadModel::new("numbers", 1, ["numbers"], "CREATE TABLE numbers (number BIGINT PRIMARY KEY)") }
}

impl Projection for Numbers {
    type Event = Number;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    async fn apply(&self, events: &[Received<Number>], tx: &mut Tx) -> Result<(), StoreError> {
        let rows: Vec<[Value<'_>; 1]> = events.iter().map(|received| [received.0.into()]).collect();
        tx.execute_rows("INSERT INTO numbers (number) VALUES $rows", &rows).await.map(drop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_database_is_silent_leaves_its_partitions_to_another() {
    let Some(scratch) = Scratch::postgres().await.unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic: Arc<str> = "numbers".into();
    let topics = [Topic { name: topic.clone(), partitions: 1, replication: 1, retention: None }];
    let log = Arc::new(EmbeddedLog::open(&folder.path().join("log.db"), &topics).unwrap());
    let (settings, proxy) = scratch.through_a_proxy().await.unwrap();
    let database = Database::open(scratch.settings()).await.unwrap();
    let reader = Reader::open(&database, vec![numbers().model]).await;
    let append = async |numbers: std::ops::Range<i64>| {
        for number in numbers {
            let message = Message { key: Vec::new(), headers: Headers::new(), payload: number.to_string().into() };
            log.append(&topic, message).await.unwrap();
        }
    };
    let all_there = async |count: i64| {
        eventually("the other one applies what is left", Duration::from_secs(120), async || {
            let found: Vec<(i64,)> = reader.fetch("SELECT COUNT(*) FROM numbers", &[]).await.ok()?;
            (found == [(count,)]).then_some(())
        })
        .await;
    };

    let mut first = Projector::new(log.clone(), Database::open(&settings).await.unwrap(), "test.");
    first.start(numbers());
    append(0..10).await;
    all_there(10).await;
    let mut second = Projector::new(log.clone(), database.clone(), "test.");
    second.start(numbers());
    proxy.swallow();
    append(10..20).await;
    all_there(20).await;
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_let_in_again_is_well_without_an_event() {
    let Some(scratch) = Scratch::postgres().await.unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topics = [Topic { name: "numbers".into(), partitions: 1, replication: 1, retention: None }];
    let log = Arc::new(EmbeddedLog::open(&folder.path().join("log.db"), &topics).unwrap());
    let mut projector = Projector::new(log, Database::open(scratch.settings()).await.unwrap(), "test.");
    projector.start(numbers());
    let comes_to = async |running: bool| {
        eventually("the state changes", Duration::from_secs(120), async || {
            (running == (projector.states()[0].state == State::Running)).then_some(())
        })
        .await;
    };
    comes_to(true).await;

    let (_, name) = scratch.url().unwrap().rsplit_once('/').unwrap();
    let mut administrator = PgConnection::connect(&std::env::var("DATABASE_URL").unwrap()).await.unwrap();
    let mut execute = async |sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut administrator).await.unwrap();
    };
    execute(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
    execute(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")).await;
    comes_to(false).await;
    execute(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
    comes_to(true).await;
    projector.stop().await;
}
