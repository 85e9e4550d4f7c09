//! What every connection to PostgreSQL is told before anything is done with it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use crate::limits::Limits;
use crate::peer::{BELIEVED, Peer};
use crate::pool::Pool;
use crate::server_readers::ServerReaders;
use crate::watch::Watch;
use crate::{Namespace, Progress, incarnation};

/// How long a connection is waited for.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server may take for a statement beyond its limit.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection that goes back to its pool may take for what is still to be said, such as a rollback.
const RELEASED_WITHIN: Duration = Duration::from_secs(3);
/// By these the server learns within half a minute that the machine of a client is gone, and takes back its locks.
const KEEP_ALIVE: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 25000;";

/// The settings of a connection. They are set by statements, because a pooler in between lets few through that come
/// with the connection.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Statements that set.
    script: String,
    limits: Limits,
    /// The schema of this crate's own tables.
    own_schema: String,
    /// The schemas in which plain names are found.
    schemas: Vec<String>,
    progress: Arc<Progress>,
}

impl Session {
    /// Of connections that find plain names in `schemas`.
    pub(crate) fn new(namespace: &Namespace, progress: &Arc<Progress>, schemas: &[&str], limits: Limits) -> Self {
        let schemas: Vec<String> = schemas.iter().map(|&schema| schema.to_owned()).collect();
        let search_path: Vec<String> = schemas.iter().map(|schema| quoted(schema)).collect();
        let script = format!(
            "{KEEP_ALIVE} SET statement_timeout = {}; SET lock_timeout = {};
             SET idle_in_transaction_session_timeout = {};",
            limits.statement.as_millis(),
            limits.lock.as_millis(),
            limits.idle.as_millis(),
        );
        let session =
            Self { script, limits, own_schema: quoted(namespace.as_str()), schemas, progress: progress.clone() };
        if search_path.is_empty() { session } else { session.with("search_path", &search_path.join(",")) }
    }

    /// The same with one more setting; `value` is SQL.
    pub(crate) fn with(mut self, setting: &str, value: &str) -> Self {
        self.script.push_str(&format!("SET {setting} = {value};"));
        self
    }

    /// Connections with these settings, as many as `connections`, watched over.
    pub(crate) fn pool(self, options: &PgConnectOptions, connections: u32) -> Pool {
        let pool = self.clone().bare_pool(options, connections);
        self.watched(pool, options)
    }

    /// Watches over connections with these settings.
    pub(crate) fn watched(self, pool: PgPool, options: &PgConnectOptions) -> Pool {
        Pool::on_server(pool, self.watch(options))
    }

    /// As [`Session::pool`], for who only reads.
    pub(crate) fn readers(self, options: &PgConnectOptions, connections: u32) -> ServerReaders {
        ServerReaders::new(self.clone().bare_pool(options, connections), self.watch(options))
    }

    fn watch(self, options: &PgConnectOptions) -> Watch {
        Watch::of(self.limits.statement + ANSWERS_WITHIN, Arc::new(Peer::new(options, self.schemas)))
    }

    /// The same connections, not watched over.
    pub(crate) fn bare_pool(self, options: &PgConnectOptions, connections: u32) -> PgPool {
        let session = Arc::new(self);
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                let session = session.clone();
                Box::pin(async move { session.begin(connection).await })
            })
            // Asking it each time would be another round trip.
            .test_before_acquire(false)
            .before_acquire(|connection, idle| Box::pin(is_there(connection, idle.idle_for)))
            .after_release(|connection, _| Box::pin(settle(connection)))
            .connect_lazy_with(options.clone())
    }

    /// Sets everything, and notes in which life of the database the connection was opened.
    pub(crate) async fn begin(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.script.as_str())).execute(&mut *connection).await?;
        self.progress.meet(incarnation::of(connection, &self.own_schema).await?);
        Ok(())
    }
}

/// Whether somebody is at the other end of a connection that was `idle` for so long.
async fn is_there(connection: &mut PgConnection, idle: Duration) -> Result<bool, sqlx::Error> {
    if idle >= BELIEVED {
        connection.ping().await?;
    }
    Ok(true)
}

/// Sends what a connection still has to send, for a while: it would hold its place in the pool for as long as nobody
/// answers.
async fn settle(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    if !connection.should_flush() {
        return Ok(true);
    }
    match tokio::time::timeout(RELEASED_WITHIN, connection.ping()).await {
        Ok(settled) => settled.map(|()| true),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// A name that may be a word of SQL. Namespaces and schemas have no quotes in them.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
