//! What generations leave behind that are forgotten: their schemas, in SQLite their files.
//!
//! Whoever forgets a generation does so in a transaction that holds up others, and does not wait there for those who
//! still read in its schema, which may be a backup. The schema is written down instead, and dropped afterwards, by
//! whoever comes first.

use crate::{Database, StoreError, Tx};

/// Writes down that `schema` is to be dropped.
pub(crate) async fn leave(tx: &mut Tx, schema: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO dropped_schemas (schema_name) VALUES ($1) ON CONFLICT (schema_name) DO NOTHING";
    tx.execute(sql, &[schema.into()]).await.map(drop)
}

impl Database {
    /// Drops what forgotten generations have left behind. Whoever reads in it is waited for a second; then it stays,
    /// and so it does when the database is away, until somebody calls this again.
    pub async fn drop_leftovers(&self) {
        if let Err(error) = self.try_drop_leftovers().await {
            tracing::debug!(%error, "what old generations have left behind stays for now");
        }
    }

    async fn try_drop_leftovers(&self) -> Result<(), StoreError> {
        let left: Vec<(String,)> = self.look().await?.fetch("SELECT schema_name FROM dropped_schemas", &[]).await?;
        for (schema,) in left {
            if let Err(error) = self.drop_leftover(&schema).await {
                tracing::warn!(schema, %error, "an old generation could not be dropped yet");
            }
        }
        Ok(())
    }

    async fn drop_leftover(&self, schema: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let sql = "DELETE FROM dropped_schemas WHERE schema_name = $1";
        if tx.execute(sql, &[schema.into()]).await? > 0 {
            self.backend.drop_schema(&mut tx, schema).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}
