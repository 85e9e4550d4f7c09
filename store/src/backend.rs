use std::sync::Arc;

use crate::pool::{Durability, Patience, Pool};
use crate::readers::Readers;
use crate::{DatabasePlace, Progress, Settings, StoreError, Tx};

/// Where the read models are; both kinds do the same, each in its own way.
#[derive(Debug)]
pub(crate) enum Backend {
    #[cfg(feature = "postgres")]
    Postgres(crate::server::Server),
    #[cfg(feature = "sqlite")]
    Sqlite(crate::folder::Folder),
}

impl Backend {
    /// With what is known of how far its generations have come, which is nothing yet.
    pub(crate) fn new(settings: &Settings) -> Result<(Self, Arc<Progress>), StoreError> {
        match &settings.place {
            #[cfg(feature = "postgres")]
            DatabasePlace::Postgres { url } => {
                let progress = Arc::new(Progress::new(true));
                let server = crate::server::Server::new(url, &settings.namespace, &progress)?;
                Ok((Self::Postgres(server), progress))
            }
            // No other process works on the same read models.
            #[cfg(feature = "sqlite")]
            DatabasePlace::Sqlite { directory } => {
                Ok((Self::Sqlite(crate::folder::Folder::new(directory)), Arc::new(Progress::new(false))))
            }
        }
    }

    /// Brings this crate's own tables up to this version. Several processes may do so at once.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        on_each!(self, Self, |place| place.migrate().await)
    }

    /// Checks that they are there, and of this version.
    pub(crate) async fn check_tables(&self) -> Result<(), StoreError> {
        on_each!(self, Self, |place| place.check_tables().await)
    }

    /// Connections to this crate's own tables.
    pub(crate) fn store(&self) -> Pool {
        on_each!(self, Self, |place| place.store())
    }

    /// Connections that write the generation in `schema`.
    pub(crate) fn writers(&self, schema: &str, durability: Durability, patience: Patience) -> Pool {
        on_each!(self, Self, |place| place.writers(schema, durability, patience))
    }

    /// Readers of the generations in `schemas`.
    pub(crate) fn readers(&self, schemas: &[&str]) -> Readers {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(server) => Readers::Postgres(server.readers(schemas)),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(folder) => Readers::Sqlite(folder.readers(schemas)),
        }
    }

    /// Begins a transaction that only reads the generation in `schema`.
    pub(crate) async fn look_at(&self, schema: &str) -> Result<Tx, StoreError> {
        on_each!(self, Self, |place| place.look_at(schema).await)
    }

    /// Begins a transaction in which nobody else changes the set of generations.
    pub(crate) async fn begin_on_generations(&self) -> Result<Tx, StoreError> {
        let mut tx = self.store().begin().await?;
        on_each!(self, Self, |place| place.lock_generations(&mut tx).await?);
        Ok(tx)
    }

    /// Makes `schema` with what `scripts` make.
    pub(crate) async fn create(&self, tx: &mut Tx, schema: &str, scripts: &[&str]) -> Result<(), StoreError> {
        on_each!(self, Self, |place| place.create(tx, schema, scripts).await)
    }

    /// Drops `schema` with everything in it.
    pub(crate) async fn drop_schema(&self, tx: &mut Tx, schema: &str) -> Result<(), StoreError> {
        on_each!(self, Self, |place| place.drop_schema(tx, schema).await)
    }

    /// Whether the file of `schema` is there, where it should have one.
    pub(crate) fn has_file(&self, schema: &str) -> bool {
        on_each!(self, Self, |place| place.has_file(schema))
    }

    /// Removes what crashes have left over of generations that are not among `known`.
    pub(crate) fn sweep(&self, known: &[&str]) -> Result<(), StoreError> {
        on_each!(self, Self, |place| place.sweep(known))
    }

    /// What holds the right to build `projection` until it is dropped; `None` while another process has it.
    pub(crate) async fn lease(
        &self,
        projection: &str,
    ) -> Result<Option<Box<dyn std::fmt::Debug + Send + Sync>>, StoreError> {
        on_each!(self, Self, |place| Ok(place.lease(projection).await?.map(|held| Box::new(held) as _)))
    }

    /// The clock in SQL, in milliseconds since 1970.
    pub(crate) fn now(&self) -> &'static str {
        on_each!(self, Self, |_place, database| database::NOW)
    }

    /// Shares progress with other processes, where there can be any.
    pub(crate) fn share(&self, progress: &Arc<Progress>) {
        on_each!(self, Self, |place| place.share(progress));
    }
}
