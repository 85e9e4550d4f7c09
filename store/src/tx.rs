use std::borrow::Cow;

use sqlx::AssertSqlSafe;

use crate::{Row, StoreError, Value};

/// A transaction on the tables of one generation of a read model, by their plain names. Whoever began it ends it.
#[derive(Debug)]
pub struct Tx {
    pub(crate) inner: Inner,
}

#[derive(Debug)]
pub(crate) enum Inner {
    #[cfg(feature = "postgres")]
    Postgres(crate::postgres::Transaction),
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::Transaction),
}

#[cfg(feature = "postgres")]
impl From<crate::postgres::Transaction> for Tx {
    fn from(tx: crate::postgres::Transaction) -> Self {
        Self { inner: Inner::Postgres(tx) }
    }
}

#[cfg(feature = "sqlite")]
impl From<crate::sqlite::Transaction> for Tx {
    fn from(tx: crate::sqlite::Transaction) -> Self {
        Self { inner: Inner::Sqlite(tx) }
    }
}

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
        let sql = AssertSqlSafe(sql.into());
        on_each!(&mut self.inner, Inner, |tx, database| {
            let done = sqlx::query_with(sql, database::arguments(params)?).execute(&mut **tx).await?;
            Ok(done.rows_affected())
        })
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
        on_each!(&mut self.inner, Inner, |tx, database| {
            Ok(sqlx::query_as_with(sql, database::arguments(params)?).fetch_all(&mut **tx).await?)
        })
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
        on_each!(&mut self.inner, Inner, |tx, database| database::execute_rows(tx, sql, rows).await)
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
        on_each!(&mut self.inner, Inner, |tx, database| database::fetch_rows(tx, sql, rows, |row| R::from_row(row))
            .await)
    }

    /// Keeps everything the transaction did.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        on_each!(self.inner, Inner, |tx| tx.commit().await?);
        Ok(())
    }

    /// Runs a script of several statements without parameters.
    pub(crate) async fn script(&mut self, sql: impl Into<Cow<'static, str>>) -> Result<(), StoreError> {
        let sql = AssertSqlSafe(sql.into());
        on_each!(&mut self.inner, Inner, |tx| sqlx::raw_sql(sql).execute(&mut **tx).await.map(drop)?);
        Ok(())
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
        on_each!(&mut self.inner, Inner, |tx, database| database::make_index(tx, statement).await)
    }

    /// Tells the query planner what was written, where it does not look by itself in time.
    pub(crate) async fn gather_statistics(&mut self) -> Result<(), StoreError> {
        on_each!(&mut self.inner, Inner, |tx, database| database::gather_statistics(tx).await)
    }
}
