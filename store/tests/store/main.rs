//! What the store promises, on SQLite and, where `DATABASE_URL` names a server, on PostgreSQL.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use balcony_event_log::testing::eventually;
use balcony_event_log::{Positions, TopicPartition};
use balcony_store::{
    BuildOptions, Database, DatabasePlace, Generation, GenerationState, ReadModel, Scratch, Settings, Uuid, Value,
    Writer,
};

/// Runs each test on both databases.
macro_rules! on_both {
    ($($test:ident)*) => {
        #[cfg(feature = "sqlite")]
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(balcony_store::Scratch::sqlite().unwrap()).await;
            })*
        }
        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let Some(scratch) = balcony_store::Scratch::postgres().await.unwrap() else { return };
                super::$test(scratch).await;
            })*
        }
    };
}

mod away;
#[cfg(feature = "postgres")]
mod crashes;
mod foundings;
mod generations;
mod installations;
mod parked;
#[cfg(feature = "postgres")]
mod private_server;
mod readers;
mod rebuilds;
mod requests;
mod rows;
mod transactions;
mod values;
mod versions;
mod workers;

fn model() -> ReadModel {
    version(1)
}

/// The same read model, its table as it is in every version.
fn version(version: u32) -> ReadModel {
    let schema = "CREATE TABLE things (id UUID NOT NULL PRIMARY KEY, name TEXT, number BIGINT NOT NULL);
                  CREATE INDEX things_by_number ON things (number);";
    ReadModel::new("things", version, ["events"], schema)
}

async fn open(settings: &Settings) -> (Database, Writer) {
    let database = Database::open(settings).await.unwrap();
    let generation = database.live_or_new(&model()).await.unwrap();
    let writer = database.writer(&generation);
    (database, writer)
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("events", number)
}

fn at(number: i32, next_offset: i64) -> Positions {
    [(partition(number), next_offset)].into_iter().collect()
}

async fn names(writer: &Writer) -> Vec<String> {
    let mut tx = writer.begin().await.unwrap();
    let rows: Vec<(String,)> = tx.fetch("SELECT name FROM things ORDER BY number", &[]).await.unwrap();
    rows.into_iter().map(|(name,)| name).collect()
}

async fn insert(writer: &Writer, rows: &[(u128, &str, i64)]) -> Vec<bool> {
    let rows: Vec<[Value<'_>; 3]> =
        rows.iter().map(|&(id, name, number)| [Uuid::from_u128(id).into(), name.into(), number.into()]).collect();
    let mut tx = writer.begin().await.unwrap();
    let inserted = tx.insert_new("things", &["id"], ["id", "name", "number"], &rows).await.unwrap();
    tx.commit().await.unwrap();
    inserted
}

/// A generation that follows, with its writer.
async fn following(database: &Database, options: BuildOptions) -> (Generation, Writer) {
    following_of(database, &model(), options).await
}

async fn following_of(database: &Database, model: &ReadModel, options: BuildOptions) -> (Generation, Writer) {
    let generation = database.begin_build(model, options).await.unwrap();
    database.make_indexes(&generation, model).await.unwrap();
    database.make_indexes(&generation, model).await.unwrap();
    database.build_stands_at(&generation, GenerationState::Following).await.unwrap();
    let writer = database.writer(&generation);
    (generation, writer)
}

async fn switch(database: &Database, generation: &Generation) {
    assert!(database.switch(generation, async |_| true).await.unwrap());
}

async fn states(database: &Database) -> Vec<(i64, GenerationState)> {
    let listed = database.generations(Some("things")).await.unwrap();
    listed.into_iter().map(|listed| (listed.generation.number, listed.state)).collect()
}

/// Waits until `holds` does.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    eventually(what, Duration::from_secs(20), async || holds().await.then_some(())).await;
}

/// The schemas or files of generations that are there.
async fn schemas(scratch: &Scratch) -> Vec<String> {
    let mut found = match &scratch.settings().place {
        #[cfg(feature = "postgres")]
        DatabasePlace::Postgres { url } => {
            use balcony_store::sqlx::{self, Connection as _};

            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            let sql = "SELECT schema_name::text FROM information_schema.schemata WHERE schema_name ~ '_[0-9]+$'";
            sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
        }
        #[cfg(feature = "sqlite")]
        DatabasePlace::Sqlite { directory } => {
            let names = std::fs::read_dir(directory).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let files = names.filter_map(|name| Some(name.strip_suffix(".db")?.to_owned()));
            files.filter(|name| name != "store").collect::<Vec<_>>()
        }
    };
    found.sort();
    found
}

/// Runs a script on the database, the store's own file on SQLite, and says how many rows it changed.
async fn run(scratch: &Scratch, sql: &str) -> u64 {
    use balcony_store::sqlx::{self, AssertSqlSafe, Connection as _};

    let sql = AssertSqlSafe(sql.to_owned());
    match &scratch.settings().place {
        #[cfg(feature = "postgres")]
        DatabasePlace::Postgres { url } => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap().rows_affected()
        }
        #[cfg(feature = "sqlite")]
        DatabasePlace::Sqlite { directory } => {
            let file = format!("{}?mode=rwc", directory.join("store.db").display());
            let mut connection = sqlx::SqliteConnection::connect(&file).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap().rows_affected()
        }
    }
}
