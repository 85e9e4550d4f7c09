//! The log read beside the process that writes it: nothing tells when that one commits, so the file is looked at.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::extent::{Extent, ROWS_BEHIND, TopicExtent};
use super::file::LogFile;
use super::schema::{self, StoredTopic, unavailable};
use crate::threads::waiting_runtime;
use crate::{LogError, Topic};

/// How often it is looked whether somebody has committed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Rows from the end that are looked through for each topic's last record when the log is opened.
const LAST_ROWS: i64 = 2 * ROWS_BEHIND;

/// Asks the follower how far the log reaches at this moment.
pub(super) type Look = oneshot::Sender<Result<Extent, LogError>>;

/// Moves the extent as another process commits.
pub(super) struct Follower {
    file: Arc<LogFile>,
    /// `None` after a failure: the next look opens the file again.
    connection: Option<Connection>,
    /// SQLite's count of what others have committed, at the last look.
    seen: Option<i64>,
    extent: watch::Sender<Extent>,
}

/// A log that was just opened for reading.
pub(super) struct Opened {
    pub(super) file: Arc<LogFile>,
    pub(super) extent: watch::Receiver<Extent>,
    pub(super) follower: Follower,
}

/// Opens the log at `path` as it is.
pub(super) fn open(path: &Path, topics: &[Topic]) -> Result<Opened, LogError> {
    if !path.is_file() {
        return Err(LogError::Misconfigured(format!("there is no log at {}", path.display())));
    }
    let connection = schema::open_reader(path)?;
    schema::check_version(&connection, path)?;
    let identity =
        connection.query_row("SELECT identity FROM log", [], |row| row.get(0)).map_err(|error| unavailable(&error))?;
    let topics = stored_topics(&connection, topics)?;
    let extent = Extent { next_offset: 0, topics: vec![TopicExtent { first: 0, end: 0 }; topics.len()] };
    let extent = grown(&connection, &topics, &extent).map_err(|error| unavailable(&error))?;

    let file = Arc::new(LogFile { path: path.to_owned(), identity, topics, beside: true });
    let (extent_sender, extent) = watch::channel(extent);
    let follower =
        Follower { file: Arc::clone(&file), connection: Some(connection), seen: None, extent: extent_sender };
    Ok(Opened { file, extent, follower })
}

impl Follower {
    /// Looks until the log is dropped.
    pub(super) fn run(mut self, mut looks: mpsc::Receiver<Look>) {
        let runtime = waiting_runtime();
        loop {
            match runtime.block_on(async { timeout(LOOK_EVERY, looks.recv()).await }) {
                Ok(None) => return,
                // Whoever stopped waiting does not want to know.
                Ok(Some(look)) => drop(look.send(self.look())),
                Err(_) => {
                    if let Err(error) = self.look() {
                        tracing::warn!(%error, "the log's file could not be looked at");
                    }
                }
            }
        }
    }

    /// How far the log reaches now. Wakes the readers when that is further than before.
    fn look(&mut self) -> Result<Extent, LogError> {
        let looked = self.try_look();
        if looked.is_err() {
            self.connection = None;
            self.seen = None;
        }
        looked
    }

    fn try_look(&mut self) -> Result<Extent, LogError> {
        let connection = match &self.connection {
            Some(connection) => connection,
            None => self.connection.insert(schema::open_reader(&self.file.path)?),
        };
        let version: i64 = connection
            .pragma_query_value(None, "data_version", |row| row.get(0))
            .map_err(|error| unavailable(&error))?;
        let before = self.extent.borrow().clone();
        if self.seen == Some(version) {
            return Ok(before);
        }
        let extent = grown(connection, &self.file.topics, &before).map_err(|error| unavailable(&error))?;
        self.seen = Some(version);
        let news = extent.next_offset > before.next_offset;
        self.extent.send_if_modified(|current| {
            *current = extent.clone();
            news
        });
        Ok(extent)
    }
}

/// The extent of the file now, knowing that it was `before`.
fn grown(connection: &Connection, topics: &[StoredTopic], before: &Extent) -> rusqlite::Result<Extent> {
    // One snapshot for all questions; it ends with the transaction.
    let snapshot = connection.unchecked_transaction()?;
    let next_offset = schema::next_offset(&snapshot)?;
    let from = before.next_offset.max(next_offset - LAST_ROWS);
    let mut last = snapshot
        .prepare_cached("SELECT offset FROM records WHERE topic = ?1 AND offset >= ?2 ORDER BY offset DESC LIMIT 1")?;
    let mut extents = Vec::with_capacity(topics.len());
    for (topic, before_it) in topics.iter().zip(&before.topics) {
        let last: Option<i64> = last.query_row([topic.id, from], |row| row.get(0)).optional()?;
        let end = match last {
            Some(last) => last + 1,
            None if from == before.next_offset => before_it.end,
            // The rows before were not looked at.
            None => from,
        };
        extents.push(TopicExtent { first: schema::first_offset(&snapshot, topic.id)?, end });
    }
    Ok(Extent { next_offset, topics: extents })
}

fn stored_topics(connection: &Connection, topics: &[Topic]) -> Result<Vec<StoredTopic>, LogError> {
    let stored = |topic: &Topic| {
        let id = connection
            .query_row("SELECT id FROM topics WHERE name = ?1", [&topic.name], |row| row.get(0))
            .optional()
            .map_err(|error| unavailable(&error))?;
        let id = id.ok_or_else(|| LogError::UnknownTopic { topic: Arc::clone(&topic.name) })?;
        Ok(StoredTopic { id, name: Arc::clone(&topic.name), retention: topic.retention })
    };
    topics.iter().map(stored).collect()
}
