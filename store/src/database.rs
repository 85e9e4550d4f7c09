use std::path::PathBuf;
use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgPool, SqlitePool};

use crate::{Generation, Progress, StoreError, Tx, postgres, sqlite};

/// Where the read models are.
#[derive(Debug, Clone)]
pub enum Settings {
    /// A PostgreSQL database, by its URL.
    Postgres {
        /// `postgres://user:password@host:port/database`.
        url: String,
    },
    /// A folder of SQLite files.
    Sqlite {
        /// The folder; made when it is missing.
        directory: PathBuf,
    },
}

/// The read-model database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) backend: Backend,
    progress: Arc<Progress>,
}

#[derive(Debug, Clone)]
pub(crate) enum Backend {
    Postgres { options: Arc<PgConnectOptions>, store: PgPool },
    Sqlite { directory: PathBuf, store: SqlitePool },
}

/// Connections that write one generation.
#[derive(Debug, Clone)]
pub struct Writer {
    pool: WriterPool,
}

#[derive(Debug, Clone)]
enum WriterPool {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// What a crash of the database or of the machine may take back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Nothing that was committed.
    Full,
    /// The last transactions, each whole.
    Relaxed,
}

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/store");

impl Database {
    /// Opens the database and brings the store's own tables up to this version. Several processes may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] for a URL that is none and for tables of a newer version,
    /// [`StoreError::Unavailable`] when the database does not answer.
    pub async fn open(settings: &Settings) -> Result<Self, StoreError> {
        let backend = match settings {
            Settings::Postgres { url } => {
                // The parser's message may repeat the URL, and with it the password.
                let options: PgConnectOptions = url.parse().map_err(|_| {
                    StoreError::Misconfigured(
                        "DATABASE_URL is not of the form postgres://user:password@host/database".into(),
                    )
                })?;
                let store = postgres::store(&options);
                let mut tx = store.begin().await?;
                postgres::lock_generations(&mut tx).await?;
                sqlx::raw_sql("CREATE SCHEMA IF NOT EXISTS balcony").execute(&mut *tx).await?;
                tx.commit().await?;
                MIGRATIONS.run(&store).await?;
                Backend::Postgres { options: Arc::new(options), store }
            }
            Settings::Sqlite { directory } => {
                std::fs::create_dir_all(directory).map_err(sqlx::Error::Io)?;
                // For SQLite sqlx takes no lock of its own around migrations.
                let _alone = sqlite::hold(&directory.join("migrations.lock")).await.map_err(sqlx::Error::Io)?;
                let store = sqlite::writer(&sqlite::store_file(directory), Durability::Full);
                MIGRATIONS.run(&store).await?;
                Backend::Sqlite { directory: directory.clone(), store }
            }
        };
        let progress = Progress::start(&backend);
        let database = Self { backend, progress };
        database.sweep().await?;
        Ok(database)
    }

    /// How far the generations have come, as far as this process knows, and who waits for it.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Connections that write `generation`. A crash of the database may take the last transactions back, but rows and
    /// checkpoint together, and the log is read again from there.
    pub fn writer(&self, generation: &Generation) -> Writer {
        self.writer_of(generation, Durability::Relaxed)
    }

    /// Connections that write `generation` and keep what was committed in any crash: for checkpoints of what cannot be
    /// done again.
    pub fn durable_writer(&self, generation: &Generation) -> Writer {
        self.writer_of(generation, Durability::Full)
    }

    fn writer_of(&self, generation: &Generation, durability: Durability) -> Writer {
        let pool = match &self.backend {
            Backend::Postgres { options, .. } => {
                WriterPool::Postgres(postgres::writers(options, generation, durability))
            }
            Backend::Sqlite { directory, .. } => {
                WriterPool::Sqlite(sqlite::writer(&sqlite::generation_file(directory, generation), durability))
            }
        };
        Writer { pool }
    }

    /// A transaction on the store's own tables that changes them.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        match &self.backend {
            Backend::Postgres { store, .. } => Ok(Tx::Postgres(store.begin().await?)),
            Backend::Sqlite { store, .. } => Ok(Tx::Sqlite(store.begin_with("BEGIN IMMEDIATE").await?)),
        }
    }

    /// A transaction on the store's own tables that only looks.
    pub(crate) async fn look(&self) -> Result<Tx, StoreError> {
        match &self.backend {
            Backend::Postgres { store, .. } => Ok(Tx::Postgres(store.begin().await?)),
            Backend::Sqlite { store, .. } => Ok(Tx::Sqlite(store.begin().await?)),
        }
    }

    /// A transaction that only reads `generation`, as it stands at its first statement.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no connection is to be had within some seconds.
    pub async fn look_at(&self, generation: &Generation) -> Result<Tx, StoreError> {
        match &self.backend {
            Backend::Postgres { store, .. } => {
                let mut tx = store.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
                postgres::look_in(&mut tx, generation).await?;
                Ok(Tx::Postgres(tx))
            }
            Backend::Sqlite { directory, .. } => {
                let pool = sqlite::readers(directory, std::slice::from_ref(generation));
                Ok(Tx::Sqlite(pool.begin().await?))
            }
        }
    }

    /// Asks the database whether it is there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Postgres { store, .. } => store.acquire().await?.ping().await?,
            Backend::Sqlite { store, .. } => store.acquire().await?.ping().await?,
        }
        Ok(())
    }
}

impl Writer {
    /// Begins a transaction in the generation's namespace.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no connection is to be had within some seconds.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        match &self.pool {
            WriterPool::Postgres(pool) => Ok(Tx::Postgres(pool.begin().await?)),
            WriterPool::Sqlite(pool) => Ok(Tx::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?)),
        }
    }

    /// Begins a transaction that reads the generation as it stands at its first statement, whatever is written
    /// meanwhile.
    ///
    /// # Errors
    /// As [`Writer::begin`].
    pub async fn snapshot(&self) -> Result<Tx, StoreError> {
        match &self.pool {
            WriterPool::Postgres(pool) => {
                Ok(Tx::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?))
            }
            WriterPool::Sqlite(pool) => Ok(Tx::Sqlite(pool.begin().await?)),
        }
    }
}
