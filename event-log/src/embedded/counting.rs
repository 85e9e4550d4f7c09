//! How many records each topic holds, which its offsets do not say: they are shared.

use rusqlite::Connection;

use super::file::LogFile;
use super::schema::{self, unavailable};
use crate::LogError;

/// Rows that are counted for one answer at the most: some hundred milliseconds.
const ROWS: i64 = 500_000;

/// What was counted so far.
#[derive(Debug, Default)]
pub(super) struct Counting {
    /// For each topic, in the order of [`LogFile::topics`].
    records: Vec<i64>,
    /// Where each began when it was counted. Where one begins elsewhere now, records were removed.
    first: Vec<i64>,
    /// Every record below is counted.
    next: i64,
}

impl Counting {
    /// Goes on counting from where it was left; `None` when it has not come to the end. Blocks while it does.
    pub(super) fn go_on(&mut self, file: &LogFile) -> Result<Option<Vec<i64>>, LogError> {
        let connection = schema::open_reader(&file.path)?;
        let is_done = self.count(&connection, file).map_err(|error| unavailable(&error))?;
        Ok(is_done.then(|| self.records.clone()))
    }

    fn count(&mut self, connection: &Connection, file: &LogFile) -> rusqlite::Result<bool> {
        // One snapshot for all questions; it ends with the transaction.
        let snapshot = connection.unchecked_transaction()?;
        let first = file.topics.iter().map(|topic| schema::first_offset(&snapshot, topic.id));
        let first = first.collect::<rusqlite::Result<Vec<i64>>>()?;
        if first != self.first {
            *self = Self { records: vec![0; first.len()], first, next: 0 };
        }
        let mut counted = snapshot.prepare(
            "SELECT topic, count(*), max(offset)
             FROM (SELECT topic, offset FROM records WHERE offset >= ?1 ORDER BY offset LIMIT ?2) GROUP BY topic",
        )?;
        let mut rows = counted.query([self.next, ROWS])?;
        let mut looked_at = 0;
        while let Some(row) = rows.next()? {
            let (topic, count, last): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if let Some(slot) = file.topics.iter().position(|stored| stored.id == topic) {
                self.records[slot] += count;
            }
            looked_at += count;
            self.next = self.next.max(last + 1);
        }
        Ok(looked_at < ROWS)
    }
}
