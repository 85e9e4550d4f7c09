//! What every connection to PostgreSQL is told before anything is done with it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::server::quoted;
use crate::{Namespace, Progress, incarnation};

/// How long a connection is waited for.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of a connection. They are set by statements, because a pooler in between lets few through that come
/// with the connection.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Statements that set.
    script: String,
    /// The schema of this crate's own tables.
    own_schema: String,
    progress: Arc<Progress>,
}

impl Session {
    pub(crate) fn new(namespace: &Namespace, progress: &Arc<Progress>) -> Self {
        Self { script: String::new(), own_schema: quoted(namespace.as_str()), progress: progress.clone() }
    }

    /// The same with one more setting; `value` is SQL.
    pub(crate) fn with(mut self, setting: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.script.push_str(&format!("SET {setting} = {value};"));
        }
        self
    }

    /// Connections with these settings, as many as `connections`.
    pub(crate) fn pool(self, options: &PgConnectOptions, connections: u32) -> PgPool {
        let session = Arc::new(self);
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                let session = session.clone();
                Box::pin(async move { session.begin(connection).await })
            })
            .connect_lazy_with(options.clone())
    }

    /// Sets everything, and notes in which life of the database the connection was opened.
    async fn begin(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.script.as_str())).execute(&mut *connection).await?;
        self.progress.meet(incarnation::of(connection, &self.own_schema).await?);
        Ok(())
    }
}
