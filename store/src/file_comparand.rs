//! What a file of SQLite's held at one moment, read whole. It has no hash of rows of its own; the rows are read on one
//! thread and their values hashed as they lie there, since any form that SQL could give them costs more than all else.

use std::hash::{BuildHasher as _, Hash as _, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::Positions;
use foldhash::quality::FixedState;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::checkpoints::{CHECKPOINTS, positions};
use crate::file_readers::{Files, read, unread};
use crate::tables::{TableDigest, by_table};
use crate::{StoreError, sqlite};

/// How long a lock is waited for: readers take none that a writer holds but while a file is made or mended.
const PATIENCE: Duration = Duration::from_secs(5);
/// Steps of SQLite's machine between two looks whether anybody waits for the comparison: some milliseconds.
const STEPS_BETWEEN_LOOKS: i32 = 100_000;

/// A connection within a transaction that reads.
#[derive(Debug)]
pub(crate) struct FileComparand {
    connection: Connection,
}

impl FileComparand {
    /// Begins to hold what `file` holds now, with its checkpoints.
    pub(crate) async fn open(file: PathBuf) -> Result<(Positions, Self), StoreError> {
        on_a_thread(move || {
            let files = Files { main: file, attached: Vec::new(), patience: PATIENCE, limit: Duration::MAX };
            let connection = files.open().map_err(unread)?;
            connection.busy_timeout(PATIENCE).map_err(unread)?;
            connection.execute_batch(sqlite::SNAPSHOT).map_err(unread)?;
            let checkpoints = positions(read(&connection, CHECKPOINTS, &[], || false)?)?;
            Ok((checkpoints, Self { connection }))
        })
        .await
    }

    /// The digest of each table. It ends early when this is left.
    pub(crate) async fn digests(self) -> Result<Vec<TableDigest>, StoreError> {
        let Self { connection } = self;
        // Dropped with this future.
        let asking = Arc::new(());
        let asked = Arc::downgrade(&asking);
        on_a_thread(move || {
            let tables = by_table(read(&connection, sqlite::COLUMNS, &[], || false)?);
            let nobody_waits = move || asked.strong_count() == 0;
            connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(nobody_waits)).map_err(unread)?;
            tables.into_iter().map(|(table, columns)| digest(&connection, table, &columns)).collect()
        })
        .await
    }
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    // Without an answer the work has panicked.
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()))
}

/// The number of rows of `table` and the sum of their hashes, in whatever order they come.
fn digest(connection: &Connection, table: String, columns: &[String]) -> Result<TableDigest, StoreError> {
    let names: Vec<String> = columns.iter().map(|column| format!("\"{column}\"")).collect();
    let sql = format!("SELECT {} FROM \"{table}\"", names.join(", "));
    let mut statement = connection.prepare(&sql).map_err(unread)?;
    let mut found = statement.raw_query();
    let (mut rows, mut sum) = (0, 0_u64);
    while let Some(row) = found.next().map_err(unread)? {
        // Both sides are hashed by one program, so that hashes need not be the same in the next.
        let mut hasher = FixedState::default().build_hasher();
        for index in 0..columns.len() {
            add(&mut hasher, row.get_ref(index).map_err(unread)?);
        }
        rows += 1;
        sum = sum.wrapping_add(hasher.finish());
    }
    Ok(TableDigest { table, rows, checksum: sum.to_string() })
}

/// Adds a value in a form that no other has: its type, and its bytes after their number.
fn add(hasher: &mut impl Hasher, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => 0_u8.hash(hasher),
        ValueRef::Integer(value) => (1_u8, value).hash(hasher),
        ValueRef::Real(value) => (2_u8, value.to_bits()).hash(hasher),
        ValueRef::Text(bytes) => (3_u8, bytes).hash(hasher),
        ValueRef::Blob(bytes) => (4_u8, bytes).hash(hasher),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Rows that are alike in one way or another.
    const ALIKE: &[&str] = &[
        "'a', 'bc'",
        "'ab', 'c'",
        "NULL, 'bc'",
        "'', 'bc'",
        "'bc', NULL",
        "'null;', 'bc'",
        "1, 0",
        "'1', 0",
        "1.0, 0",
        "0.3, 0",
        "0.1 + 0.2, 0",
        "x'41', 0",
        "'A', 0",
        "x'ff', 0",
        "x'fe', 0",
        "CAST(x'610062' AS TEXT), 0",
        "CAST(x'610063' AS TEXT), 0",
        "'a', 0",
        "'1:a', 'text1:a'",
        "'1:atext1:a', ''",
    ];

    #[test]
    fn rows_that_differ_have_other_digests() {
        let connection = Connection::open_in_memory().expect("a database in memory");
        for kind in ["", "WITHOUT ROWID"] {
            let mut digests = BTreeSet::new();
            for row in ALIKE {
                let key = "number INTEGER PRIMARY KEY";
                let sql = format!(
                    "DROP TABLE IF EXISTS things; CREATE TABLE things (a, b, {key}) {kind}; INSERT INTO things VALUES ({row}, 1), (2, 2, 2)"
                );
                connection.execute_batch(&sql).expect(row);
                let columns = ["a", "b", "number"].map(str::to_owned);
                let found = digest(&connection, "things".to_owned(), &columns).expect(row);
                assert_eq!(found.rows, 2, "{row}");
                assert!(digests.insert(found.checksum), "{row}");
            }
        }
    }
}
