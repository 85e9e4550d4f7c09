//! What PostgreSQL does in its own way in a transaction.

use std::mem::discriminant;

use futures_util::TryStreamExt as _;
use serde_json::Value as Json;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgTypeInfo};
use sqlx::{Arguments as _, AssertSqlSafe, PgConnection, PgPool, Postgres, Type, TypeInfo as _};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::is_lost;
use crate::value::to_the_microsecond;
use crate::{Columns, StoreError, Value};

pub(crate) type Transaction = sqlx::Transaction<'static, Postgres>;

/// Begins a transaction that writes.
pub(crate) const BEGIN: &str = "BEGIN";
/// Begins a transaction that reads what was there at its first statement.
pub(crate) const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// The clock, in milliseconds since 1970.
pub(crate) const NOW: &str = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint";
/// What tells this database from its copies: the server's number, which it keeps for its life, and the database on it.
pub(crate) const OWN_IDENTITY: Option<&str> = Some(
    "SELECT system_identifier || '/' || oid || '/' || datname FROM pg_control_system(), pg_database
     WHERE datname = current_database()",
);
/// Ends a query for rows that nobody else changes before the transaction ends.
pub(crate) const HELD: &str = "FOR UPDATE";
/// Lets the transaction wait half a second for a lock at the most.
pub(crate) const WAIT_BRIEFLY: &str = "SET LOCAL lock_timeout = '500ms'";
/// The tables of the current schema but this crate's, with their columns in order.
pub(crate) const COLUMNS: &str = "
    SELECT pg_class.relname::text, pg_attribute.attname::text FROM pg_class
    JOIN pg_attribute ON pg_attribute.attrelid = pg_class.oid
    WHERE pg_class.relnamespace = current_schema()::regnamespace AND pg_class.relkind = 'r'
        AND pg_class.relname NOT IN ('checkpoints', 'parked')
        AND pg_attribute.attnum > 0 AND NOT pg_attribute.attisdropped
    ORDER BY pg_class.relname, pg_attribute.attnum";

/// Rows that go through one statement at the most.
const ROWS_PER_STATEMENT: usize = 8_192;
/// Bytes after which a COPY is handed on.
const COPY_CHUNK: usize = 256 << 10;

impl Value<'_> {
    /// Its type and the type of arrays of it.
    fn types(&self) -> (PgTypeInfo, PgTypeInfo) {
        fn of<T: Type<Postgres> + PgHasArrayType>() -> (PgTypeInfo, PgTypeInfo) {
            (T::type_info(), T::array_type_info())
        }

        match self {
            Self::Int(_) => of::<i64>(),
            Self::Uuid(_) => of::<Uuid>(),
            Self::Text(_) => of::<String>(),
            Self::Bytes(_) => of::<Vec<u8>>(),
            Self::Bool(_) => of::<bool>(),
            Self::Float(_) => of::<f64>(),
            Self::Json(_) => of::<Json>(),
            Self::Time(_) => of::<OffsetDateTime>(),
        }
    }
}

/// As a parameter, as an element of an array and as a column of a COPY alike.
impl Encode<'_, Postgres> for Value<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match self {
            Self::Int(Some(value)) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Self::Uuid(Some(value)) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Self::Text(Some(value)) => Encode::<Postgres>::encode_by_ref(&value.as_ref(), buffer),
            Self::Bytes(Some(value)) => Encode::<Postgres>::encode_by_ref(&value.as_ref(), buffer),
            Self::Bool(Some(value)) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Self::Float(Some(value)) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Self::Json(Some(value)) => {
                // The version of JSONB's form. sqlx's own encoder would also remember each place for a type `JSON`.
                buffer.push(1);
                serde_json::to_writer(&mut **buffer, value)?;
                Ok(IsNull::No)
            }
            Self::Time(Some(value)) => Encode::<Postgres>::encode_by_ref(&to_the_microsecond(*value), buffer),
            null => {
                debug_assert!(null.is_null());
                Ok(IsNull::Yes)
            }
        }
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.types().0)
    }
}

impl Type<Postgres> for Value<'_> {
    /// Each value says its own.
    fn type_info() -> PgTypeInfo {
        <String as Type<Postgres>>::type_info()
    }
}

/// One column of many rows, as an array.
struct Column<'r, const N: usize> {
    rows: &'r [[Value<'r>; N]],
    index: usize,
}

impl<'r, const N: usize> Column<'r, N> {
    fn values(&self) -> impl Iterator<Item = &'r Value<'r>> {
        self.rows.iter().map(|row| &row[self.index])
    }

    fn types(&self) -> (PgTypeInfo, PgTypeInfo) {
        self.values().next().unwrap_or(&Value::Text(None)).types()
    }
}

impl<const N: usize> Encode<'_, Postgres> for Column<'_, N> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        const DIMENSIONS: i32 = 1;
        const FLAGS: i32 = 0;
        const FIRST_INDEX: i32 = 1;

        let element = self.types().0.oid().ok_or("a type without an identifier")?;
        buffer.extend_from_slice(&DIMENSIONS.to_be_bytes());
        buffer.extend_from_slice(&FLAGS.to_be_bytes());
        buffer.extend_from_slice(&element.0.to_be_bytes());
        buffer.extend_from_slice(&i32::try_from(self.rows.len())?.to_be_bytes());
        buffer.extend_from_slice(&FIRST_INDEX.to_be_bytes());
        let mut kind = None;
        for value in self.values() {
            if *kind.get_or_insert_with(|| discriminant(value)) != discriminant(value) {
                return Err("a column has values of several types".into());
            }
            encode_element(buffer, value)?;
        }
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.types().1)
    }
}

impl<const N: usize> Type<Postgres> for Column<'_, N> {
    /// Each column says its own.
    fn type_info() -> PgTypeInfo {
        String::array_type_info()
    }
}

/// Writes the length of a value, -1 for NULL, and the value.
fn encode_element(buffer: &mut PgArgumentBuffer, value: &Value<'_>) -> Result<(), BoxDynError> {
    let start = buffer.len();
    buffer.extend_from_slice(&(-1_i32).to_be_bytes());
    if let IsNull::No = Encode::<Postgres>::encode_by_ref(value, buffer)? {
        let length = i32::try_from(buffer.len() - start - size_of::<i32>())?;
        buffer[start..][..size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// Begins a transaction by `statement`, although whoever wants it may give up: a connection whose `BEGIN` was left before its
/// answer would go back to its pool inside that transaction, for whoever gets it next.
pub(crate) async fn begin(pool: &PgPool, statement: &'static str) -> Result<Transaction, sqlx::Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move {
        // Each connection that is lost is one less that the pool has, until it opens a new one.
        for _ in 0..pool.options().get_max_connections() {
            match pool.begin_with(statement).await {
                Err(error) if is_lost(&error) => {}
                begun => return begun,
            }
        }
        pool.begin_with(statement).await
    });
    begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// The values as parameters.
pub(crate) fn arguments(values: &[Value<'_>]) -> Result<PgArguments, StoreError> {
    let mut arguments = PgArguments::default();
    for value in values {
        arguments.add(value).map_err(StoreError::encoding)?;
    }
    Ok(arguments)
}

/// `sql` with a query over arrays in place of `VALUES $rows`: one parameter for each column, however many rows there
/// are, so that there is one statement to parse and keep.
fn over_rows<const N: usize>(
    sql: &str,
    rows: &[[Value<'_>; N]],
) -> Result<(AssertSqlSafe<String>, PgArguments), StoreError> {
    let mut arguments = PgArguments::default();
    let mut arrays = Vec::with_capacity(N);
    for index in 0..N {
        let column = Column { rows, index };
        arrays.push(format!("${}::{}", index + 1, column.types().1.name()));
        arguments.add(column).map_err(StoreError::encoding)?;
    }
    let query = format!("SELECT * FROM unnest({})", arrays.join(", "));
    Ok((AssertSqlSafe(sql.replace("VALUES $rows", &query)), arguments))
}

pub(crate) async fn execute_rows<const N: usize>(
    tx: &mut Transaction,
    sql: &str,
    rows: &[[Value<'_>; N]],
) -> Result<u64, StoreError> {
    let mut changed = 0;
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        let (sql, arguments) = over_rows(sql, chunk)?;
        changed += sqlx::query_with(sql, arguments).execute(&mut **tx).await?.rows_affected();
    }
    Ok(changed)
}

/// What `read` reads from each row that the statements give.
pub(crate) async fn fetch_rows<T: Send, const N: usize>(
    tx: &mut Transaction,
    sql: &str,
    rows: &[[Value<'_>; N]],
    read: impl Fn(&mut Columns<'_>) -> Result<T, StoreError> + Send + Sync,
) -> Result<Vec<T>, StoreError> {
    let mut fetched = Vec::new();
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        let (sql, arguments) = over_rows(sql, chunk)?;
        let mut found = sqlx::query_with(sql, arguments).fetch(&mut **tx);
        while let Some(row) = found.try_next().await? {
            fetched.push(read(&mut (&row).into())?);
        }
    }
    Ok(fetched)
}

/// Writes `rows` into `table` by binary COPY.
pub(crate) async fn insert_all<const N: usize>(
    tx: &mut Transaction,
    table: &str,
    columns: &[&str; N],
    rows: &[[Value<'_>; N]],
) -> Result<(), StoreError> {
    let statement = format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", columns.join(", "));
    let mut copy = tx.copy_in_raw(&statement).await?;
    let mut buffer = PgArgumentBuffer::default();
    buffer.reserve(COPY_CHUNK + (64 << 10));
    buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    let column_count = i16::try_from(N).expect("a table has few columns");
    for row in rows {
        buffer.extend_from_slice(&column_count.to_be_bytes());
        for value in row {
            encode_element(&mut buffer, value).map_err(StoreError::encoding)?;
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

/// A schema's statement as it runs here.
pub(crate) fn schema_statement(sql: &str) -> String {
    sql.to_owned()
}

/// Makes an index that may be there already.
pub(crate) async fn make_index(connection: &mut PgConnection, sql: String) -> Result<(), StoreError> {
    let sql = format!("SET LOCAL maintenance_work_mem = '256MB'; {sql}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// Lets the planner know what the tables of the current schema hold, which it would otherwise learn a while after they
/// were filled.
pub(crate) async fn gather_statistics(connection: &mut PgConnection) -> Result<(), StoreError> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'",
    )
    .fetch_all(&mut *connection)
    .await?;
    let sql = format!("ANALYZE {}", tables.join(", "));
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// The value of `column` as a text, in SQL.
pub(crate) fn shown(column: &str) -> String {
    format!("quote_nullable(\"{column}\"::text)")
}
