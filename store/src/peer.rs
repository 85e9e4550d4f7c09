//! The PostgreSQL server, seen from beside the connection that one waits for.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, timeout};

use crate::StoreError;

/// Whom a connection speaks to.
#[derive(Debug)]
pub(crate) struct Peer {
    options: Box<PgConnectOptions>,
    /// The schemas whose locks are looked at.
    schemas: Vec<String>,
    /// Who was found to hold a lock, and when.
    holder: Mutex<Option<(Instant, String)>>,
}

/// For how long after an answer a server is believed to be there.
pub(crate) const BELIEVED: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it is believed who holds a lock: many may ask at once.
const FRESH: Duration = Duration::from_secs(1);

/// Who holds locks on tables of these schemas, the strongest and then the oldest first.
const HOLDERS: &str = "
    SELECT pg_namespace.nspname || '.' || pg_class.relname, pg_locks.mode, pg_locks.pid,
        COALESCE(NULLIF(pg_stat_activity.application_name, ''), 'without a name'),
        COALESCE(pg_stat_activity.usename::text, 'unknown'),
        COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - pg_stat_activity.xact_start)::bigint, 0)
    FROM pg_locks
    JOIN pg_class ON pg_class.oid = pg_locks.relation
    JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
    LEFT JOIN pg_stat_activity ON pg_stat_activity.pid = pg_locks.pid
    WHERE pg_locks.granted AND pg_locks.pid <> pg_backend_pid() AND pg_namespace.nspname = ANY($1)
        AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND pg_locks.mode <> 'AccessShareLock'
    ORDER BY pg_locks.mode = 'AccessExclusiveLock' DESC, pg_locks.mode = 'ExclusiveLock' DESC,
        pg_locks.mode LIKE 'Share%' DESC, pg_stat_activity.xact_start
    LIMIT 1";

impl Peer {
    pub(crate) fn new(options: &PgConnectOptions, schemas: Vec<String>) -> Self {
        Self { options: Box::new(options.clone()), schemas, holder: Mutex::default() }
    }

    /// Whether anybody answers, be it with a refusal.
    pub(crate) async fn is_there(&self) -> bool {
        match timeout(PATIENCE, PgConnection::connect_with(&self.options)).await {
            Ok(Ok(connection)) => {
                // It is closed whether or not anybody hears of it.
                drop(timeout(PATIENCE, connection.close()).await);
                true
            }
            Ok(Err(error)) => matches!(error, sqlx::Error::Database(_)),
            Err(_) => false,
        }
    }

    /// The error of a statement that waited for a lock in vain, with who holds it.
    pub(crate) async fn locked(&self, error: StoreError) -> StoreError {
        let known = self.holder.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, holder)) = known.filter(|(at, _)| at.elapsed() < FRESH) {
            return StoreError::Locked(holder);
        }
        let Ok(Ok(Some(holder))) = timeout(PATIENCE, self.holder()).await else { return error };
        *self.holder.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), holder.clone()));
        StoreError::Locked(holder)
    }

    async fn holder(&self) -> Result<Option<String>, sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        let found: Option<(String, String, i32, String, String, i64)> =
            sqlx::query_as(HOLDERS).bind(&self.schemas).fetch_optional(&mut connection).await?;
        connection.close().await?;
        Ok(found.map(|(table, mode, pid, application, user, seconds)| {
            format!(
                "{table} is locked ({mode}) by process {pid}, the user {user}'s {application}, whose transaction has \
                 been open for {seconds} s; end it, or SELECT pg_terminate_backend({pid})"
            )
        }))
    }
}
