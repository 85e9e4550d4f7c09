use balcony_event_log::Positions;

#[cfg(feature = "postgres")]
use crate::GenerationTx;
use crate::pool::Connections;
use crate::tables::TableDigest;
use crate::{StoreError, Writer};

/// One side of a comparison of two generations: what a generation held at one moment, whatever is written since.
#[derive(Debug)]
pub struct Comparand {
    checkpoints: Positions,
    held: Held,
}

#[derive(Debug)]
enum Held {
    #[cfg(feature = "postgres")]
    Postgres(GenerationTx),
    #[cfg(feature = "sqlite")]
    Sqlite(crate::file_comparand::FileComparand),
}

impl Writer {
    /// Holds what the generation holds now.
    ///
    /// # Errors
    /// As [`Writer::begin`].
    pub async fn comparand(&self) -> Result<Comparand, StoreError> {
        match &self.pool.connections {
            #[cfg(feature = "postgres")]
            Connections::Postgres(_) => {
                let mut tx = self.snapshot().await?;
                Ok(Comparand { checkpoints: tx.checkpoints().await?, held: Held::Postgres(tx) })
            }
            #[cfg(feature = "sqlite")]
            Connections::Sqlite(pool) => {
                let file = pool.connect_options().get_filename().to_owned();
                let (checkpoints, held) = crate::file_comparand::FileComparand::open(file).await?;
                Ok(Comparand { checkpoints, held: Held::Sqlite(held) })
            }
        }
    }
}

impl Comparand {
    /// How far the generation had read each partition.
    pub fn checkpoints(&self) -> &Positions {
        &self.checkpoints
    }

    /// The digest of each table of the read model, in the order of their names.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn digests(self) -> Result<Vec<TableDigest>, StoreError> {
        match self.held {
            #[cfg(feature = "postgres")]
            Held::Postgres(mut tx) => {
                let mut digests = Vec::new();
                for (table, _) in tx.tables().await? {
                    let sql = format!(
                        "SELECT COUNT(*), COALESCE(SUM(hash_record_extended(whole_row, 0)), 0)::text
                         FROM \"{table}\" AS whole_row"
                    );
                    let counted: Vec<(i64, String)> = tx.fetch(sql, &[]).await?;
                    let digest = |(rows, checksum)| TableDigest { table: table.clone(), rows, checksum };
                    digests.extend(counted.into_iter().map(digest));
                }
                Ok(digests)
            }
            #[cfg(feature = "sqlite")]
            Held::Sqlite(held) => held.digests().await,
        }
    }
}
