use std::borrow::Cow;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::watch::Watch;
use crate::{Row, StoreError, Tx, Value};

/// Connections that find the same tables by their plain names, and are watched alike.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    connections: Connections,
    watch: Watch,
    /// How long a query outside any transaction may take, where the database does not know that itself.
    limit: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(crate) enum Connections {
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

/// How long what connections write may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as a batch.
    Batches,
    /// As long as the making of an index or a comparison.
    Builds,
}

/// A connection for one query. It is closed when the query was left before its answer came, since nobody knows when
/// that will be.
struct Lent<DB: sqlx::Database> {
    connection: PoolConnection<DB>,
    answered: bool,
}

impl<DB: sqlx::Database> Drop for Lent<DB> {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.close_on_drop();
        }
    }
}

impl Pool {
    /// Connections to a server.
    #[cfg(feature = "postgres")]
    pub(crate) fn on_server(pool: sqlx::PgPool, watch: Watch) -> Self {
        Self { connections: Connections::Postgres(pool), watch, limit: None }
    }

    /// Connections to a file, whose queries may take as long as `limit`.
    #[cfg(feature = "sqlite")]
    pub(crate) fn on_file(pool: sqlx::SqlitePool, limit: Option<Duration>) -> Self {
        Self { connections: Connections::Sqlite(pool), watch: Watch::none(), limit }
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        let begin = async {
            on_each!(&self.connections, Connections, |pool, database| {
                Ok(database::begin(pool, database::BEGIN).await?.into())
            })
        };
        Ok(Tx::new(self.watch.over(begin).await?, self.watch.clone()))
    }

    /// Begins a transaction that reads what was there at its first statement, whatever is written meanwhile.
    pub(crate) async fn snapshot(&self) -> Result<Tx, StoreError> {
        let begin = async {
            on_each!(&self.connections, Connections, |pool, database| {
                Ok(database::begin(pool, database::SNAPSHOT).await?.into())
            })
        };
        Ok(Tx::new(self.watch.over(begin).await?, self.watch.clone()))
    }

    /// Runs a query outside any transaction.
    pub(crate) async fn fetch<R: Row>(
        &self,
        sql: Cow<'static, str>,
        params: &[Value<'_>],
    ) -> Result<Vec<R>, StoreError> {
        let sql = AssertSqlSafe(sql);
        on_each!(&self.connections, Connections, |pool, database| {
            let arguments = database::arguments(params)?;
            let mut lent = Lent { connection: pool.acquire().await?, answered: false };
            let query = async {
                database::limit(&mut lent.connection, self.limit).await?;
                let rows = sqlx::query_as_with(sql, arguments).fetch_all(&mut *lent.connection).await;
                lent.answered = true;
                Ok(rows?)
            };
            self.watch.over(query).await
        })
    }

    /// Asks the database whether it is there.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        on_each!(&self.connections, Connections, |pool| {
            let mut lent = Lent { connection: pool.acquire().await?, answered: false };
            let ping = async {
                lent.connection.ping().await?;
                lent.answered = true;
                Ok(())
            };
            self.watch.over(ping).await
        })
    }
}
