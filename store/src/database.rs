use std::sync::Arc;

use crate::backend::Backend;
use crate::listing::{list, unnamed_schema};
use crate::pool::{Durability, Patience, Pool};
use crate::{Generation, GenerationTx, ListedGeneration, Namespace, Progress, Settings, StoreError, Tx};

/// The read-model database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) backend: Arc<Backend>,
    pub(crate) namespace: Namespace,
    progress: Arc<Progress>,
}

/// Connections that write one generation.
#[derive(Debug, Clone)]
pub struct Writer {
    pub(crate) pool: Pool,
}

impl Database {
    /// Opens the database and brings this crate's own tables up to this version. Several processes may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] for a URL that is none, for tables of a newer version and for a folder of another
    /// namespace; [`StoreError::Unavailable`] when the database does not answer.
    pub async fn open(settings: &Settings) -> Result<Self, StoreError> {
        let (backend, progress) = Backend::new(settings)?;
        backend.migrate().await?;
        sweep(&backend, &settings.namespace).await?;
        Ok(Self::of(backend, progress, settings))
    }

    /// Opens the database for a tool that works beside the program's processes: it is left as it is.
    ///
    /// # Errors
    /// As [`Database::open`], and [`StoreError::Misconfigured`] where no program of this namespace has made its tables
    /// or where they are of an older version.
    pub async fn open_beside(settings: &Settings) -> Result<Self, StoreError> {
        let (backend, progress) = Backend::new(settings)?;
        backend.check_tables().await?;
        Ok(Self::of(backend, progress, settings))
    }

    fn of(backend: Backend, progress: Arc<Progress>, settings: &Settings) -> Self {
        backend.share(&progress);
        Self { backend: Arc::new(backend), namespace: settings.namespace.clone(), progress }
    }

    /// The namespace that it was opened in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// How far the generations have come, as far as this process knows, and who waits for it.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Connections that write `generation`. A crash of the database may take the last transactions back, but rows and
    /// checkpoint together, and the log is read again from there.
    pub fn writer(&self, generation: &Generation) -> Writer {
        Writer { pool: self.backend.writers(&generation.schema, Durability::Relaxed, Patience::Batches) }
    }

    /// Connections that write `generation` and keep what was committed in any crash: for checkpoints of what cannot be
    /// done again.
    pub fn durable_writer(&self, generation: &Generation) -> Writer {
        Writer { pool: self.backend.writers(&generation.schema, Durability::Full, Patience::Batches) }
    }

    /// As [`Database::writer`], for who builds the generation or compares it with another: a statement may take hours.
    pub fn patient_writer(&self, generation: &Generation) -> Writer {
        Writer { pool: self.backend.writers(&generation.schema, Durability::Relaxed, Patience::Builds) }
    }

    /// The database's clock in SQL, one for all processes: an expression for the milliseconds since 1970 at the statement.
    pub fn clock(&self) -> &'static str {
        self.backend.now()
    }

    /// A transaction on this crate's own tables that changes them.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        self.backend.store().begin().await
    }

    /// A transaction on this crate's own tables that only looks.
    pub(crate) async fn look(&self) -> Result<Tx, StoreError> {
        self.backend.store().snapshot().await
    }

    /// A transaction that only reads `generation`, as it stands at its first statement.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no connection is to be had within some seconds.
    pub async fn look_at(&self, generation: &Generation) -> Result<GenerationTx, StoreError> {
        self.backend.look_at(&generation.schema).await.map(Into::into)
    }

    /// Asks the database whether it is there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.backend.store().ping().await
    }
}

impl Writer {
    /// Begins a transaction on the generation's tables.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no connection is to be had within some seconds.
    pub async fn begin(&self) -> Result<GenerationTx, StoreError> {
        self.pool.begin().await.map(Into::into)
    }

    /// Begins a transaction that reads the generation as it stands at its first statement, whatever is written
    /// meanwhile.
    ///
    /// # Errors
    /// As [`Writer::begin`].
    pub async fn snapshot(&self) -> Result<GenerationTx, StoreError> {
        self.pool.snapshot().await.map(Into::into)
    }
}

/// Removes what crashes have left over: files of generations that are forgotten.
async fn sweep(backend: &Backend, namespace: &Namespace) -> Result<(), StoreError> {
    // Held until the end, so that nobody makes a generation meanwhile, whose file comes before its row.
    let mut tx = backend.begin_on_generations().await?;
    let listed = list(&mut tx, None).await?;
    let known: Vec<&str> = listed.iter().map(|listed| listed.generation.schema()).collect();
    let own = format!("{namespace}_");
    let is_of_others = |listed: &&ListedGeneration| {
        let Generation { projection, number, schema, .. } = &listed.generation;
        !schema.starts_with(&own) && *schema != unnamed_schema(projection, *number)
    };
    if let Some(other) = listed.iter().find(is_of_others) {
        return Err(StoreError::Misconfigured(format!(
            "{} is of another namespace than {namespace}: give each namespace a folder of its own",
            other.generation.schema
        )));
    }
    backend.sweep(&known)
}
