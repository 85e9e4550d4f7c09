use balcony_store::sqlx::types::JsonValue;
use balcony_store::{
    BuildOptions, Database, GenerationTx, Json, OffsetDateTime, ReadModel, Reader, Scratch, StoreError, Uuid, Value,
};
use time::macros::datetime;

use super::open;

on_both! {
    every_value_comes_back
    every_type_goes_every_way
    readers_give_what_transactions_give
    nulls_of_every_type_go_every_way
    times_sort_as_they_pass
    json_is_found_again_and_asked_into
    what_cannot_be_kept_is_refused
}

balcony_store::row! {
    /// A row of the table `kinds`.
    #[derive(Debug, Clone, PartialEq)]
    struct Kinds {
        id: i64,
        uuid: Option<Uuid>,
        text: Option<String>,
        bytes: Option<Vec<u8>>,
        flag: Option<bool>,
        float: Option<f64>,
        json: Option<Json<JsonValue>>,
        time: Option<OffsetDateTime>,
    }
}

const COLUMNS: [&str; 8] = ["id", "uuid", "text", "bytes", "flag", "float", "json", "time"];
/// Fewer than are worth the bulk path, and more.
const COUNTS: [i64; 2] = [3, 200];

fn model() -> ReadModel {
    let schema = "
        CREATE TABLE kinds (
            id BIGINT NOT NULL PRIMARY KEY, uuid UUID, text TEXT, bytes BYTEA, flag BOOLEAN, float DOUBLE PRECISION,
            json JSONB, time TIMESTAMPTZ
        );
        CREATE INDEX kinds_by_time ON kinds (time);";
    ReadModel::new("kinds", 1, ["events"], schema)
}

async fn begin(scratch: &Scratch) -> (Database, GenerationTx) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let generation = database.live_or_new(&model()).await.unwrap();
    let tx = database.writer(&generation).begin().await.unwrap();
    (database, tx)
}

/// Every third row is all NULL but for its id.
fn kinds(id: i64) -> Kinds {
    if id % 3 == 2 {
        return empty(id);
    }
    let jsons = [
        r#"{"z": [1, 2.5, null, "ß"], "a": {"deep": true}, "m": 1e300}"#,
        "17",
        r#""17""#,
        "1.0",
        "null",
        "false",
        r#""2026-01-01T00:00:00Z""#,
        "-9223372036854775808",
    ];
    let json = jsons[usize::try_from(id).unwrap() % jsons.len()].parse().unwrap();
    let floats = [0.0, -1.5, 1e300, f64::MIN_POSITIVE, 3.0, f64::MAX];
    Kinds {
        id,
        uuid: Some(Uuid::from_u128(id as u128)),
        text: Some(["", "17", "1e3", "ß 雨", "2026-01-01"][usize::try_from(id).unwrap() % 5].to_owned()),
        bytes: Some(vec![0, 0xff, u8::try_from(id % 256).unwrap()]),
        flag: Some(id % 2 == 0),
        float: Some(floats[usize::try_from(id).unwrap() % floats.len()]),
        json: Some(Json(json)),
        time: Some(datetime!(1969-12-31 23:59:59.999999 UTC) + time::Duration::hours(id)),
    }
}

fn empty(id: i64) -> Kinds {
    Kinds { id, uuid: None, text: None, bytes: None, flag: None, float: None, json: None, time: None }
}

fn values(kinds: &Kinds) -> [Value<'_>; 8] {
    [
        kinds.id.into(),
        kinds.uuid.into(),
        kinds.text.as_deref().into(),
        kinds.bytes.as_deref().into(),
        kinds.flag.into(),
        kinds.float.into(),
        kinds.json.as_ref().map(|json| json.0.clone()).into(),
        kinds.time.into(),
    ]
}

async fn every_value_comes_back(scratch: Scratch) {
    let (_database, writer) = open(scratch.settings()).await;
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

async fn every_type_goes_every_way(scratch: Scratch) {
    go_every_way(scratch, kinds).await;
}

async fn nulls_of_every_type_go_every_way(scratch: Scratch) {
    go_every_way(scratch, empty).await;
}

/// Writes rows by each method, few and many, and reads them back by each.
async fn go_every_way(scratch: Scratch, row: impl Fn(i64) -> Kinds) {
    let (_database, mut tx) = begin(&scratch).await;
    let columns = COLUMNS.join(", ");
    for count in COUNTS {
        let expected: Vec<Kinds> = (0..count).map(&row).collect();
        let rows: Vec<[Value<'_>; 8]> = expected.iter().map(values).collect();
        for way in ["execute", "execute_rows", "insert_new"] {
            tx.execute("DELETE FROM kinds", &[]).await.unwrap();
            match way {
                "execute" => {
                    let sql = format!("INSERT INTO kinds ({columns}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
                    for row in &rows {
                        assert_eq!(tx.execute(sql.clone(), row).await.unwrap(), 1);
                    }
                }
                "execute_rows" => {
                    let sql = format!("INSERT INTO kinds ({columns}) VALUES $rows");
                    assert_eq!(tx.execute_rows(&sql, &rows).await.unwrap(), u64::try_from(count).unwrap());
                }
                _ => {
                    let inserted = tx.insert_new("kinds", &["id"], COLUMNS, &rows).await.unwrap();
                    assert_eq!(inserted, vec![true; rows.len()]);
                    let again = tx.insert_new("kinds", &["id"], COLUMNS, &rows).await.unwrap();
                    assert_eq!(again, vec![false; rows.len()]);
                }
            }
            let sql = "SELECT * FROM kinds WHERE id < $1 ORDER BY id";
            let found: Vec<Kinds> = tx.fetch(sql, &[count.into()]).await.unwrap();
            assert_eq!(found, expected, "{count} by {way}");
        }
        // Given back by a statement over many rows, and equal to what is in the table.
        let same = "WITH given (id, uuid, text, bytes, flag, float, json, time) AS (VALUES $rows)
                    SELECT given.* FROM given JOIN kinds ON kinds.id = given.id
                        AND (kinds.uuid = given.uuid OR given.uuid IS NULL)
                        AND (kinds.text = given.text OR given.text IS NULL)
                        AND (kinds.bytes = given.bytes OR given.bytes IS NULL)
                        AND (kinds.flag = given.flag OR given.flag IS NULL)
                        AND (kinds.float = given.float OR given.float IS NULL)
                        AND (kinds.json = given.json OR given.json IS NULL)
                        AND (kinds.time = given.time OR given.time IS NULL)";
        let mut found: Vec<Kinds> = tx.fetch_rows(same, &rows).await.unwrap();
        found.sort_by_key(|kinds| kinds.id);
        assert_eq!(found, expected);
    }
}

async fn readers_give_what_transactions_give(scratch: Scratch) {
    let (database, mut tx) = begin(&scratch).await;
    let expected: Vec<Kinds> = (0..24).map(kinds).collect();
    let rows: Vec<[Value<'_>; 8]> = expected.iter().map(values).collect();
    tx.insert_new("kinds", &["id"], COLUMNS, &rows).await.unwrap();
    tx.commit().await.unwrap();
    let reader = Reader::open(&database, vec![model()]).await;
    let found: Vec<Kinds> = reader.fetch("SELECT * FROM kinds ORDER BY id", &[]).await.unwrap();
    assert_eq!(found, expected);
    for row in expected.iter().filter(|row| row.text.is_some()) {
        let sql = "SELECT * FROM kinds WHERE id = $1 AND uuid = $2 AND text = $3 AND bytes = $4 AND flag = $5
                   AND float = $6 AND json = $7 AND time = $8";
        let found: Vec<Kinds> = reader.fetch(sql, &values(row)).await.unwrap();
        assert!(found.len() == 1 && found[0] == *row, "{found:?} are not {row:?}");
    }
}

async fn times_sort_as_they_pass(scratch: Scratch) {
    let (_database, mut tx) = begin(&scratch).await;
    let times = [
        datetime!(0001-01-01 00:00 UTC),
        datetime!(1969-12-31 23:59:59.999999 UTC),
        datetime!(1970-01-01 00:00 UTC),
        datetime!(1999-12-31 23:59:59.5 UTC),
        datetime!(2026-03-29 03:30:00.000001 +02:00),
        datetime!(9999-12-31 23:59:59.999999 UTC),
    ];
    for (id, time) in times.iter().enumerate().rev() {
        let sql = "INSERT INTO kinds (id, time) VALUES ($1, $2)";
        // What is shorter than a microsecond is cut off.
        let time = *time + time::Duration::nanoseconds(999);
        tx.execute(sql, &[i64::try_from(id).unwrap().into(), time.into()]).await.unwrap();
    }
    let found: Vec<(OffsetDateTime,)> = tx.fetch("SELECT time FROM kinds ORDER BY time", &[]).await.unwrap();
    assert_eq!(found, times.map(|time| (time,)));
    let later: Vec<(i64,)> =
        tx.fetch("SELECT id FROM kinds WHERE time > $1 ORDER BY time", &[times[3].into()]).await.unwrap();
    assert_eq!(later, [(4,), (5,)]);
}

async fn json_is_found_again_and_asked_into(scratch: Scratch) {
    let (_database, mut tx) = begin(&scratch).await;
    let json = |text: &str| -> JsonValue { text.parse().unwrap() };
    let sql = "INSERT INTO kinds (id, json) VALUES ($1, $2)";
    tx.execute(sql, &[1.into(), json(r#"{"b": 2, "a": {"name": "x"}}"#).into()]).await.unwrap();
    let same = json(r#"{"a": {"name": "x"}, "b": 2}"#);
    let found: Vec<(i64,)> = tx.fetch("SELECT id FROM kinds WHERE json = $1", &[same.into()]).await.unwrap();
    assert_eq!(found, [(1,)]);
    let found: Vec<(String,)> = tx.fetch("SELECT json -> 'a' ->> 'name' FROM kinds", &[]).await.unwrap();
    assert_eq!(found, [("x".to_owned(),)]);
}

async fn what_cannot_be_kept_is_refused(scratch: Scratch) {
    let (database, mut tx) = begin(&scratch).await;
    drop(database.begin_build(&model(), BuildOptions::default()).await);
    let mixed: [[Value<'_>; 1]; 2] = [[1.into()], ["2".into()]];
    if scratch.writes_at_once() {
        let error = tx.execute_rows("INSERT INTO kinds (id) VALUES $rows", &mixed).await.unwrap_err();
        assert!(matches!(&error, StoreError::Refused(_)) && error.to_string().contains("several types"), "{error}");
    } else {
        let sql = "INSERT INTO kinds (id, time) VALUES (1, $1)";
        let error = tx.execute(sql, &[datetime!(-0001-01-01 00:00 UTC).into()]).await.unwrap_err();
        assert!(matches!(&error, StoreError::Refused(_)) && error.to_string().contains("years"), "{error}");
    }
}
