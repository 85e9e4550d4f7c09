use std::borrow::Cow;

use sqlx::AssertSqlSafe;

use crate::watch::Watch;
use crate::{Row, StoreError, Value};

/// A transaction on the tables of one generation of a read model, by their plain names. Whoever began it ends it.
#[derive(Debug)]
pub struct Tx {
    pub(crate) inner: Inner,
    pub(crate) watch: Watch,
}

#[derive(Debug)]
pub(crate) enum Inner {
    #[cfg(feature = "postgres")]
    Postgres(crate::postgres::Transaction),
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::Transaction),
}

#[cfg(feature = "postgres")]
impl From<crate::postgres::Transaction> for Inner {
    fn from(tx: crate::postgres::Transaction) -> Self {
        Self::Postgres(tx)
    }
}

#[cfg(feature = "sqlite")]
impl From<crate::sqlite::Transaction> for Inner {
    fn from(tx: crate::sqlite::Transaction) -> Self {
        Self::Sqlite(tx)
    }
}

impl Tx {
    /// A transaction that was begun, whose statements are watched over.
    pub(crate) fn new(inner: Inner, watch: Watch) -> Self {
        Self { inner, watch }
    }

    /// Runs a statement and says how many rows it changed.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn execute(
        &mut self,
        sql: impl Into<Cow<'static, str>>,
        params: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        let sql = AssertSqlSafe(sql.into());
        let statement = async {
            on_each!(&mut self.inner, Inner, |tx, database| {
                let done = sqlx::query_with(sql, database::arguments(params)?).execute(&mut **tx).await?;
                Ok(done.rows_affected())
            })
        };
        self.watch.over(statement).await
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
        let sql = AssertSqlSafe(sql.into());
        let statement = async {
            on_each!(&mut self.inner, Inner, |tx, database| {
                let rows = sqlx::query_with(sql, database::arguments(params)?).fetch_all(&mut **tx).await?;
                rows.iter().map(|row| R::read(&mut row.into())).collect()
            })
        };
        self.watch.over(statement).await
    }

    /// Runs a statement over many rows, which `VALUES $rows` in it stands for, in as many statements as it takes, in
    /// order, and says how many rows they changed. A column is of one type in all rows. An upsert must not meet one key
    /// twice.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn execute_rows<const N: usize>(
        &mut self,
        sql: &str,
        rows: &[[Value<'_>; N]],
    ) -> Result<u64, StoreError> {
        let statements =
            async { on_each!(&mut self.inner, Inner, |tx, database| database::execute_rows(tx, sql, rows).await) };
        self.watch.over(statements).await
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
        let statements = async {
            on_each!(&mut self.inner, Inner, |tx, database| database::fetch_rows(tx, sql, rows, R::read).await)
        };
        self.watch.over(statements).await
    }

    /// Keeps everything the transaction did.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        let Self { inner, watch } = self;
        let commit = async { on_each!(inner, Inner, |tx| Ok(tx.commit().await?)) };
        watch.over(commit).await
    }

    /// Runs a script of several statements without parameters.
    pub(crate) async fn script(&mut self, sql: impl Into<Cow<'static, str>>) -> Result<(), StoreError> {
        let sql = AssertSqlSafe(sql.into());
        let script =
            async { on_each!(&mut self.inner, Inner, |tx| Ok(sqlx::raw_sql(sql).execute(&mut **tx).await.map(drop)?)) };
        self.watch.over(script).await
    }

    /// Runs a statement of a read model's schema.
    pub(crate) async fn schema_statement(&mut self, sql: &str) -> Result<(), StoreError> {
        let sql = on_each!(&self.inner, Inner, |_tx, database| database::schema_statement(sql));
        self.script(sql).await
    }

    /// Makes a secondary index that may be there already.
    pub(crate) async fn make_index(&mut self, statement: &str) -> Result<(), StoreError> {
        let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
        let statement = lines.collect::<Vec<_>>().join("\n");
        let position = statement.to_ascii_uppercase().find("INDEX").map_or(0, |found| found + "INDEX".len());
        let (create, rest) = statement.split_at(position);
        let statement = format!("{create} IF NOT EXISTS{rest}");
        let making =
            async { on_each!(&mut self.inner, Inner, |tx, database| database::make_index(tx, statement).await) };
        self.watch.over(making).await
    }

    /// Tells the query planner what was written, where it does not look by itself in time.
    pub(crate) async fn gather_statistics(&mut self) -> Result<(), StoreError> {
        let gathering =
            async { on_each!(&mut self.inner, Inner, |tx, database| database::gather_statistics(tx).await) };
        self.watch.over(gathering).await
    }
}
