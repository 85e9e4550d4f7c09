//! What SQLite does in its own way.

use std::borrow::Cow;
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection, SqlitePool};
use tokio::time::Instant;

use crate::database::Durability;
use crate::value::{Value, arguments};
use crate::{Generation, StoreError};

/// How long a statement waits for another's lock before it counts as busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a lock is tried that somebody else holds.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Connections that read at the same time.
const READERS: u32 = 4;

pub(crate) async fn execute(
    tx: &mut sqlx::Transaction<'static, Sqlite>,
    sql: Cow<'static, str>,
    params: &[Value<'_>],
) -> Result<(), StoreError> {
    sqlx::query_with(AssertSqlSafe(sql), arguments::<SqliteArguments>(params)?).execute(&mut **tx).await?;
    Ok(())
}

/// The file of the store's own tables.
pub(crate) fn store_file(directory: &Path) -> PathBuf {
    directory.join("store.db")
}

/// The file of a generation.
pub(crate) fn generation_file(directory: &Path, generation: &Generation) -> PathBuf {
    directory.join(format!("{}.db", generation.namespace()))
}

/// The one connection that writes `file`.
pub(crate) fn writer(file: &Path, durability: Durability) -> SqlitePool {
    let synchronous = match durability {
        Durability::Full => SqliteSynchronous::Full,
        Durability::Relaxed => SqliteSynchronous::Normal,
    };
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("cache_size", "-65536");
    SqlitePoolOptions::new().max_connections(1).acquire_timeout(BUSY_TIMEOUT).connect_lazy_with(options)
}

/// Connections that read the generations `live`, each attached under the name of its namespace, so that plain table
/// names are found in whichever file has them.
pub(crate) fn readers(directory: &Path, live: &[Generation]) -> SqlitePool {
    let attach: Vec<String> = live
        .iter()
        .map(|generation| {
            let file = generation_file(directory, generation);
            format!("ATTACH '{}' AS {}", file.to_string_lossy().replace('\'', "''"), generation.namespace())
        })
        .collect();
    let options = SqliteConnectOptions::new()
        .filename(store_file(directory))
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("query_only", "1")
        .pragma("cache_size", "-16384");
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(BUSY_TIMEOUT)
        .after_connect(move |connection, _| {
            let attach = attach.clone();
            Box::pin(async move {
                for statement in attach {
                    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await?;
                }
                Ok(())
            })
        })
        .connect_lazy_with(options)
}

/// Waits until no other process or task holds `path`, then holds it until the file is dropped.
pub(crate) async fn hold(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
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

/// The clock, in milliseconds since 1970.
pub(crate) const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

/// The tables of the file with the columns of their keys.
pub(crate) const KEY_COLUMNS: &str = "
    SELECT sqlite_schema.name, columns.name
    FROM sqlite_schema JOIN pragma_table_info(sqlite_schema.name) AS columns
    WHERE sqlite_schema.type = 'table' AND columns.pk > 0 AND sqlite_schema.name NOT IN ('checkpoints', 'parked')
    ORDER BY sqlite_schema.name, columns.pk";

/// The number of rows of `table` and the sum of the hashes of their keys; SQLite has no hash of its own.
pub(crate) async fn digest(
    connection: &mut SqliteConnection,
    table: &str,
    key: &[String],
) -> Result<(i64, String), StoreError> {
    let quoted: Vec<String> = key.iter().map(|column| format!("quote({column})")).collect();
    let sql = format!("SELECT {} FROM {table}", quoted.join(" || ',' || "));
    let mut keys = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch(connection);
    let (mut rows, mut sum) = (0, 0_u64);
    while let Some(key) = keys.try_next().await? {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        rows += 1;
        sum = sum.wrapping_add(hasher.finish());
    }
    Ok((rows, sum.to_string()))
}

/// The file that whoever builds `projection` holds; `None` while another process holds it.
pub(crate) fn try_lease(directory: &Path, projection: &str) -> std::io::Result<Option<File>> {
    let path = directory.join(format!("{projection}.lease"));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes the files of generations that are not among the namespaces `known`.
pub(crate) fn sweep(directory: &Path, known: &[String]) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((namespace, suffix)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
        let is_generation = suffix.starts_with("db")
            && namespace.rsplit_once('_').is_some_and(|(_, number)| number.parse::<i64>().is_ok());
        if is_generation && !known.iter().any(|known| known == namespace) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes the file of a generation and what SQLite keeps beside it.
pub(crate) fn remove(directory: &Path, generation: &Generation) -> std::io::Result<()> {
    let file = generation_file(directory, generation);
    for suffix in ["", "-wal", "-shm"] {
        let mut path = file.clone().into_os_string();
        path.push(suffix);
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
