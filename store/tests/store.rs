//! What the store promises, on SQLite and, where `DATABASE_URL` names one, on PostgreSQL.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use balcony_event_log::{Positions, TopicPartition};
use balcony_store::{
    BuildOptions, Database, Generation, GenerationState, ParkedRecord, ReadModel, Reader, Settings, StoreError, Tx,
    Value, Writer,
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tokio::time::Instant;
use uuid::Uuid;

const MODEL: ReadModel = ReadModel {
    name: "things",
    version: 1,
    schema: "CREATE TABLE things (id UUID NOT NULL PRIMARY KEY, name TEXT, number BIGINT NOT NULL);
             CREATE INDEX things_by_number ON things (number);",
};

/// Runs each test on both databases.
macro_rules! on_both {
    ($($test:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let folder = tempfile::tempdir().unwrap();
                crate::$test(crate::Settings::Sqlite { directory: folder.path().join("read-models") }).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let Some(url) = crate::new_database().await else { return };
                crate::$test(crate::Settings::Postgres { url }).await;
            })*
        }
    };
}

on_both! {
    a_generation_is_made_once_and_survives
    another_version_is_refused
    rows_and_checkpoint_are_kept_together_or_not_at_all
    whoever_lost_a_partition_cannot_move_its_checkpoint
    a_topic_begins_once_and_its_newer_partitions_at_their_beginning
    only_new_rows_are_inserted
    many_rows_go_through_few_statements
    every_value_comes_back
    parked_records_are_kept_once
    a_part_of_a_transaction_is_taken_back_by_itself
    a_look_at_a_generation_finds_its_own_tables
    held_generations_stay_as_they_are
    workers_are_seen_until_they_leave_or_are_long_dead
    a_build_is_asked_for_once_and_goes_on
    one_builds_at_a_time
    readers_change_over_at_the_switch
    a_switch_waits_for_the_new_generation_and_holds_the_old_one
    going_back_is_one_step
    what_was_given_up_leaves_nothing
    generations_are_compared_by_the_keys_of_their_rows
    a_reader_waits_for_progress
    a_reader_sees_no_read_model_before_it_is_there
    refusals_are_told_from_faults
}

/// An empty database. `None`, in one line, without `DATABASE_URL`; with `CI` set that is a failure.
async fn new_database() -> Option<String> {
    let Ok(url) = std::env::var("DATABASE_URL") else {
        assert!(std::env::var_os("CI").is_none(), "DATABASE_URL is missing: use tests/run");
        println!("left out: DATABASE_URL is not set; tests/run sets it");
        return None;
    };
    let name = format!("store_{}", Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    Some(format!("{}/{name}", url.rsplit_once('/').unwrap().0))
}

async fn open(settings: &Settings) -> (Database, Writer) {
    let database = Database::open(settings).await.unwrap();
    let generation = database.live_or_new(&MODEL).await.unwrap();
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
    let inserted = tx.insert_new("things", ["id", "name", "number"], &rows).await.unwrap();
    tx.commit().await.unwrap();
    inserted
}

async fn a_generation_is_made_once_and_survives(settings: Settings) {
    let (first, second) = tokio::join!(open(&settings), open(&settings));
    insert(&first.1, &[(1, "a", 1)]).await;
    assert_eq!(names(&second.1).await, ["a"]);
    assert_eq!(first.0.live_or_new(&MODEL).await.unwrap(), second.0.live_or_new(&MODEL).await.unwrap());
    drop((first, second));
    assert_eq!(names(&open(&settings).await.1).await, ["a"]);
}

async fn another_version_is_refused(settings: Settings) {
    let (database, _) = open(&settings).await;
    let error = database.live_or_new(&ReadModel { version: 2, ..MODEL }).await.unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
}

async fn rows_and_checkpoint_are_kept_together_or_not_at_all(settings: Settings) {
    let (_database, writer) = open(&settings).await;
    let mut tx = writer.begin().await.unwrap();
    let mut claim = tx.claim(&[partition(0), partition(1)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(claim.positions().next_offset(&partition(0)), 0);

    let sql = "INSERT INTO things (id, name, number) VALUES ($1, 'a', 1)";
    let mut tx = writer.begin().await.unwrap();
    tx.advance(&claim, &at(0, 5)).await.unwrap();
    tx.execute(sql, &[Uuid::from_u128(1).into()]).await.unwrap();
    drop(tx);
    let mut tx = writer.begin().await.unwrap();
    assert!(!tx.stands_at(&claim, &at(0, 5)).await.unwrap());
    assert_eq!(tx.fetch::<(i64,)>("SELECT number FROM things", &[]).await.unwrap(), []);

    tx.advance(&claim, &at(0, 5)).await.unwrap();
    tx.execute(sql, &[Uuid::from_u128(1).into()]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(names(&writer).await, ["a"]);
    let mut tx = writer.begin().await.unwrap();
    assert!(tx.stands_at(&claim, &at(0, 5)).await.unwrap());
    // Doing the same again is not possible: the checkpoint has moved.
    assert!(matches!(tx.advance(&claim, &at(0, 5)).await, Err(StoreError::Fenced(_))));
    drop(tx);

    claim.advanced(&at(0, 5));
    let mut tx = writer.begin().await.unwrap();
    let mut both = at(0, 6);
    both.merge(&at(1, 9));
    tx.advance(&claim, &both).await.unwrap();
    tx.commit().await.unwrap();
}

async fn whoever_lost_a_partition_cannot_move_its_checkpoint(settings: Settings) {
    let (_database, writer) = open(&settings).await;
    let claim = async |partitions: &[TopicPartition]| {
        let mut tx = writer.begin().await.unwrap();
        let claim = tx.claim(partitions).await.unwrap();
        tx.commit().await.unwrap();
        claim
    };
    let zombie = claim(&[partition(0), partition(1)]).await;
    let owner = claim(&[partition(1)]).await;

    let mut both = at(0, 3);
    both.merge(&at(1, 3));
    let mut tx = writer.begin().await.unwrap();
    assert!(matches!(tx.advance(&zombie, &both).await, Err(StoreError::Fenced(_))));
    drop(tx);
    let mut tx = writer.begin().await.unwrap();
    assert!(matches!(tx.advance(&owner, &at(0, 3)).await, Err(StoreError::Fenced(_))), "it was never claimed");
    drop(tx);
    for (claim, reached) in [(&owner, at(1, 3)), (&zombie, at(0, 3))] {
        let mut tx = writer.begin().await.unwrap();
        tx.advance(claim, &reached).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(claim(&[partition(1)]).await.positions(), at(1, 3));
}

async fn only_new_rows_are_inserted(settings: Settings) {
    let (_database, writer) = open(&settings).await;
    assert_eq!(insert(&writer, &[(1, "a", 1), (2, "b", 2), (1, "again", 3)]).await, [true, true, false]);
    assert_eq!(insert(&writer, &[(2, "again", 4), (3, "c", 3)]).await, [false, true]);
    assert!(insert(&writer, &[]).await.is_empty());

    // Enough for the bulk path: all new, then with some that are there.
    let many: Vec<_> = (10..1_010).map(|id| (id, "many", i64::try_from(id).unwrap())).collect();
    assert!(insert(&writer, &many).await.into_iter().all(|inserted| inserted));
    let overlapping: Vec<_> = (1_000..2_000).chain([1_500]).map(|id| (id, "more", 0)).collect();
    let inserted = insert(&writer, &overlapping).await;
    assert_eq!(inserted.iter().filter(|inserted| **inserted).count(), 990);
    assert!(!inserted[9] && inserted[10] && !inserted[1_000]);
    let mut tx = writer.begin().await.unwrap();
    assert_eq!(tx.fetch::<(i64,)>("SELECT COUNT(*) FROM things", &[]).await.unwrap(), [(1_993,)]);
}

async fn many_rows_go_through_few_statements(settings: Settings) {
    let (_database, writer) = open(&settings).await;
    let ids: Vec<Uuid> = (0..1_500).map(Uuid::from_u128).collect();
    let rows: Vec<[Value<'_>; 3]> = ids.iter().map(|id| [(*id).into(), "x".into(), 1.into()]).collect();
    let mut tx = writer.begin().await.unwrap();
    let upsert = "INSERT INTO things (id, name, number) VALUES $rows
                  ON CONFLICT (id) DO UPDATE SET number = things.number + excluded.number";
    for _ in 0..2 {
        assert_eq!(tx.execute_rows(upsert, &rows).await.unwrap(), 1_500);
    }
    let keys: Vec<[Value<'_>; 1]> = ids.iter().take(700).map(|id| [(*id).into()]).collect();
    let sql = "SELECT number FROM things WHERE id IN (VALUES $rows)";
    let found: Vec<(i64,)> = tx.fetch_rows(sql, &keys).await.unwrap();
    assert_eq!((found.len(), found[0]), (700, (2,)));
    assert_eq!(tx.execute_rows("DELETE FROM things WHERE id IN (VALUES $rows)", &keys).await.unwrap(), 700);
    assert_eq!(tx.execute_rows(upsert, &[] as &[[Value<'_>; 3]]).await.unwrap(), 0);
}

async fn every_value_comes_back(settings: Settings) {
    let (_database, writer) = open(&settings).await;
    let mut tx = writer.begin().await.unwrap();
    let rows: Vec<(Option<Uuid>, Option<String>, Option<i64>)> = tx
        .fetch(
            "WITH given (id, name, number) AS (VALUES ($1, $2, $3), ($4, $5, $6)) SELECT id, name, number FROM given",
            &[
                Uuid::from_u128(7).into(),
                "ß 雨".into(),
                i64::MIN.into(),
                Value::Uuid(None),
                Value::from(None::<&str>),
                Value::Int(None),
            ],
        )
        .await
        .unwrap();
    let first = (Some(Uuid::from_u128(7)), Some("ß 雨".to_owned()), Some(i64::MIN));
    assert!(rows.contains(&first) && rows.contains(&(None, None, None)), "{rows:?}");
}

async fn a_topic_begins_once_and_its_newer_partitions_at_their_beginning(settings: Settings) {
    let (database, _) = open(&settings).await;
    let writer = database.durable_writer(&database.live_or_new(&MODEL).await.unwrap());
    let of_others = TopicPartition::new("others", 0);
    let begin = async |start: &Positions| {
        let mut tx = writer.begin().await.unwrap();
        tx.begin_at(start).await.unwrap();
        tx.commit().await.unwrap();
    };
    let mut start = at(0, 7);
    start.merge(&at(1, 9));
    begin(&start).await;
    // Asked again, the topic has grown, and there is another.
    let mut later = at(0, 20);
    later.merge(&at(1, 21));
    later.merge(&at(2, 22));
    later.set(of_others.clone(), 4);
    begin(&later).await;

    let mut tx = writer.begin().await.unwrap();
    let claim = tx.claim(&[partition(0), partition(1), partition(2), of_others.clone()]).await.unwrap();
    let mut expected = start;
    expected.merge(&at(2, 0));
    expected.set(of_others, 4);
    assert_eq!(claim.positions(), expected);
}

async fn parked_records_are_kept_once(settings: Settings) {
    let (_database, writer) = open(&settings).await;
    let record = |offset, key: &[u8]| ParkedRecord {
        id: Uuid::from_u128(offset as u128),
        partition: partition(3),
        offset,
        key: key.to_vec(),
        headers: "{}".into(),
        payload: b"\0\xff".to_vec(),
        error: "it has a \u{FFFD} in it".into(),
        parked_at: 1,
        discarded_at: None,
    };
    let records = [record(7, b"key"), record(8, b""), record(9, b"key")];
    let with_nul = records.clone().map(|record| ParkedRecord { error: "it has a \0 in it".into(), ..record });
    for _ in 0..2 {
        let mut tx = writer.begin().await.unwrap();
        tx.park(&with_nul).await.unwrap();
        tx.commit().await.unwrap();
    }
    let mut tx = writer.begin().await.unwrap();
    assert_eq!(tx.parked_count().await.unwrap(), 3);
    assert_eq!(tx.parked().await.unwrap(), records);
    assert_eq!(tx.parked_keys().await.unwrap(), [(partition(3), b"key".to_vec(), 7)]);
    let of_key = [records[0].clone(), records[2].clone()];
    assert_eq!(tx.parked_of_key(&partition(3), b"key", 0, 9).await.unwrap(), of_key);
    assert_eq!(tx.parked_of_key(&partition(3), b"key", 0, 1).await.unwrap(), of_key[..1]);
    assert_eq!(tx.parked_of_key(&partition(3), b"key", 8, 9).await.unwrap(), of_key[1..]);
    assert_eq!(tx.parked_of_key(&partition(2), b"key", 0, 9).await.unwrap(), []);
    assert_eq!(tx.parked_count_of_key(&partition(3), b"key", 8).await.unwrap(), 1);
    assert_eq!(tx.parked_after(None, false, 2).await.unwrap(), records[..2]);
    assert_eq!(tx.parked_after(Some(&records[1]), false, 2).await.unwrap(), records[2..]);

    assert!(tx.parked_ahead().await.unwrap().is_empty(), "nobody reads that partition");
    tx.begin_at(&at(3, 8)).await.unwrap();
    tx.discard(records[2].id, 4).await.unwrap();
    let ahead = tx.parked_ahead().await.unwrap();
    assert_eq!(ahead, [(partition(3), 8), (partition(3), 9)], "discarded or not");
    tx.execute("UPDATE parked SET discarded_at = NULL", &[]).await.unwrap();

    tx.discard(records[0].id, 5).await.unwrap();
    tx.park_error(records[2].id, "again").await.unwrap();
    tx.unpark(records[1].id).await.unwrap();
    assert_eq!(tx.parked_count().await.unwrap(), 1);
    assert_eq!(tx.parked_keys().await.unwrap(), [(partition(3), b"key".to_vec(), 9)]);
    let left: Vec<_> = tx.parked().await.unwrap().into_iter().map(|left| (left.offset, left.discarded_at)).collect();
    assert_eq!(left, [(7, Some(5)), (9, None)], "what was discarded stays known");
    assert_eq!(tx.parked_record(records[2].id).await.unwrap().unwrap().error, "again");
    let listed = async |tx: &mut Tx, discarded| tx.parked_after(None, discarded, 9).await.unwrap().len();
    assert_eq!((listed(&mut tx, false).await, listed(&mut tx, true).await), (1, 2));
    assert_eq!(tx.discard_all(6).await.unwrap(), 1);
    assert_eq!((tx.parked_count().await.unwrap(), listed(&mut tx, true).await), (0, 2));
}

async fn a_part_of_a_transaction_is_taken_back_by_itself(settings: Settings) {
    let (_database, writer) = open(&settings).await;
    let insert = "INSERT INTO things (id, name, number) VALUES ($1, $2, $3)";
    let mut tx = writer.begin().await.unwrap();
    for (number, name, kept) in [(1, "kept", true), (2, "taken back", false), (3, "kept, too", true)] {
        tx.begin_part().await.unwrap();
        let id = Uuid::from_u128(number as u128);
        tx.execute(insert, &[id.into(), name.into(), i64::from(number).into()]).await.unwrap();
        if !kept {
            tx.execute(insert, &[id.into(), name.into(), 0.into()]).await.unwrap_err();
        }
        tx.end_part(kept).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(names(&writer).await, ["kept", "kept, too"]);
}

async fn a_look_at_a_generation_finds_its_own_tables(settings: Settings) {
    let (database, writer) = open(&settings).await;
    let live = database.live_or_new(&MODEL).await.unwrap();
    let next = database.begin_build(&MODEL, BuildOptions::default()).await.unwrap();
    insert(&writer, &[(1, "a", 1)]).await;
    for (generation, rows) in [(&live, 1), (&next, 0), (&live, 1)] {
        let mut tx = database.look_at(generation).await.unwrap();
        assert_eq!(tx.fetch::<(i64,)>("SELECT COUNT(*) FROM things", &[]).await.unwrap(), [(rows,)]);
        assert!(tx.execute("DELETE FROM things", &[]).await.is_err(), "it only reads");
    }
}

async fn held_generations_stay_as_they_are(settings: Settings) {
    let (database, _) = open(&settings).await;
    let live = database.live_or_new(&MODEL).await.unwrap();
    let held = database.hold_generations(MODEL.name).await.unwrap();
    assert_eq!((held.live(), held.unfinished()), (Some(&live), None));
    let building = tokio::spawn({
        let database = database.clone();
        async move { database.begin_build(&MODEL, BuildOptions::default()).await.unwrap() }
    });
    let early = tokio::time::timeout(Duration::from_millis(200), database.hold_generations(MODEL.name)).await;
    assert!(early.is_err() && !building.is_finished(), "somebody else holds them");
    drop(held);
    let next = building.await.unwrap();
    let held = database.hold_generations(MODEL.name).await.unwrap();
    assert_eq!(held.unfinished().map(|listed| &listed.generation), Some(&next));
}

async fn workers_are_seen_until_they_leave_or_are_long_dead(settings: Settings) {
    let database = Database::open(&settings).await.unwrap();
    let [lives, leaves, dies] = [1, 2, 3].map(Uuid::from_u128);
    for (worker, report) in [(lives, "first"), (leaves, "{}"), (dies, "{}"), (lives, "second")] {
        database.beat(worker, "things", report).await.unwrap();
    }
    let seen = database.workers().await.unwrap();
    assert_eq!((seen[0].id, seen[0].name.as_str(), seen[0].report.as_str()), (lives, "things", "second"));
    assert!(seen.len() == 3 && seen.iter().all(|worker| worker.seen_ago < Duration::from_secs(30)), "{seen:?}");
    database.leave(leaves).await.unwrap();

    for (minutes, known) in [(59, 2), (2, 1)] {
        age(&settings, dies, Duration::from_mins(minutes)).await;
        database.beat(lives, "things", "third").await.unwrap();
        assert_eq!(database.workers().await.unwrap().len(), known, "after {minutes} minutes more");
    }
    assert_eq!(database.workers().await.unwrap()[0].id, lives);
}

/// Makes a worker seem to have been seen longer ago.
async fn age(settings: &Settings, worker: Uuid, by: Duration) {
    let by = i64::try_from(by.as_millis()).unwrap();
    let changed = match settings {
        Settings::Postgres { url } => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            let aged = sqlx::query("UPDATE balcony.workers SET seen_at = seen_at - $2 WHERE id = $1");
            aged.bind(worker).bind(by).execute(&mut connection).await.unwrap().rows_affected()
        }
        Settings::Sqlite { directory } => {
            let mut connection =
                SqliteConnection::connect(&directory.join("store.db").display().to_string()).await.unwrap();
            let aged = sqlx::query("UPDATE workers SET seen_at = seen_at - $2 WHERE id = $1");
            aged.bind(worker).bind(by).execute(&mut connection).await.unwrap().rows_affected()
        }
    };
    assert_eq!(changed, 1);
}

async fn a_reader_waits_for_progress(settings: Settings) {
    let (database, writer) = open(&settings).await;
    let generation = database.live_or_new(&MODEL).await.unwrap();
    // Of another process, where there can be one.
    let elsewhere = match &settings {
        Settings::Postgres { .. } => Database::open(&settings).await.unwrap(),
        Settings::Sqlite { .. } => database.clone(),
    };
    let reader = Reader::open(&elsewhere, &["things"]).await;
    let mut tx = writer.begin().await.unwrap();
    let mut claim = tx.claim(&[partition(0)]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(reader.wait_for("things", &at(0, 0), Instant::now()).await.unwrap());
    assert!(!reader.wait_for("things", &at(0, 1), Instant::now()).await.unwrap());

    for next_offset in 1..20 {
        let wanted = at(0, next_offset);
        let patience = Instant::now() + Duration::from_secs(20);
        let waiting = tokio::spawn({
            let (reader, wanted) = (reader.clone(), wanted.clone());
            async move { reader.wait_for("things", &wanted, patience).await.unwrap() }
        });
        let mut tx = writer.begin().await.unwrap();
        tx.advance(&claim, &wanted).await.unwrap();
        tx.commit().await.unwrap();
        claim.advanced(&wanted);
        // Every other time nobody tells: whoever waits looks by itself.
        if next_offset % 2 == 0 {
            database.progress().announce(&generation, &wanted);
        }
        assert!(waiting.await.unwrap(), "at {next_offset}");
    }
    assert_eq!(reader.checkpoints("things").await.unwrap(), at(0, 19));
}

async fn a_reader_sees_no_read_model_before_it_is_there(settings: Settings) {
    let database = Database::open(&settings).await.unwrap();
    let reader = Reader::open(&database, &["things"]).await;
    let read = async || reader.fetch::<(i64,)>("SELECT COUNT(*) FROM things", &[]).await;
    assert!(matches!(read().await, Err(StoreError::NotReady(name)) if name == "things"));
    assert!(reader.check().await.is_err());
    let generation = database.live_or_new(&MODEL).await.unwrap();
    insert(&database.writer(&generation), &[(1, "a", 1)]).await;
    assert_eq!(read().await.unwrap(), [(1,)]);
    reader.check().await.unwrap();
}

async fn refusals_are_told_from_faults(settings: Settings) {
    let (_database, writer) = open(&settings).await;
    let mut tx = writer.begin().await.unwrap();
    let error = tx.execute("INSERT INTO nowhere VALUES (1)", &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    drop(tx);
    let mut tx = writer.begin().await.unwrap();
    let sql = "INSERT INTO things (id, name, number) VALUES ($1, $2, NULL)";
    let error = tx.execute(sql, &[Uuid::from_u128(1).into(), "x".into()]).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    drop(tx);
    // Another writer keeps SQLite's lock for longer than one waits for it.
    if let Settings::Sqlite { .. } = settings {
        let (_other_database, other) = open(&settings).await;
        let _held = writer.begin().await.unwrap();
        let error = other.begin().await.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_a_fault_that_passes_and_no_secret_shows() {
    let url = "postgres://balcony:hush@127.0.0.1:1/balcony".to_owned();
    let error = Database::open(&Settings::Postgres { url }).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let url = "no url with hush".to_owned();
    let error = Database::open(&Settings::Postgres { url }).await.unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured(_)));
    assert!(!error.to_string().contains("hush"));
}

/// A generation that follows, with its writer.
async fn following(database: &Database, options: BuildOptions) -> (Generation, Writer) {
    let generation = database.begin_build(&MODEL, options).await.unwrap();
    database.make_indexes(&generation, &MODEL).await.unwrap();
    database.make_indexes(&generation, &MODEL).await.unwrap();
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

async fn a_build_is_asked_for_once_and_goes_on(settings: Settings) {
    let (database, _) = open(&settings).await;
    let build = |version, options| {
        let database = &database;
        async move { database.begin_build(&ReadModel { version, ..MODEL }, options).await }
    };
    let (first, second) = tokio::join!(build(1, BuildOptions::default()), build(1, BuildOptions::default()));
    let generation = first.unwrap();
    assert_eq!(generation, second.unwrap());
    database.build_failed(&generation, "no room").await.unwrap();
    let listed = database.generations(Some("things")).await.unwrap().remove(1);
    assert_eq!((listed.state, listed.error.as_deref()), (GenerationState::Failed, Some("no room")));

    let park = BuildOptions { park_failures: true, ..BuildOptions::default() };
    assert_eq!(build(1, park).await.unwrap(), generation);
    let listed = database.generations(Some("things")).await.unwrap().remove(1);
    assert_eq!((listed.state, listed.error, listed.options), (GenerationState::Copying, None, park));

    // A newer version takes its place, and the older one cannot take it back.
    let newer = build(2, BuildOptions::default()).await.unwrap();
    assert_eq!((newer.number, newer.version), (3, 2));
    assert_eq!(states(&database).await, [(1, GenerationState::Live), (3, GenerationState::Copying)]);
    assert!(matches!(build(1, park).await, Err(StoreError::Misconfigured(_))));
    assert!(matches!(
        database.build_stands_at(&generation, GenerationState::Indexing).await,
        Err(StoreError::Fenced(_))
    ));
}

async fn one_builds_at_a_time(settings: Settings) {
    let (first, _) = open(&settings).await;
    let second = Database::open(&settings).await.unwrap();
    let lease = first.lease("things").await.unwrap();
    assert!(lease.is_some());
    assert!(second.lease("things").await.unwrap().is_none());
    assert!(second.lease("others").await.unwrap().is_some());
    drop(lease);
    let deadline = Instant::now() + Duration::from_secs(20);
    while second.lease("things").await.unwrap().is_none() {
        assert!(Instant::now() < deadline, "the lease does not end with its holder");
        tokio::task::yield_now().await;
    }
}

async fn readers_change_over_at_the_switch(settings: Settings) {
    let (database, writer) = open(&settings).await;
    let reader = Reader::open(&database, &["things"]).await;
    insert(&writer, &[(1, "old", 1)]).await;
    let (generation, writer) = following(&database, BuildOptions::default()).await;
    insert(&writer, &[(1, "new", 1), (2, "new", 2)]).await;
    let read = async || -> Vec<(String,)> { reader.fetch("SELECT name FROM things ORDER BY id", &[]).await.unwrap() };
    assert_eq!(read().await, [("old".to_owned(),)]);
    switch(&database, &generation).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while read().await.len() < 2 {
        assert!(Instant::now() < deadline, "the reader does not change over");
        tokio::task::yield_now().await;
    }
    assert_eq!(states(&database).await, [(1, GenerationState::Retired), (2, GenerationState::Live)]);

    // The next switch drops what was retired before, unless it is to be kept.
    let (generation, _) = following(&database, BuildOptions { keep_old: true, ..BuildOptions::default() }).await;
    switch(&database, &generation).await;
    assert_eq!(states(&database).await.len(), 3);
    let (generation, _) = following(&database, BuildOptions::default()).await;
    switch(&database, &generation).await;
    assert_eq!(states(&database).await, [(3, GenerationState::Retired), (4, GenerationState::Live)]);
    assert_eq!(namespaces(&settings).await, ["things_3", "things_4"]);
    assert_eq!(database.live_or_new(&MODEL).await.unwrap(), generation);
}

async fn a_switch_waits_for_the_new_generation_and_holds_the_old_one(settings: Settings) {
    let (database, writer) = open(&settings).await;
    let mut tx = writer.begin().await.unwrap();
    let claim = tx.claim(&[partition(0)]).await.unwrap();
    tx.advance(&claim, &at(0, 7)).await.unwrap();
    tx.commit().await.unwrap();
    let (generation, _) = following(&database, BuildOptions::default()).await;

    let switched = database.switch(&generation, async |live| {
        assert_eq!(*live, at(0, 7));
        false
    });
    assert!(!switched.await.unwrap());
    assert_eq!(states(&database).await, [(1, GenerationState::Live), (2, GenerationState::Following)]);

    // Whoever writes the old one waits until the new one is live.
    let moved = tokio::sync::OnceCell::new();
    let switched = database.switch(&generation, async |_| {
        let moving = async {
            let mut tx = writer.begin().await.unwrap();
            tx.hold_checkpoints().await.unwrap();
            moved.set(()).unwrap();
        };
        tokio::time::timeout(Duration::from_millis(50), moving).await.is_err()
    });
    assert!(switched.await.unwrap());
    assert!(!moved.initialized());
    assert!(matches!(database.switch(&generation, async |_| true).await, Err(StoreError::Fenced(_))));
}

async fn going_back_is_one_step(settings: Settings) {
    let (database, _) = open(&settings).await;
    let error = database.roll_back("things").await.unwrap_err();
    assert!(error.to_string().contains("no generation before"), "{error}");
    let (generation, _) = following(&database, BuildOptions::default()).await;
    switch(&database, &generation).await;
    for (live, retired) in [(1, 2), (2, 1)] {
        let (to, from) = database.roll_back("things").await.unwrap();
        assert_eq!((to.number, from.number), (live, retired));
        let state = |number| if number == live { GenerationState::Live } else { GenerationState::Retired };
        assert_eq!(states(&database).await, [(1, state(1)), (2, state(2))]);
    }
}

async fn what_was_given_up_leaves_nothing(settings: Settings) {
    let (database, _) = open(&settings).await;
    database.begin_build(&MODEL, BuildOptions::default()).await.unwrap();
    assert_eq!(namespaces(&settings).await, ["things_1", "things_2"]);
    assert_eq!(database.cancel_build("things").await.unwrap().unwrap().number, 2);
    assert_eq!(database.cancel_build("things").await.unwrap(), None);
    assert_eq!(namespaces(&settings).await, ["things_1"]);
    if let Settings::Sqlite { directory } = &settings {
        // As a crash between the row and the file leaves it.
        std::fs::write(directory.join("things_9.db"), "left over").unwrap();
        drop(Database::open(&settings).await.unwrap());
        assert_eq!(namespaces(&settings).await, ["things_1"]);
    }
}

async fn generations_are_compared_by_the_keys_of_their_rows(settings: Settings) {
    let (database, writer) = open(&settings).await;
    let (_, other) = following(&database, BuildOptions::default()).await;
    let digests = async |writer: &Writer| writer.snapshot().await.unwrap().digests().await.unwrap();
    insert(&writer, &[(1, "a", 1), (2, "b", 2)]).await;
    assert_ne!(digests(&writer).await, digests(&other).await);
    insert(&other, &[(2, "x", 7)]).await;
    insert(&other, &[(1, "y", 8)]).await;
    assert_eq!(digests(&writer).await, digests(&other).await);
    let [things] = &digests(&writer).await[..] else { panic!("there is one table") };
    assert_eq!((things.table.as_str(), things.rows), ("things", 2));

    // A snapshot stays as it is.
    let mut snapshot = writer.snapshot().await.unwrap();
    let before = snapshot.digests().await.unwrap();
    let separate = database.writer(&database.live_or_new(&MODEL).await.unwrap());
    insert(&separate, &[(3, "c", 3)]).await;
    assert_eq!(snapshot.digests().await.unwrap(), before);
    drop(snapshot);
    assert_ne!(digests(&writer).await, before);
}

/// The schemas or files of generations that are there.
async fn namespaces(settings: &Settings) -> Vec<String> {
    let mut found = match settings {
        Settings::Postgres { url } => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            let sql = "SELECT schema_name::text FROM information_schema.schemata WHERE schema_name LIKE 'things%'";
            sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
        }
        Settings::Sqlite { directory } => {
            let names = std::fs::read_dir(directory).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let files = names.filter_map(|name| Some(name.strip_suffix(".db")?.to_owned()));
            files.filter(|name| name.starts_with("things")).collect::<Vec<_>>()
        }
    };
    found.sort();
    found
}
