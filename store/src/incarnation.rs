//! How it is known on PostgreSQL that a crash may have taken something back: a row in a table that a crash empties.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::progress::Incarnation;

/// The table, in the schema of this crate's own tables, `schema`. A crash empties what is unlogged, as does a move to a
/// standby; an orderly stop keeps it, and takes nothing back.
pub(crate) fn table(schema: &str) -> String {
    format!(
        "CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.incarnation
         (one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one), id UUID NOT NULL DEFAULT gen_random_uuid())"
    )
}

/// The incarnation that `connection` was opened in. It is unknown where the table is not there, or not to be read or
/// written.
pub(crate) async fn of(connection: &mut PgConnection, schema: &str) -> Result<Incarnation, sqlx::Error> {
    match look(connection, schema).await {
        Ok(found) => Ok(found.map_or_else(Incarnation::unknown, |id| Incarnation::of(&id))),
        Err(sqlx::Error::Database(error)) => {
            tracing::debug!(%error, "it is not known in which life the database is");
            Ok(Incarnation::unknown())
        }
        Err(error) => Err(error),
    }
}

async fn look(connection: &mut PgConnection, schema: &str) -> Result<Option<String>, sqlx::Error> {
    // A table that was made again, by a dump that was put back, has another identifier.
    let sql = format!("SELECT tableoid::text || '/' || id::text FROM {schema}.incarnation");
    if let Some(id) = sqlx::query_scalar(AssertSqlSafe(sql.as_str())).fetch_optional(&mut *connection).await? {
        return Ok(Some(id));
    }
    let begin = format!("INSERT INTO {schema}.incarnation DEFAULT VALUES ON CONFLICT (one) DO NOTHING");
    sqlx::query(AssertSqlSafe(begin)).execute(&mut *connection).await?;
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_optional(connection).await
}
