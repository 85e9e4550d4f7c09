use balcony_store::{Database, Scratch, StoreError};

/// A database of a scenario's own, opened.
pub(super) struct OpenScratch {
    pub(super) database: Database,
    scratch: Scratch,
}

impl OpenScratch {
    /// SQLite and, where `DATABASE_URL` names a server, PostgreSQL.
    pub(super) async fn of_each_kind() -> Result<Vec<Self>, StoreError> {
        let sqlite = Self::open(Scratch::sqlite_in_memory()?).await?;
        #[cfg(feature = "postgres")]
        if let Some(scratch) = Scratch::postgres().await? {
            return Ok(vec![sqlite, Self::open(scratch).await?]);
        }
        Ok(vec![sqlite])
    }

    async fn open(scratch: Scratch) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(scratch.settings()).await?, scratch })
    }

    /// The database's name.
    pub(super) fn kind(&self) -> &'static str {
        self.scratch.kind()
    }

    /// Whether several workers can write at once.
    pub(super) fn writes_at_once(&self) -> bool {
        self.scratch.writes_at_once()
    }
}
