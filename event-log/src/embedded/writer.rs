use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::extent::Extent;
use super::file::LogFile;
use super::schema;
use crate::AppendError;
use crate::threads::waiting_runtime;

/// Appends that one commit takes at the most.
const GROUP_RECORDS: usize = 1_000;
/// Rows that one step of pruning looks at.
const PRUNE_ROWS: i64 = 5_000;
/// How long pruning leaves the writer to appends between two steps.
const PRUNE_PAUSE: Duration = Duration::from_millis(20);
/// How often records whose time is over are looked for.
const PRUNE_INTERVAL: Duration = Duration::from_secs(3_600);

/// One record on its way to the writer.
pub(super) struct Append {
    /// The topic's place in [`LogFile::topics`].
    pub(super) slot: usize,
    pub(super) key: Vec<u8>,
    /// Encoded by [`Headers::encode`](crate::Headers::encode).
    pub(super) headers: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) answer: oneshot::Sender<Result<i64, AppendError>>,
}

/// The only one who writes to the file.
pub(super) struct Writer {
    file: Arc<LogFile>,
    /// `None` after a failure: the next commit or pruning opens the file again.
    connection: Option<Connection>,
    extent: watch::Sender<Extent>,
    /// For each topic, where pruning goes on looking.
    prune_from: Vec<i64>,
    next_prune: Instant,
}

/// A group of appends that was not committed.
#[derive(Debug)]
struct CommitFailure {
    error: rusqlite::Error,
    /// Whether the records may come back when the file is recovered after a crash.
    may_be_written: bool,
}

impl From<rusqlite::Error> for CommitFailure {
    fn from(error: rusqlite::Error) -> Self {
        Self { error, may_be_written: false }
    }
}

impl Writer {
    pub(super) fn new(file: Arc<LogFile>, connection: Connection, extent: watch::Sender<Extent>) -> Self {
        let prune_from = extent.borrow().topics.iter().map(|topic| topic.first).collect();
        Self { file, connection: Some(connection), extent, prune_from, next_prune: Instant::now() }
    }

    /// Writes until the log is dropped and all it took is answered.
    pub(super) fn run(mut self, mut appends: mpsc::Receiver<Append>) {
        let runtime = waiting_runtime();
        let mut group = Vec::with_capacity(GROUP_RECORDS);
        loop {
            let until_prune = self.next_prune.saturating_duration_since(Instant::now());
            let received =
                runtime.block_on(async { timeout(until_prune, appends.recv_many(&mut group, GROUP_RECORDS)).await });
            match received {
                Ok(0) => return,
                Ok(_) => self.append(&mut group),
                Err(_) => {}
            }
            if self.next_prune <= Instant::now() {
                self.prune();
            }
        }
    }

    /// Commits `group`, wakes the readers and answers; leaves `group` empty.
    fn append(&mut self, group: &mut Vec<Append>) {
        match self.commit(group) {
            Ok(first) => {
                self.extent.send_modify(|extent| {
                    for (append, offset) in group.iter().zip(first..) {
                        extent.next_offset = offset + 1;
                        extent.topics[append.slot].end = offset + 1;
                    }
                });
                for (append, offset) in group.drain(..).zip(first..) {
                    // Whoever stopped waiting does not want to know.
                    let _ = append.answer.send(Ok(offset));
                }
            }
            Err(failure) => {
                tracing::error!(error = %failure.error, records = group.len(), "the log could not be written");
                self.connection = None;
                for append in group.drain(..) {
                    let _ = append.answer.send(Err(failure.as_append_error()));
                }
            }
        }
    }

    /// Writes `group` and returns the offset of its first record.
    fn commit(&mut self, group: &[Append]) -> Result<i64, CommitFailure> {
        self.reopen_after_failure()?;
        let first = self.extent.borrow().next_offset;
        let appended_at = unix_millis(SystemTime::now());
        let transaction = begin(&mut self.connection)?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO records (offset, topic, appended_at, key, headers, payload)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for (append, offset) in group.iter().zip(first..) {
                let topic = self.file.topics[append.slot].id;
                let (key, headers, payload) = (&append.key, &append.headers, &append.payload);
                insert.execute(params![offset, topic, appended_at, key, headers, payload])?;
            }
        }
        transaction.commit().map_err(|error| {
            // The commit may stand in the WAL already, when only its fsync failed.
            let may_be_written = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
            CommitFailure { error, may_be_written }
        })?;
        Ok(first)
    }

    fn reopen_after_failure(&mut self) -> rusqlite::Result<()> {
        if self.connection.is_some() {
            return Ok(());
        }
        let connection = schema::reopen(&self.file.path)?;
        // A record whose commit failed in its fsync may be there after all: its offset is taken.
        let next_offset = schema::next_offset(&connection)?;
        self.extent.send_if_modified(|extent| {
            let grown = next_offset > extent.next_offset;
            if grown {
                extent.next_offset = next_offset;
                extent.topics.iter_mut().for_each(|topic| topic.end = next_offset);
            }
            grown
        });
        self.connection = Some(connection);
        Ok(())
    }

    /// One step of removing records whose time is over.
    fn prune(&mut self) {
        let mut done = true;
        for slot in 0..self.file.topics.len() {
            let Some(retention) = self.file.topics[slot].retention else { continue };
            match self.prune_topic(slot, retention) {
                Ok(topic_done) => done &= topic_done,
                Err(error) => {
                    tracing::warn!(%error, topic = %self.file.topics[slot].name, "old records were not removed");
                    self.connection = None;
                }
            }
        }
        self.next_prune = Instant::now() + if done { PRUNE_INTERVAL } else { PRUNE_PAUSE };
    }

    /// Removes records of one topic that are older than `retention`, looking at some rows only; returns whether
    /// there are no more. The last row of the table always stays, so that no offset is ever given out twice.
    fn prune_topic(&mut self, slot: usize, retention: Duration) -> rusqlite::Result<bool> {
        let topic = self.file.topics[slot].id;
        let from = self.prune_from[slot];
        let last = self.extent.borrow().next_offset - 1;
        let oldest_kept = unix_millis(SystemTime::now()) - millis(retention);
        self.reopen_after_failure()?;
        let transaction = begin(&mut self.connection)?;
        let mut looked_at = 0;
        let mut removed_below = None;
        let mut look_on_from = from;
        let mut found_young = false;
        {
            let mut rows = transaction.prepare_cached(
                "SELECT offset, topic, appended_at FROM records
                 WHERE offset >= ?1 AND offset < ?2 ORDER BY offset LIMIT ?3",
            )?;
            let mut rows = rows.query([from, last, PRUNE_ROWS])?;
            while let Some(row) = rows.next()? {
                let offset: i64 = row.get(0)?;
                if row.get::<_, i64>(1)? == topic {
                    if row.get::<_, i64>(2)? >= oldest_kept {
                        found_young = true;
                        break;
                    }
                    removed_below = Some(offset + 1);
                }
                looked_at += 1;
                look_on_from = offset + 1;
            }
        }
        if let Some(first) = removed_below {
            // Before the commit, so that a reader that finds the rows gone finds the reason too. Nobody need wake.
            self.extent.send_if_modified(|extent| {
                extent.topics[slot].first = first;
                false
            });
            transaction.execute(
                "DELETE FROM records WHERE topic = ?1 AND offset >= ?2 AND offset < ?3",
                [topic, from, first],
            )?;
            transaction.execute("UPDATE topics SET first_offset = ?2 WHERE id = ?1", [topic, first])?;
        }
        transaction.commit()?;
        self.prune_from[slot] = look_on_from;
        Ok(found_young || looked_at < PRUNE_ROWS)
    }
}

fn begin(connection: &mut Option<Connection>) -> rusqlite::Result<Transaction<'_>> {
    let connection = connection.as_mut().expect("it is opened again before a transaction begins");
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

impl CommitFailure {
    fn as_append_error(&self) -> AppendError {
        if self.may_be_written {
            AppendError::Unknown(self.error.to_string())
        } else {
            AppendError::Unavailable(self.error.to_string())
        }
    }
}

fn unix_millis(time: SystemTime) -> i64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
