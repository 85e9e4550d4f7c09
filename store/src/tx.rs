use std::borrow::Cow;
use std::collections::HashSet;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, FromRow, Postgres, Sqlite};
use uuid::Uuid;

use crate::value::{Value, arguments};
use crate::{StoreError, postgres, sqlite};

/// A row that either database can give: anything that derives [`FromRow`], and tuples.
pub trait Row: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static {}
impl<T> Row for T where T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static {}

/// A transaction on one generation of a read model, or on the store's own tables. Dropped, it is rolled back.
#[derive(Debug)]
pub enum Tx {
    /// On PostgreSQL.
    Postgres(sqlx::Transaction<'static, Postgres>),
    /// On SQLite.
    Sqlite(sqlx::Transaction<'static, Sqlite>),
}

/// Rows that go through one statement at the most.
const ROWS_PER_STATEMENT: usize = 8_192;
/// The same on SQLite, where each row has parameters of its own; statements are made for powers of two up to it, so
/// that few are ever prepared. SQLite takes 32,766 parameters, 60 to a row at this number.
const SQLITE_ROWS_PER_STATEMENT: usize = 512;
/// What stands for many rows in a statement.
const ROWS: &str = "VALUES $rows";
/// From how many rows the database's bulk path is quicker than statements.
const BULK_FROM: usize = 64;

impl Tx {
    /// Runs a statement and says how many rows it changed.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn execute(
        &mut self,
        sql: impl Into<Cow<'static, str>>,
        params: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        self.run(sql.into(), params).await
    }

    /// Runs a statement and gives its rows.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn fetch<R: Row>(
        &mut self,
        sql: impl Into<Cow<'static, str>>,
        params: &[Value<'_>],
    ) -> Result<Vec<R>, StoreError> {
        self.query(sql.into(), params).await
    }

    /// Runs a statement over many rows, which `VALUES $rows` in it stands for, in as many statements as it takes, in
    /// order. A column is of one type in all rows. An upsert must not meet one key twice.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn execute_rows<const N: usize>(
        &mut self,
        sql: &str,
        rows: &[[Value<'_>; N]],
    ) -> Result<u64, StoreError> {
        let mut changed = 0;
        match self {
            Self::Postgres(tx) => {
                for chunk in rows.chunks(ROWS_PER_STATEMENT) {
                    let (sql, arguments) = postgres::over_rows(sql, ROWS, chunk)?;
                    changed += sqlx::query_with(sql, arguments).execute(&mut **tx).await?.rows_affected();
                }
            }
            Self::Sqlite(_) => {
                for chunk in chunks(rows) {
                    changed += self.run(expand(sql, N, chunk.len()).into(), chunk.as_flattened()).await?;
                }
            }
        }
        Ok(changed)
    }

    /// As [`Tx::execute_rows`], with the rows that the statements give.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn fetch_rows<R: Row, const N: usize>(
        &mut self,
        sql: &str,
        rows: &[[Value<'_>; N]],
    ) -> Result<Vec<R>, StoreError> {
        let mut fetched = Vec::new();
        match self {
            Self::Postgres(tx) => {
                for chunk in rows.chunks(ROWS_PER_STATEMENT) {
                    let (sql, arguments) = postgres::over_rows(sql, ROWS, chunk)?;
                    fetched.extend(sqlx::query_as_with(sql, arguments).fetch_all(&mut **tx).await?);
                }
            }
            Self::Sqlite(_) => {
                for chunk in chunks(rows) {
                    fetched.extend(self.query(expand(sql, N, chunk.len()).into(), chunk.as_flattened()).await?);
                }
            }
        }
        Ok(fetched)
    }

    /// Inserts the rows whose key is not in `table` yet and says of each row whether it was inserted. The key is the
    /// first of `columns`, a `UUID` and the table's primary key; among rows of one key the first counts.
    ///
    /// Many rows go through the database's bulk path (COPY on PostgreSQL), which assumes that all of them are new;
    /// where one is not, the same is done again row by row.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn insert_new<const N: usize>(
        &mut self,
        table: &'static str,
        columns: [&'static str; N],
        rows: &[[Value<'_>; N]],
    ) -> Result<Vec<bool>, StoreError> {
        if rows.len() >= BULK_FROM && self.insert_all(table, &columns, rows).await? {
            return Ok(vec![true; rows.len()]);
        }
        let sql = format!(
            "INSERT INTO {table} ({}) VALUES $rows ON CONFLICT DO NOTHING RETURNING {}",
            columns.join(", "),
            columns[0]
        );
        let inserted: Vec<(Uuid,)> = self.fetch_rows(&sql, rows).await?;
        let mut inserted: HashSet<Uuid> = inserted.into_iter().map(|(key,)| key).collect();
        Ok(rows.iter().map(|row| matches!(row[0], Value::Uuid(Some(key)) if inserted.remove(&key))).collect())
    }

    /// Inserts every row by the bulk path, or none and `false` where a key is there already.
    async fn insert_all<const N: usize>(
        &mut self,
        table: &str,
        columns: &[&str; N],
        rows: &[[Value<'_>; N]],
    ) -> Result<bool, StoreError> {
        self.run("SAVEPOINT bulk".into(), &[]).await?;
        let copied = match self {
            Self::Postgres(tx) => postgres::copy(tx, table, columns, rows).await,
            Self::Sqlite(tx) => {
                let head = format!("INSERT INTO {table} ({}) {ROWS}", columns.join(", "));
                let mut copied = Ok(());
                for chunk in chunks(rows) {
                    copied = sqlite::execute(tx, expand(&head, N, chunk.len()).into(), chunk.as_flattened()).await;
                    if copied.is_err() {
                        break;
                    }
                }
                copied
            }
        };
        match copied {
            Ok(()) => {
                self.run("RELEASE SAVEPOINT bulk".into(), &[]).await?;
                Ok(true)
            }
            Err(StoreError::Refused(error)) if crate::error::is_unique_violation(&error) => {
                self.run("ROLLBACK TO SAVEPOINT bulk".into(), &[]).await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Begins a part of the transaction that may be taken back by itself. Parts do not contain each other.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn begin_part(&mut self) -> Result<(), StoreError> {
        self.run("SAVEPOINT part".into(), &[]).await.map(drop)
    }

    /// Ends the part that was begun, and takes back what was done in it unless it is `kept`.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn end_part(&mut self, kept: bool) -> Result<(), StoreError> {
        if !kept {
            self.run("ROLLBACK TO SAVEPOINT part".into(), &[]).await?;
        }
        self.run("RELEASE SAVEPOINT part".into(), &[]).await.map(drop)
    }

    /// Keeps everything the transaction did.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers. After [`StoreError::Unavailable`] it is not known whether the
    /// transaction was kept; the checkpoint says so.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(tx) => tx.commit().await?,
            Self::Sqlite(tx) => tx.commit().await?,
        }
        Ok(())
    }

    async fn run(&mut self, sql: Cow<'static, str>, params: &[Value<'_>]) -> Result<u64, StoreError> {
        let sql = AssertSqlSafe(sql);
        Ok(match self {
            Self::Postgres(tx) => {
                sqlx::query_with(sql, arguments::<PgArguments>(params)?).execute(&mut **tx).await?.rows_affected()
            }
            Self::Sqlite(tx) => {
                sqlx::query_with(sql, arguments::<SqliteArguments>(params)?).execute(&mut **tx).await?.rows_affected()
            }
        })
    }

    async fn query<R: Row>(&mut self, sql: Cow<'static, str>, params: &[Value<'_>]) -> Result<Vec<R>, StoreError> {
        let sql = AssertSqlSafe(sql);
        Ok(match self {
            Self::Postgres(tx) => {
                sqlx::query_as_with(sql, arguments::<PgArguments>(params)?).fetch_all(&mut **tx).await?
            }
            Self::Sqlite(tx) => {
                sqlx::query_as_with(sql, arguments::<SqliteArguments>(params)?).fetch_all(&mut **tx).await?
            }
        })
    }

    /// Runs a script of several statements without parameters.
    pub(crate) async fn script(&mut self, sql: &'static str) -> Result<(), StoreError> {
        match self {
            Self::Postgres(tx) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(|_| ())?,
            Self::Sqlite(tx) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(|_| ())?,
        }
        Ok(())
    }
}

/// What a rebuild does to a generation's tables.
impl Tx {
    /// Makes a secondary index that may be there already.
    pub(crate) async fn make_index(&mut self, statement: &str) -> Result<(), StoreError> {
        let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
        let statement = lines.collect::<Vec<_>>().join("\n");
        let position = statement.to_ascii_uppercase().find("INDEX").map_or(0, |found| found + "INDEX".len());
        let (create, rest) = statement.split_at(position);
        let statement = format!("{create} IF NOT EXISTS{rest}");
        match self {
            Self::Postgres(tx) => postgres::make_index(tx, statement).await,
            Self::Sqlite(tx) => {
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut **tx).await?;
                Ok(())
            }
        }
    }

    /// Tells the query planner what was written, where it does not look by itself in time.
    pub(crate) async fn gather_statistics(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(tx) => postgres::analyze(tx).await,
            Self::Sqlite(_) => Ok(()),
        }
    }
}

/// Cuts `rows` into runs whose lengths are powers of two up to [`SQLITE_ROWS_PER_STATEMENT`], longest first.
fn chunks<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let length = (rest.len() + 1).next_power_of_two() / 2;
        let (chunk, after) = rest.split_at(length.min(SQLITE_ROWS_PER_STATEMENT));
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// `sql` with `$rows` replaced by the parameters of `rows` rows of `columns` columns: by `?`, since SQLite looks numbered
/// ones up one after the other, so that many of them take a time that grows with the square.
fn expand(sql: &str, columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    sql.replace("$rows", &vec![row; rows].join(", "))
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
        assert_eq!(expand("VALUES $rows x", 2, 2), "VALUES (?, ?), (?, ?) x");
    }
}
