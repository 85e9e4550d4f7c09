//! Read models in a folder of SQLite files: each generation is a file.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::time::Instant;

use crate::file_readers::{FileReaders, Files};
use crate::limits::READING;
use crate::pool::{Durability, Patience, Pool};
use crate::{Progress, StoreError, Tx, migrations};

/// How long a statement waits for another's lock before it counts as busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a lock is tried that somebody else holds.
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Folder {
    directory: PathBuf,
    /// The connection to this crate's own tables.
    store: SqlitePool,
}

impl Folder {
    pub(crate) fn new(directory: &Path) -> Self {
        let store = writer(&store_file(directory), Durability::Full, Patience::Batches);
        Self { directory: directory.to_owned(), store }
    }

    /// Makes the folder, and brings this crate's own tables up to this version.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(sqlx::Error::Io)?;
        // For SQLite sqlx takes no lock of its own around migrations.
        let _alone = hold(&self.directory.join("migrations.lock")).await.map_err(sqlx::Error::Io)?;
        private_file(&store_file(&self.directory)).map_err(sqlx::Error::Io)?;
        migrations::run(&self.store).await
    }

    /// Checks that they are of this version.
    pub(crate) async fn check_tables(&self) -> Result<(), StoreError> {
        let never_started = || migrations::never_started(&format!("the folder {}", self.directory.display()));
        if !store_file(&self.directory).exists() {
            return Err(never_started());
        }
        let mut connection = self.store.acquire().await?;
        let found: Option<String> =
            sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE name = '_sqlx_migrations'")
                .fetch_optional(&mut *connection)
                .await?;
        if found.is_none() {
            return Err(never_started());
        }
        migrations::check(&mut *connection).await
    }

    /// The connection to this crate's own tables.
    pub(crate) fn store(&self) -> Pool {
        Pool::on_file(self.store.clone())
    }

    /// The one connection that writes the generation `schema`.
    pub(crate) fn writers(&self, schema: &str, durability: Durability, patience: Patience) -> Pool {
        Pool::on_file(writer(&self.file(schema), durability, patience))
    }

    /// Readers of the generations `schemas`, each attached under its name.
    pub(crate) fn readers(&self, schemas: &[&str]) -> FileReaders {
        let attached = schemas.iter().map(|&schema| (schema.to_owned(), self.file(schema))).collect();
        FileReaders::new(Files { main: store_file(&self.directory), attached, patience: BUSY_TIMEOUT, limit: READING })
    }

    /// Begins a transaction that only reads the generation `schema`.
    pub(crate) async fn look_at(&self, schema: &str) -> Result<Tx, StoreError> {
        let file = reading(&self.file(schema));
        let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(BUSY_TIMEOUT).connect_lazy_with(file);
        Pool::on_file(pool).snapshot().await
    }

    /// A transaction that writes this crate's own tables is alone with them.
    pub(crate) async fn lock_generations(&self, _tx: &mut Tx) -> Result<(), StoreError> {
        Ok(())
    }

    /// Makes the file of `schema` with what `scripts` make. It is complete before the row that names it is kept: a file
    /// without a row is left over from a crash and made anew.
    pub(crate) async fn create(&self, _tx: &mut Tx, schema: &str, scripts: &[&str]) -> Result<(), StoreError> {
        self.remove_file(schema)?;
        private_file(&self.file(schema)).map_err(sqlx::Error::Io)?;
        let mut tx = self.writers(schema, Durability::Full, Patience::Builds).begin().await?;
        for script in scripts {
            tx.schema_statement(script).await?;
        }
        tx.commit().await
    }

    /// Removes the file of `schema`, whatever becomes of the transaction.
    pub(crate) async fn drop_schema(&self, _tx: &mut Tx, schema: &str) -> Result<(), StoreError> {
        self.remove_file(schema)
    }

    /// Removes the file of a generation and what SQLite keeps beside it.
    fn remove_file(&self, schema: &str) -> Result<(), StoreError> {
        let file = self.file(schema);
        for suffix in ["", "-wal", "-shm"] {
            let mut path = file.clone().into_os_string();
            path.push(suffix);
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(sqlx::Error::Io(error).into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the file of `schema` is there.
    pub(crate) fn has_file(&self, schema: &str) -> bool {
        self.file(schema).exists()
    }

    /// Removes the files of generations that are not among `known`.
    pub(crate) fn sweep(&self, known: &[&str]) -> Result<(), StoreError> {
        sweep(&self.directory, known).map_err(|error| sqlx::Error::Io(error).into())
    }

    /// The file that whoever builds `projection` holds; `None` while another process holds it.
    pub(crate) async fn lease(&self, projection: &str) -> Result<Option<File>, StoreError> {
        let path = self.directory.join(format!("{projection}.lease"));
        let file = private_file(&path).map_err(sqlx::Error::Io)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(sqlx::Error::Io(error).into()),
        }
    }

    /// There are no other processes to share progress with.
    pub(crate) fn share(&self, _progress: &Arc<Progress>) {}

    fn file(&self, schema: &str) -> PathBuf {
        self.directory.join(format!("{schema}.db"))
    }
}

/// The file of this crate's own tables.
fn store_file(directory: &Path) -> PathBuf {
    directory.join("store.db")
}

/// Makes `file` for its owner alone, when there is none. What SQLite keeps beside it is no more open than it.
fn private_file(file: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(file)
}

/// The one connection that writes `file`.
fn writer(file: &Path, durability: Durability, patience: Patience) -> SqlitePool {
    let synchronous = match durability {
        Durability::Full => SqliteSynchronous::Full,
        Durability::Relaxed => SqliteSynchronous::Normal,
    };
    let temporary = match patience {
        // What a statement over many rows would be taken back by. In a file it costs as much as the rows.
        Patience::Batches => "MEMORY",
        // Who makes an index sorts more than there may be memory for.
        Patience::Builds => "FILE",
    };
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("cache_size", "-65536")
        .pragma("temp_store", temporary)
        // Pages that are written again and again, as those of the newest rows are, are carried over once in 16 MiB.
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864");
    // A file does not go away.
    let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(BUSY_TIMEOUT).test_before_acquire(false);
    pool.connect_lazy_with(options)
}

/// A connection that only reads `file`.
fn reading(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("query_only", "1")
        .pragma("cache_size", "-16384")
}

/// Waits until no other process or task holds `path`, then holds it until the file is dropped.
async fn hold(path: &Path) -> std::io::Result<File> {
    let file = private_file(path)?;
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => return Err(ErrorKind::TimedOut.into()),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn sweep(directory: &Path, known: &[&str]) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((schema, suffix)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
        let is_generation = suffix.starts_with("db")
            && schema.rsplit_once('_').is_some_and(|(_, number)| number.parse::<i64>().is_ok());
        if is_generation && !known.contains(&schema) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
