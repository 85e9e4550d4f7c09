//! What SQLite does in its own way in a transaction.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

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
/// Rows that come to the program in one piece where they are compared.
const ROWS_PER_PIECE: i64 = 256;

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

/// The number of rows of `table` and the sum of their hashes; SQLite has no hash of its own.
pub(crate) async fn digest(
    connection: &mut SqliteConnection,
    table: &str,
    columns: &[String],
) -> Result<(i64, String), StoreError> {
    let told: Vec<String> = columns.iter().map(|column| told(column)).collect();
    // Each `||` would copy what stands before it.
    let told = format!("concat({})", told.join(", "));
    let mut digest = Digest::default();
    let Some(place) = row_number(connection, table, columns).await? else {
        let sql = format!("SELECT CAST({told} AS BLOB) FROM \"{table}\"");
        let mut found = sqlx::query_scalar::<_, Vec<u8>>(AssertSqlSafe(sql)).fetch(connection);
        while let Some(row) = found.try_next().await? {
            digest.add(&row);
        }
        return Ok(digest.end());
    };
    // A row by itself would cost as much again for being handed over. Each is told from the next by its length.
    let sql = format!(
        "SELECT MAX(place), CAST(group_concat(octet_length(told) || ':' || told, '') AS BLOB) FROM (
             SELECT {place} AS place, {told} AS told FROM \"{table}\" WHERE {place} > $1 ORDER BY {place} LIMIT $2
         )"
    );
    let mut last = i64::MIN;
    loop {
        let piece = sqlx::query_as(AssertSqlSafe(sql.as_str())).bind(last).bind(ROWS_PER_PIECE);
        let (Some(place), Some(rows)): (Option<i64>, Option<Vec<u8>>) = piece.fetch_one(&mut *connection).await? else {
            return Ok(digest.end());
        };
        digest
            .add_all(&rows)
            .ok_or_else(|| StoreError::refusal(format!("the rows of {table} cannot be told apart")))?;
        last = place;
    }
}

/// The name by which the number of a row of `table` goes beside `columns`, where its rows have numbers.
async fn row_number(
    connection: &mut SqliteConnection,
    table: &str,
    columns: &[String],
) -> Result<Option<&'static str>, StoreError> {
    let sql = "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = $1";
    let without: Option<bool> = sqlx::query_scalar(sql).bind(table).fetch_optional(connection).await?;
    let is_free = |name: &&str| !columns.iter().any(|column| column.eq_ignore_ascii_case(name));
    Ok(["rowid", "_rowid_", "oid"].into_iter().find(is_free).filter(|_| without == Some(false)))
}

/// The sum of the hashes of rows, in whatever order they come.
#[derive(Debug, Default)]
struct Digest {
    rows: i64,
    sum: u64,
}

impl Digest {
    fn add(&mut self, row: &[u8]) {
        let mut hasher = DefaultHasher::new();
        row.hash(&mut hasher);
        self.rows += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }

    /// Adds rows that stand one after the other, each after its length and a colon.
    fn add_all(&mut self, mut rows: &[u8]) -> Option<()> {
        while !rows.is_empty() {
            let colon = rows.iter().position(|byte| *byte == b':')?;
            let length: usize = std::str::from_utf8(&rows[..colon]).ok()?.parse().ok()?;
            let (row, rest) = rows[colon + 1..].split_at_checked(length)?;
            self.add(row);
            rows = rest;
        }
        Some(())
    }

    fn end(self) -> (i64, String) {
        (self.rows, self.sum.to_string())
    }
}

/// The value of `column` as parts of a text, in SQL, that no other value has: its type, its length and its bytes. A literal would
/// end at a NUL; a number that is no integer has no exact text but that one.
fn told(column: &str) -> String {
    let name = format!("\"{column}\"");
    format!("typeof({name}), octet_length({name}), ':', iif(typeof({name}) = 'real', quote({name}), {name})")
}

/// The value of `column` as a text, in SQL.
pub(crate) fn shown(column: &str) -> String {
    format!("quote(\"{column}\")")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};

    use super::*;

    /// Rows that are alike in one way or another.
    const ALIKE: &[&str] = &[
        "'a', 'bc'",
        "'ab', 'c'",
        "NULL, 'bc'",
        "'', 'bc'",
        "'bc', NULL",
        "'null;', 'bc'",
        "1, 0",
        "'1', 0",
        "1.0, 0",
        "0.3, 0",
        "0.1 + 0.2, 0",
        "x'41', 0",
        "'A', 0",
        "x'ff', 0",
        "x'fe', 0",
        "CAST(x'610062' AS TEXT), 0",
        "CAST(x'610063' AS TEXT), 0",
        "'a', 0",
        "'1:a', 'text1:a'",
        "'1:atext1:a', ''",
    ];

    #[tokio::test]
    async fn rows_that_differ_have_other_digests() {
        let mut connection = SqliteConnectOptions::new().connect().await.expect("a database in memory");
        for kind in ["", "WITHOUT ROWID"] {
            let mut digests = BTreeSet::new();
            for row in ALIKE {
                let key = "number INTEGER PRIMARY KEY";
                let sql = format!(
                    "DROP TABLE IF EXISTS things; CREATE TABLE things (a, b, {key}) {kind}; INSERT INTO things VALUES ({row}, 1), (2, 2, 2)"
                );
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect(row);
                let columns = ["a", "b", "number"].map(str::to_owned);
                let (rows, sum) = digest(&mut connection, "things", &columns).await.expect(row);
                assert_eq!(rows, 2, "{row}");
                assert!(digests.insert(sum), "{row}");
            }
        }
    }

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
