//! What PostgreSQL does in its own way.

use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions};
use sqlx::{Arguments as _, AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres};

use crate::database::Durability;
use crate::value::Value;
use crate::{Generation, StoreError};

/// The schema of the store's own tables.
pub(crate) const STORE_SCHEMA: &str = "balcony";
/// How long a connection is waited for.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read at the same time.
const READERS: u32 = 16;
/// Connections that write one read model: one works, one takes over.
const WRITERS: u32 = 2;
/// Bytes after which a COPY is handed on.
const COPY_CHUNK: usize = 256 << 10;

/// Connections for the store's own tables.
pub(crate) fn store(options: &PgConnectOptions) -> PgPool {
    pool(options, STORE_SCHEMA, 4)
}

/// Connections that write `generation`.
pub(crate) fn writers(options: &PgConnectOptions, generation: &Generation, durability: Durability) -> PgPool {
    let synchronous_commit = match durability {
        Durability::Full => "on",
        Durability::Relaxed => "off",
    };
    let options = options.clone().options([("synchronous_commit", synchronous_commit)]);
    pool(&options, &generation.namespace(), WRITERS)
}

/// Connections that read the generations `live`.
///
/// What is read is pages, some milliseconds of work: compiling a query or starting processes for it takes longer.
pub(crate) fn readers(options: &PgConnectOptions, live: &[Generation]) -> PgPool {
    let options = options.clone().options([("jit", "off"), ("max_parallel_workers_per_gather", "0")]);
    let search_path: Vec<String> = live.iter().map(Generation::namespace).collect();
    pool(&options, &search_path.join(","), READERS)
}

fn pool(options: &PgConnectOptions, search_path: &str, connections: u32) -> PgPool {
    let options = options.clone().options([("search_path", search_path)]).application_name("balcony");
    PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).connect_lazy_with(options)
}

/// Makes the namespace of `generation` and looks for plain names in it, until the transaction ends.
pub(crate) async fn create_schema(connection: &mut PgConnection, generation: &Generation) -> Result<(), StoreError> {
    let namespace = generation.namespace();
    let sql = format!(
        "SET LOCAL client_min_messages = warning; DROP SCHEMA IF EXISTS {namespace} CASCADE; CREATE SCHEMA {namespace}; SET LOCAL search_path = {namespace}"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// Looks for plain names in the namespace of `generation`, until the transaction ends.
pub(crate) async fn look_in(connection: &mut PgConnection, generation: &Generation) -> Result<(), StoreError> {
    let sql = format!("SET LOCAL search_path = {}", generation.namespace());
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// Drops the namespace of `generation` with everything in it.
pub(crate) async fn drop_schema(connection: &mut PgConnection, generation: &Generation) -> Result<(), StoreError> {
    let sql = format!("DROP SCHEMA IF EXISTS {} CASCADE", generation.namespace());
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// A connection that holds the right to build `projection`, which ends with it; `None` while another one has it.
pub(crate) async fn try_lease(
    options: &PgConnectOptions,
    projection: &str,
) -> Result<Option<PgConnection>, StoreError> {
    let mut connection = PgConnection::connect_with(options).await?;
    let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtext('balcony.build'), hashtext($1))")
        .bind(projection)
        .fetch_one(&mut connection)
        .await?;
    Ok(taken.then_some(connection))
}

/// The clock, in milliseconds since 1970.
pub(crate) const NOW: &str = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint";

/// The tables of the current namespace with the columns of their keys.
pub(crate) const KEY_COLUMNS: &str = "
    SELECT pg_class.relname::text, pg_attribute.attname::text
    FROM pg_class
    JOIN pg_index ON pg_index.indrelid = pg_class.oid AND pg_index.indisprimary
    JOIN pg_attribute ON pg_attribute.attrelid = pg_class.oid AND pg_attribute.attnum = ANY (pg_index.indkey)
    WHERE pg_class.relnamespace = current_schema()::regnamespace AND pg_class.relkind = 'r'
      AND pg_class.relname NOT IN ('checkpoints', 'parked')
    ORDER BY pg_class.relname, pg_attribute.attnum";

/// The number of rows of `table` and the sum of the hashes of their keys.
pub(crate) async fn digest(
    connection: &mut PgConnection,
    table: &str,
    key: &[String],
) -> Result<(i64, String), StoreError> {
    let sql = format!(
        "SELECT COUNT(*), COALESCE(SUM(hashtextextended(ROW({})::text, 0)), 0)::text FROM {table}",
        key.join(", ")
    );
    Ok(sqlx::query_as(AssertSqlSafe(sql)).fetch_one(connection).await?)
}

/// Makes an index that may be there already.
pub(crate) async fn make_index(connection: &mut PgConnection, sql: String) -> Result<(), StoreError> {
    let sql = format!("SET LOCAL maintenance_work_mem = '256MB'; {sql}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// Lets the planner know what the tables of the current namespace hold, which it would otherwise learn a while after
/// they were filled.
pub(crate) async fn analyze(connection: &mut PgConnection) -> Result<(), StoreError> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'",
    )
    .fetch_all(&mut *connection)
    .await?;
    let sql = format!("ANALYZE {}", tables.join(", "));
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// Waits until no other process changes the set of generations, until the transaction ends.
pub(crate) async fn lock_generations(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('balcony.generations'))").execute(connection).await?;
    Ok(())
}

/// `sql` with a query over arrays in place of `placeholder`: one parameter for each column, however many rows there
/// are, so that there is one statement to parse and keep.
pub(crate) fn over_rows<const N: usize>(
    sql: &str,
    placeholder: &str,
    rows: &[[Value<'_>; N]],
) -> Result<(AssertSqlSafe<String>, PgArguments), StoreError> {
    let mut arguments = PgArguments::default();
    let mut arrays = Vec::with_capacity(N);
    for column in 0..N {
        let values = rows.iter().map(|row| &row[column]);
        let (array, added) = match rows.first().map(|row| &row[column]) {
            None | Some(Value::Int(_)) => (
                "bigint[]",
                arguments.add(of_type(values, |value| match value {
                    Value::Int(value) => Some(*value),
                    _ => None,
                })?),
            ),
            Some(Value::Uuid(_)) => (
                "uuid[]",
                arguments.add(of_type(values, |value| match value {
                    Value::Uuid(value) => Some(*value),
                    _ => None,
                })?),
            ),
            Some(Value::Text(_)) => (
                "text[]",
                arguments.add(of_type(values, |value| match value {
                    Value::Text(value) => Some(value.as_deref()),
                    _ => None,
                })?),
            ),
            Some(Value::Bytes(_)) => (
                "bytea[]",
                arguments.add(of_type(values, |value| match value {
                    Value::Bytes(value) => Some(value.as_deref()),
                    _ => None,
                })?),
            ),
        };
        added.map_err(StoreError::encoding)?;
        arrays.push(format!("${}::{array}", column + 1));
    }
    let query = format!("SELECT * FROM unnest({})", arrays.join(", "));
    Ok((AssertSqlSafe(sql.replace(placeholder, &query)), arguments))
}

/// The values of one column.
fn of_type<'v, T>(
    values: impl Iterator<Item = &'v Value<'v>>,
    of_type: impl Fn(&'v Value<'v>) -> Option<Option<T>>,
) -> Result<Vec<Option<T>>, StoreError> {
    let values: Option<_> = values.map(of_type).collect();
    values.ok_or_else(|| StoreError::encoding("a column has values of several types".into()))
}

/// Writes `rows` into `table` by binary COPY.
pub(crate) async fn copy<const N: usize>(
    tx: &mut sqlx::Transaction<'static, Postgres>,
    table: &str,
    columns: &[&str; N],
    rows: &[[Value<'_>; N]],
) -> Result<(), StoreError> {
    let statement = format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", columns.join(", "));
    let mut copy = tx.copy_in_raw(&statement).await?;
    let mut buffer = Vec::with_capacity(COPY_CHUNK + (64 << 10));
    buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    let column_count = i16::try_from(N).expect("a table has few columns");
    for row in rows {
        buffer.extend_from_slice(&column_count.to_be_bytes());
        for value in row {
            encode(&mut buffer, value)?;
        }
        if buffer.len() >= COPY_CHUNK {
            copy.send(buffer.as_slice()).await?;
            buffer.clear();
        }
    }
    buffer.extend_from_slice(&(-1_i16).to_be_bytes());
    copy.send(buffer.as_slice()).await?;
    copy.finish().await?;
    Ok(())
}

fn encode(buffer: &mut Vec<u8>, value: &Value<'_>) -> Result<(), StoreError> {
    let int;
    let bytes: Option<&[u8]> = match value {
        Value::Int(value) => {
            int = value.map(i64::to_be_bytes);
            int.as_ref().map(<[u8; 8]>::as_slice)
        }
        Value::Uuid(value) => value.as_ref().map(|value| value.as_bytes().as_slice()),
        Value::Text(value) => value.as_ref().map(|value| value.as_bytes()),
        Value::Bytes(value) => value.as_deref(),
    };
    let length = bytes.map_or(Ok(-1), |bytes| i32::try_from(bytes.len()));
    let length = length.map_err(|error| StoreError::encoding(error.into()))?;
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.extend_from_slice(bytes.unwrap_or_default());
    Ok(())
}
