use sqlx::Connection as _;

use crate::lent::Lent;
use crate::watch::Watch;
use crate::{StoreError, Tx};

/// Connections that find the same tables by their plain names, and are watched alike.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) connections: Connections,
    watch: Watch,
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

impl Pool {
    /// Connections to a server.
    #[cfg(feature = "postgres")]
    pub(crate) fn on_server(pool: sqlx::PgPool, watch: Watch) -> Self {
        Self { connections: Connections::Postgres(pool), watch }
    }

    /// Connections to a file.
    #[cfg(feature = "sqlite")]
    pub(crate) fn on_file(pool: sqlx::SqlitePool) -> Self {
        Self { connections: Connections::Sqlite(pool), watch: Watch::none() }
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

    /// Asks the database whether it is there.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        on_each!(&self.connections, Connections, |pool| {
            let mut lent = Lent::new(pool.acquire().await?);
            let ping = async { Ok(lent.answer(async |connection| connection.ping().await).await?) };
            self.watch.over(ping).await
        })
    }
}
