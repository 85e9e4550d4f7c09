use std::ops::{Deref, DerefMut};

use crate::{StoreError, Tx};

/// A transaction on one generation of a read model, for whoever runs projections: beside the read model's own tables
/// ([`Tx`]) it reaches the checkpoints and the parked records, and ends. Dropped, it is rolled back.
#[derive(Debug)]
pub struct GenerationTx {
    tx: Tx,
}

impl From<Tx> for GenerationTx {
    fn from(tx: Tx) -> Self {
        Self { tx }
    }
}

impl Deref for GenerationTx {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for GenerationTx {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}

impl GenerationTx {
    /// Begins a part of the transaction that may be taken back by itself. Parts do not contain each other.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn begin_part(&mut self) -> Result<(), StoreError> {
        self.execute("SAVEPOINT part", &[]).await.map(drop)
    }

    /// Ends the part that was begun, and takes back what was done in it unless it is `kept`.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn end_part(&mut self, kept: bool) -> Result<(), StoreError> {
        if !kept {
            self.execute("ROLLBACK TO SAVEPOINT part", &[]).await?;
        }
        self.execute("RELEASE SAVEPOINT part", &[]).await.map(drop)
    }

    /// Keeps everything the transaction did.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers. After [`StoreError::Unavailable`] it is not known whether the
    /// transaction was kept; the checkpoint says so.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.tx.commit().await
    }
}
