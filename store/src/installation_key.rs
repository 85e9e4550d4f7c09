use crate::{Database, StoreError, Tx};

impl Database {
    /// The installation's key, which every process on this database has and nobody else: `new` where there was none.
    /// Several processes may bring one at once: the first counts.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers, and [`StoreError::Misconfigured`] when there is one of another length.
    pub async fn installation_key(&self, new: &[u8; 32]) -> Result<[u8; 32], StoreError> {
        if let Some(key) = key(&mut self.look().await?).await? {
            return Ok(key);
        }
        let mut tx = self.begin().await?;
        tx.execute(
            "INSERT INTO installation_key (only_row, bytes) VALUES (1, $1) ON CONFLICT (only_row) DO NOTHING",
            &[new.as_slice().into()],
        )
        .await?;
        let key = key(&mut tx).await?.expect("it was just written");
        tx.commit().await?;
        Ok(key)
    }
}

async fn key(tx: &mut Tx) -> Result<Option<[u8; 32]>, StoreError> {
    let rows: Vec<(Vec<u8>,)> = tx.fetch("SELECT bytes FROM installation_key", &[]).await?;
    let Some((bytes,)) = rows.into_iter().next() else { return Ok(None) };
    let key =
        bytes.try_into().map_err(|_| StoreError::Misconfigured("the installation's key is damaged".to_owned()))?;
    Ok(Some(key))
}
