//! What SQLite does in its own way in a transaction.

use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, Sqlite, SqliteConnection, SqlitePool};

use crate::{Columns, StoreError, Value};

pub(crate) type Transaction = sqlx::Transaction<'static, Sqlite>;

/// Begins a transaction that writes.
pub(crate) const BEGIN: &str = "BEGIN IMMEDIATE";
/// Begins a transaction that reads what was there at its first statement.
pub(crate) const SNAPSHOT: &str = "BEGIN";
/// The clock, in milliseconds since 1970.
pub(crate) const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
/// No other process works on it, so that nothing has to tell it from its copies.
pub(crate) const OWN_IDENTITY: Option<&str> = None;
/// Ends a query for rows that nobody else changes before the transaction ends: one that writes is alone with its file.
pub(crate) const HELD: &str = "";
/// Locks were waited for when the transaction began.
pub(crate) const WAIT_BRIEFLY: &str = "";
/// The tables of the file but this crate's, with their columns in order.
pub(crate) const COLUMNS: &str = "
    SELECT sqlite_schema.name, columns.name FROM sqlite_schema
    JOIN pragma_table_info(sqlite_schema.name) AS columns
    WHERE sqlite_schema.type = 'table' AND sqlite_schema.name NOT IN ('checkpoints', 'parked')
        AND sqlite_schema.name NOT LIKE 'sqlite!_%' ESCAPE '!'
    ORDER BY sqlite_schema.name, columns.cid";

/// Rows that go through one statement at the most. Each has parameters of its own, of which SQLite takes 32,766: 60 to
/// a row at this number. Statements are made for powers of two up to it, so that few are ever prepared.
const ROWS_PER_STATEMENT: usize = 512;

/// Begins a transaction by `statement`. The driver takes back one that nobody waits for any more.
pub(crate) async fn begin(pool: &SqlitePool, statement: &'static str) -> Result<Transaction, sqlx::Error> {
    pool.begin_with(statement).await
}

/// The values as parameters.
pub(crate) fn arguments(values: &[Value<'_>]) -> Result<SqliteArguments, StoreError> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        arguments.add(value).map_err(StoreError::encoding)?;
    }
    Ok(arguments)
}

/// Cuts `rows` into runs whose lengths are powers of two up to [`ROWS_PER_STATEMENT`], longest first.
fn chunks<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let length = (rest.len() + 1).next_power_of_two() / 2;
        let (chunk, after) = rest.split_at(length.min(ROWS_PER_STATEMENT));
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// `sql` with `$rows` replaced by the parameters of `rows` rows of `columns` columns: by `?`, since SQLite looks numbered
/// ones up one after the other, so that many of them take a time that grows with the square.
fn expand(sql: &str, columns: usize, rows: usize) -> AssertSqlSafe<String> {
    let row = format!("({})", vec!["?"; columns].join(", "));
    AssertSqlSafe(sql.replace("$rows", &vec![row; rows].join(", ")))
}

pub(crate) async fn execute_rows<const N: usize>(
    tx: &mut Transaction,
    sql: &str,
    rows: &[[Value<'_>; N]],
) -> Result<u64, StoreError> {
    let mut changed = 0;
    for chunk in chunks(rows) {
        let arguments = arguments(chunk.as_flattened())?;
        let done = sqlx::query_with(expand(sql, N, chunk.len()), arguments).execute(&mut **tx).await?;
        changed += done.rows_affected();
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
    for chunk in chunks(rows) {
        let query = sqlx::query_with(expand(sql, N, chunk.len()), arguments(chunk.as_flattened())?);
        let mut found = query.fetch(&mut **tx);
        while let Some(row) = found.try_next().await? {
            fetched.push(read(&mut (&row).into())?);
        }
    }
    Ok(fetched)
}

/// Writes `rows` into `table` by the fewest statements.
pub(crate) async fn insert_all<const N: usize>(
    tx: &mut Transaction,
    table: &str,
    columns: &[&str; N],
    rows: &[[Value<'_>; N]],
) -> Result<(), StoreError> {
    execute_rows(tx, &format!("INSERT INTO {table} ({}) VALUES $rows", columns.join(", ")), rows).await?;
    Ok(())
}

/// A schema's statement as it runs here: names of types that SQLite does not know count as numbers, which would turn a
/// JSON text or a time that looks like one into one. Texts, quoted names and comments stay as they are.
pub(crate) fn schema_statement(sql: &str) -> String {
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    let mut translated = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            _ if is_word(first) => rest.find(|char| !is_word(char)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (piece, after) = rest.split_at(length);
        let is_text = ["JSONB", "TIMESTAMPTZ"].iter().any(|name| piece.eq_ignore_ascii_case(name));
        translated.push_str(if is_text { "TEXT" } else { piece });
        rest = after;
    }
    translated
}

/// Makes an index that may be there already.
pub(crate) async fn make_index(connection: &mut SqliteConnection, sql: String) -> Result<(), StoreError> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// The planner needs no statistics here.
pub(crate) async fn gather_statistics(_: &mut SqliteConnection) -> Result<(), StoreError> {
    Ok(())
}

/// The value of `column` as a text, in SQL.
pub(crate) fn shown(column: &str) -> String {
    format!("quote(\"{column}\")")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_powers_of_two() {
        let lengths = |rows: usize| chunks(&vec![(); rows]).map(<[()]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(0), Vec::<usize>::new());
        assert_eq!(lengths(1), [1]);
        assert_eq!(lengths(7), [4, 2, 1]);
        assert_eq!(lengths(1_300), [512, 512, 256, 16, 4]);
    }

    #[test]
    fn rows_become_parameters() {
        assert_eq!(expand("VALUES $rows x", 2, 2).0, "VALUES (?, ?), (?, ?) x");
    }

    #[test]
    fn types_that_are_texts_here_are_told_so() {
        let sql = "-- A JSONB.\nCREATE TABLE jsonb_things (a JSONB NOT NULL, b timestamptz DEFAULT 'JSONB ''JSONB', \"JSONB\" UUID);";
        let expected =
            "-- A JSONB.\nCREATE TABLE jsonb_things (a TEXT NOT NULL, b TEXT DEFAULT 'JSONB ''JSONB', \"JSONB\" UUID);";
        assert_eq!(schema_statement(sql), expected);
        assert_eq!(schema_statement("JSONB"), "TEXT");
    }
}
