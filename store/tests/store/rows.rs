use balcony_store::sqlx::types::JsonValue;
use balcony_store::{Database, GenerationTx, ReadModel, Scratch, StoreError, Uuid, Value};
use time::macros::datetime;

use super::{insert, open};

on_both! {
    only_new_rows_are_inserted
    many_rows_go_through_few_statements
    a_key_is_of_any_type
    a_key_is_of_several_columns
    a_key_is_whole_and_of_the_columns
}

async fn only_new_rows_are_inserted(scratch: Scratch) {
    let (_database, writer) = open(scratch.settings()).await;
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

async fn many_rows_go_through_few_statements(scratch: Scratch) {
    let (_database, writer) = open(scratch.settings()).await;
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

fn kept() -> ReadModel {
    let schema = "
        CREATE TABLE numbered (number BIGINT NOT NULL PRIMARY KEY, name TEXT);
        CREATE TABLE named (name TEXT NOT NULL PRIMARY KEY, number BIGINT);
        CREATE TABLE hashed (hash BYTEA NOT NULL PRIMARY KEY);
        CREATE TABLE answered (answer BOOLEAN NOT NULL PRIMARY KEY, name TEXT);
        CREATE TABLE weighed (weight DOUBLE PRECISION NOT NULL PRIMARY KEY, name TEXT);
        CREATE TABLE described (description JSONB NOT NULL PRIMARY KEY, name TEXT);
        CREATE TABLE timed (name TEXT, at TIMESTAMPTZ NOT NULL PRIMARY KEY);
        CREATE TABLE windows (
            stream TEXT NOT NULL, amount BIGINT, at TIMESTAMPTZ NOT NULL, id UUID NOT NULL,
            PRIMARY KEY (stream, at, id)
        );";
    ReadModel::new("kept", 1, ["events"], schema)
}

async fn begin(scratch: &Scratch) -> (Database, GenerationTx) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let generation = database.live_or_new(&kept()).await.unwrap();
    let tx = database.writer(&generation).begin().await.unwrap();
    (database, tx)
}

/// Inserts keys of which the first is given twice, few and many of them, and all again.
async fn insert_by<const N: usize>(
    tx: &mut GenerationTx,
    table: &str,
    key: &[&str],
    columns: [&str; N],
    row: impl Fn(i64) -> [Value<'static>; N],
) {
    for (from, count) in [(0, 5), (100, 300)] {
        let mut rows: Vec<_> = (from..from + count).map(&row).collect();
        rows.push(row(from));
        let mut expected = vec![true; rows.len() - 1];
        expected.push(false);
        assert_eq!(tx.insert_new(table, key, columns, &rows).await.unwrap(), expected, "{table}");
        assert_eq!(tx.insert_new(table, key, columns, &rows).await.unwrap(), vec![false; rows.len()], "{table}");
        rows.pop();
        rows.push(row(from + count));
        let mut expected = vec![false; rows.len() - 1];
        expected.push(true);
        assert_eq!(tx.insert_new(table, key, columns, &rows).await.unwrap(), expected, "{table}");
    }
    // All new, by the bulk path.
    let rows: Vec<_> = (1_000..1_100).map(&row).collect();
    assert_eq!(tx.insert_new(table, key, columns, &rows).await.unwrap(), [true; 100], "{table}");
}

async fn a_key_is_of_any_type(scratch: Scratch) {
    let (_database, mut tx) = begin(&scratch).await;
    let tx = &mut tx;
    let text = |number: i64| format!("nr. {number}");
    let time =
        |number| datetime!(2026-01-31 09:30 UTC) + time::Duration::milliseconds(number) + time::Duration::NANOSECOND;
    insert_by(tx, "numbered", &["number"], ["number", "name"], |n| [n.into(), text(n).into()]).await;
    insert_by(tx, "named", &["name"], ["number", "name"], |n| [n.into(), text(n).into()]).await;
    insert_by(tx, "hashed", &["hash"], ["hash"], |n| [n.to_be_bytes().to_vec().into()]).await;
    insert_by(tx, "weighed", &["weight"], ["weight", "name"], |n| [(n as f64 / 4.0).into(), text(n).into()]).await;
    let json = |n: i64| -> JsonValue { format!(r#"{{"n": {n}, "half": {}.5, "a": ["b"]}}"#, n).parse().unwrap() };
    insert_by(tx, "described", &["description"], ["name", "description"], |n| [text(n).into(), json(n).into()]).await;
    insert_by(tx, "timed", &["at"], ["name", "at"], |n| [text(n).into(), time(n).into()]).await;

    let answers: [[Value<'_>; 2]; 3] =
        [[true.into(), "a".into()], [false.into(), "b".into()], [true.into(), "c".into()]];
    let inserted = tx.insert_new("answered", &["answer"], ["answer", "name"], &answers).await.unwrap();
    assert_eq!(inserted, [true, true, false]);
    let zeros: [[Value<'_>; 1]; 2] = [[(-0.0).into()], [0.0.into()]];
    tx.execute("DELETE FROM weighed", &[]).await.unwrap();
    assert_eq!(tx.insert_new("weighed", &["weight"], ["weight"], &zeros).await.unwrap(), [true, false]);
}

async fn a_key_is_of_several_columns(scratch: Scratch) {
    let (_database, mut tx) = begin(&scratch).await;
    let columns = ["amount", "id", "at", "stream"];
    let row = |n: i64| {
        let at = datetime!(2026-01-31 09:30 UTC) + time::Duration::minutes(n % 7);
        let stream = format!("stream {}", n % 5);
        [7.into(), Uuid::from_u128(n as u128 / 35).into(), at.into(), stream.into()]
    };
    insert_by(&mut tx, "windows", &["stream", "at", "id"], columns, row).await;
    // What is not of the key does not count.
    let [_, id, at, stream] = row(0);
    let inserted = tx.insert_new("windows", &["at", "stream", "id"], columns, &[[8.into(), id, at, stream]]).await;
    assert_eq!(inserted.unwrap(), [false]);
}

async fn a_key_is_whole_and_of_the_columns(scratch: Scratch) {
    let (_database, mut tx) = begin(&scratch).await;
    let refused = async |tx: &mut GenerationTx, key: &[&str], row: [Value<'static>; 2]| {
        let rows = vec![row; 100];
        for rows in [&rows[..1], &rows] {
            let error = tx.insert_new("weighed", key, ["weight", "name"], rows).await.unwrap_err();
            assert!(matches!(error, StoreError::Refused(_)), "{error}");
        }
    };
    refused(&mut tx, &[], [1.0.into(), "a".into()]).await;
    refused(&mut tx, &["number"], [1.0.into(), "a".into()]).await;
    refused(&mut tx, &["weight"], [Value::Float(None), "a".into()]).await;
    refused(&mut tx, &["weight"], [f64::NAN.into(), "a".into()]).await;
    // None of these reached the database, where it would have ended the transaction.
    let row: [Value<'_>; 2] = [1.0.into(), Value::from(None::<&str>)];
    assert_eq!(tx.insert_new("weighed", &["weight"], ["weight", "name"], &[row]).await.unwrap(), [true]);
}
