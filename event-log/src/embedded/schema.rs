use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::extent::{Extent, TopicExtent};
use crate::{LogError, Topic};

const VERSION: i64 = 1;

/// How long a connection waits for a lock that another process's reader or a checkpoint holds.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// `first_offset`: every record of the topic below was removed when its time was over.
/// `appended_at`: Unix time in milliseconds. The payload stands last, so that pruning reads no overflow pages.
const TABLES: &str = "
    CREATE TABLE log (identity TEXT NOT NULL) STRICT;
    INSERT INTO log (identity) VALUES (lower(hex(randomblob(16))));
    CREATE TABLE topics (
        id           INTEGER PRIMARY KEY,
        name         TEXT    NOT NULL UNIQUE,
        first_offset INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE records (
        offset      INTEGER PRIMARY KEY,
        topic       INTEGER NOT NULL REFERENCES topics (id),
        appended_at INTEGER NOT NULL,
        key         BLOB    NOT NULL,
        headers     BLOB    NOT NULL,
        payload     BLOB    NOT NULL
    ) STRICT;
";

/// A topic as the file knows it.
pub(super) struct StoredTopic {
    pub(super) id: i64,
    pub(super) name: Arc<str>,
    pub(super) retention: Option<Duration>,
}

/// A log that was just opened for writing.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) identity: String,
    pub(super) topics: Vec<StoredTopic>,
    pub(super) extent: Extent,
}

/// Opens or creates the log at `path` and adds missing topics.
pub(super) fn open(path: &Path, topics: &[Topic]) -> Result<Opened, LogError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
        .map_err(|error| at_path(path, &error))?;
    prepare_tables(&mut connection).map_err(|error| at_path(path, &error))?;
    check_version(&connection, path)?;
    load(connection, topics).map_err(|error| at_path(path, &error))
}

/// Refuses a file that is no log, or of another format than this program's.
pub(super) fn check_version(connection: &Connection, path: &Path) -> Result<(), LogError> {
    let version: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(|error| at_path(path, &error))?;
    if version == VERSION {
        return Ok(());
    }
    Err(LogError::Misconfigured(format!(
        "{} has format {version}, this program writes format {VERSION}",
        path.display()
    )))
}

pub(super) fn unavailable(error: &rusqlite::Error) -> LogError {
    LogError::Unavailable(error.to_string())
}

fn at_path(path: &Path, error: &rusqlite::Error) -> LogError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => LogError::Misconfigured(format!("{} is not a log", path.display())),
        _ => LogError::Unavailable(format!("{}: {error}", path.display())),
    }
}

/// Opens the log at `path` again for writing, without creating anything.
pub(super) fn reopen(path: &Path) -> rusqlite::Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// Opens the log at `path` for reading beside its writer.
pub(super) fn open_reader(path: &Path) -> Result<Connection, LogError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| unavailable(&error))?;
    connection.busy_timeout(LOCK_PATIENCE).map_err(|error| unavailable(&error))?;
    Ok(connection)
}

/// The offset after the last record.
pub(super) fn next_offset(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(offset) + 1, 0) FROM records", [], |row| row.get(0))
}

/// Every record of the topic `id` below was removed when its time was over.
pub(super) fn first_offset(connection: &Connection, id: i64) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT first_offset FROM topics WHERE id = ?1")?.query_row([id], |row| row.get(0))
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(LOCK_PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Copying the WAL back every 16 MB instead of every 4 keeps that pause off most commits; the limit gives the
    // disk back after a slow reader has kept the WAL from starting over.
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(connection)
}

/// Creates the tables in an empty file.
fn prepare_tables(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if version == 0 && tables == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok(())
}

fn load(mut connection: Connection, wanted: &[Topic]) -> rusqlite::Result<Opened> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let identity = transaction.query_row("SELECT identity FROM log", [], |row| row.get(0))?;
    let next_offset = next_offset(&transaction)?;
    let mut topics = Vec::with_capacity(wanted.len());
    let mut extents = Vec::with_capacity(wanted.len());
    for topic in wanted {
        transaction.execute("INSERT INTO topics (name) VALUES (?1) ON CONFLICT (name) DO NOTHING", [&topic.name])?;
        let (id, first) =
            transaction.query_row("SELECT id, first_offset FROM topics WHERE name = ?1", [&topic.name], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        topics.push(StoredTopic { id, name: Arc::clone(&topic.name), retention: topic.retention });
        extents.push(TopicExtent { first, end: next_offset });
    }
    transaction.commit()?;
    Ok(Opened { connection, identity, topics, extent: Extent { next_offset, topics: extents } })
}
