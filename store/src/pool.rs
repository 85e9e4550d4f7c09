use std::borrow::Cow;

use sqlx::{AssertSqlSafe, Connection as _};

use crate::{Row, StoreError, Tx, Value};

/// Connections that find the same tables by their plain names.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::SqlitePool),
}

/// What a crash of the database or of the machine may take back of what a connection commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Nothing.
    Full,
    /// The last transactions, each whole.
    Relaxed,
}

impl Pool {
    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        on_each!(self, Pool, |pool, database| Ok(pool.begin_with(database::BEGIN).await?.into()))
    }

    /// Begins a transaction that reads what was there at its first statement, whatever is written meanwhile.
    pub(crate) async fn snapshot(&self) -> Result<Tx, StoreError> {
        on_each!(self, Pool, |pool, database| Ok(pool.begin_with(database::SNAPSHOT).await?.into()))
    }

    /// Runs a query outside any transaction.
    pub(crate) async fn fetch<R: Row>(
        &self,
        sql: Cow<'static, str>,
        params: &[Value<'_>],
    ) -> Result<Vec<R>, StoreError> {
        let sql = AssertSqlSafe(sql);
        on_each!(self, Pool, |pool, database| {
            Ok(sqlx::query_as_with(sql, database::arguments(params)?).fetch_all(pool).await?)
        })
    }

    /// Asks the database whether it is there.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        on_each!(self, Pool, |pool| pool.acquire().await?.ping().await?);
        Ok(())
    }
}
