use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

use super::extent::{Extent, ROWS_BEHIND};
use super::file::LogFile;
use super::schema::{self, unavailable};
use crate::threads::waiting_runtime;
use crate::{Batch, Feed, Headers, Incoming, LogError, Positions, ReaderGone, Record, TopicPartition};

/// Rows that one batch looks at, other topics' included: a long hole is reported in steps.
const SCAN_ROWS: usize = 100_000;
/// How long a reader waits before it tries a failed file again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What readers read from.
pub(super) struct Source {
    pub(super) file: Arc<LogFile>,
    pub(super) extent: watch::Receiver<Extent>,
}

/// Why a reader's thread ends: its [`Reader`](crate::Reader) or the log was dropped.
struct Dropped;

impl From<ReaderGone> for Dropped {
    fn from(_: ReaderGone) -> Self {
        Self
    }
}

/// One topic of a reader.
struct Wanted {
    slot: usize,
    id: i64,
    partition: TopicPartition,
    /// Everything below is delivered or was never wanted.
    reached: i64,
    /// What the reader was told of `reached`.
    reported: i64,
}

/// One reader's way through the table.
struct Scan {
    source: Source,
    connection: Option<Connection>,
    wanted: Vec<Wanted>,
    /// The row to go on with.
    next: i64,
}

impl Source {
    /// Feeds a reader of `from` until it is dropped.
    pub(super) fn read(self, from: Positions, feed: Feed) {
        // Either way nobody listens any more.
        let _ = self.run(&from, &feed, &waiting_runtime());
    }

    /// Feeds a member of a group: waits for its turn, assigns everything, reads from where the answer says.
    pub(super) fn join(self, membership: Arc<Mutex<()>>, partitions: Vec<TopicPartition>, mut feed: Feed) {
        let runtime = waiting_runtime();
        let turn = runtime.block_on(async {
            tokio::select! {
                turn = membership.lock_owned() => Some(turn),
                () = feed.closed() => None,
            }
        });
        // Held until this member leaves, and given up before the feed, which says that it has left.
        let Some(_turn) = turn else { return };
        if feed.blocking_send(Ok(Incoming::Assigned(partitions.clone()))).is_err() {
            return;
        }
        let Some(answer) = runtime.block_on(feed.started()) else { return };
        let from = partitions.into_iter().map(|partition| {
            let next_offset = answer.next_offset(&partition);
            (partition, next_offset)
        });
        let _ = self.run(&from.collect(), &feed, &runtime);
    }

    fn run(self, from: &Positions, feed: &Feed, runtime: &Runtime) -> Result<(), Dropped> {
        let mut scan = match Scan::new(self, from) {
            Ok(scan) => scan,
            Err(error) => return Ok(feed.blocking_send(Err(error))?),
        };
        // The first look is for nothing but to say how far the reader has come, over holes at the log's end too.
        let mut first = true;
        loop {
            if !std::mem::take(&mut first) {
                scan.wait_for_news(feed, runtime)?;
            }
            match scan.next_batch() {
                Ok(batch) if batch.reached.is_empty() => {}
                Ok(batch) => feed.blocking_send(Ok(Incoming::Records(batch)))?,
                Err(error @ LogError::Unavailable(_)) => {
                    feed.blocking_send(Err(error))?;
                    runtime.block_on(sleep(RETRY_PAUSE));
                }
                Err(error) => return Ok(feed.blocking_send(Err(error))?),
            }
        }
    }
}

impl Scan {
    fn new(source: Source, from: &Positions) -> Result<Self, LogError> {
        let wanted = from
            .into_iter()
            .map(|(partition, next_offset)| {
                let slot = source.file.slot(&partition.topic);
                let slot = slot.ok_or_else(|| LogError::UnknownTopic { topic: Arc::clone(&partition.topic) })?;
                if partition.partition != 0 {
                    return Err(LogError::Misconfigured(format!(
                        "{} has one partition, 0, in the embedded log; {} was asked for",
                        partition.topic, partition.partition
                    )));
                }
                let id = source.file.topics[slot].id;
                let partition = partition.clone();
                Ok(Wanted { slot, id, partition, reached: next_offset, reported: next_offset })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let next = wanted.iter().map(|wanted| wanted.reached).min().unwrap_or(0);
        let scan = Self { source, connection: None, wanted, next };
        let extent = scan.source.extent.borrow().clone();
        for wanted in &scan.wanted {
            wanted.check_start(&extent)?;
        }
        Ok(scan)
    }

    /// Waits until a record that is wanted was committed, or one that may be, or so many others that they are to be passed.
    fn wait_for_news(&mut self, feed: &Feed, runtime: &Runtime) -> Result<(), Dropped> {
        loop {
            let extent = self.source.extent.borrow_and_update();
            let passed = extent.next_offset - ROWS_BEHIND;
            if self.wanted.iter().any(|it| it.reached < extent.topics[it.slot].end || it.reached <= passed) {
                return if feed.is_closed() { Err(Dropped) } else { Ok(()) };
            }
            drop(extent);
            runtime.block_on(async {
                tokio::select! {
                    changed = self.source.extent.changed() => changed.map_err(|_| Dropped),
                    () = feed.closed() => Err(Dropped),
                }
            })?;
        }
    }

    /// What comes next, up to a batch.
    fn next_batch(&mut self) -> Result<Batch, LogError> {
        let end = self.source.extent.borrow().next_offset;
        let (records, next) = match self.scan_to(end) {
            Ok(found) => found,
            Err(error) => {
                self.connection = None;
                return Err(error);
            }
        };
        for wanted in &self.wanted {
            wanted.check_nothing_was_removed(self.first(wanted)?)?;
        }
        self.next = next;
        let mut reached = Positions::new();
        for wanted in &mut self.wanted {
            wanted.reached = wanted.reached.max(next);
            if wanted.reached > wanted.reported {
                wanted.reported = wanted.reached;
                reached.set(wanted.partition.clone(), wanted.reached);
            }
        }
        Ok(Batch { records, reached })
    }

    /// Where a topic begins, at least as new as the rows that were read.
    fn first(&self, wanted: &Wanted) -> Result<i64, LogError> {
        match &self.connection {
            // Whoever else writes does not tell before it removes rows.
            Some(connection) if self.source.file.beside => {
                schema::first_offset(connection, wanted.id).map_err(|error| unavailable(&error))
            }
            _ => Ok(self.source.extent.borrow().topics[wanted.slot].first),
        }
    }

    /// Reads wanted records below `end` until a batch is full; returns them and the row to go on with.
    fn scan_to(&mut self, end: i64) -> Result<(Vec<Record>, i64), LogError> {
        let connection = match &self.connection {
            Some(connection) => connection,
            None => self.connection.insert(schema::open_reader(&self.source.file.path)?),
        };
        let mut statement = connection
            .prepare_cached(
                "SELECT offset, topic, appended_at, key, headers, payload FROM records
                 WHERE offset >= ?1 AND offset < ?2 ORDER BY offset",
            )
            .map_err(|error| unavailable(&error))?;
        let mut rows = statement.query([self.next, end]).map_err(|error| unavailable(&error))?;
        let (mut records, mut bytes, mut looked_at, mut next) = (Vec::new(), 0, 0, end);
        while let Some(row) = rows.next().map_err(|error| unavailable(&error))? {
            let offset: i64 = row.get(0).map_err(|error| unavailable(&error))?;
            let topic: i64 = row.get(1).map_err(|error| unavailable(&error))?;
            let wanted = self.wanted.iter().find(|wanted| wanted.id == topic && wanted.reached <= offset);
            if let Some(wanted) = wanted {
                let record = record(row, wanted.partition.clone(), offset)?;
                bytes += record.key.len() + record.payload.len();
                records.push(record);
            }
            looked_at += 1;
            if records.len() == Feed::BATCH_RECORDS || bytes >= Feed::BATCH_BYTES || looked_at == SCAN_ROWS {
                next = offset + 1;
                break;
            }
        }
        Ok((records, next))
    }
}

impl Wanted {
    fn check_start(&self, extent: &Extent) -> Result<(), LogError> {
        if self.reached > extent.next_offset {
            return Err(self.out_of_range(format!("the log ends at {}", extent.next_offset)));
        }
        self.check_nothing_was_removed(extent.topics[self.slot].first)
    }

    /// Refuses to read on past records that were removed unread; 0 asks for whatever is left.
    fn check_nothing_was_removed(&self, first: i64) -> Result<(), LogError> {
        if 0 < self.reached && self.reached < first {
            let reason = format!("records below {first} were removed when their time was over");
            return Err(self.out_of_range(reason));
        }
        Ok(())
    }

    fn out_of_range(&self, reason: String) -> LogError {
        LogError::OutOfRange { topic: Arc::clone(&self.partition.topic), partition: 0, offset: self.reached, reason }
    }
}

fn record(row: &rusqlite::Row<'_>, partition: TopicPartition, offset: i64) -> Result<Record, LogError> {
    let bytes = |column| {
        let value = row.get_ref(column).map_err(|error| unavailable(&error))?;
        value.as_blob().map_err(|error| LogError::Unavailable(format!("record {offset} is damaged: {error}")))
    };
    let timestamp = row.get(2).map_err(|error| unavailable(&error))?;
    let headers = Headers::decode(bytes(4)?)
        .ok_or_else(|| LogError::Unavailable(format!("record {offset} is damaged: its headers are not")))?;
    Ok(Record { partition, offset, timestamp, key: bytes(3)?.to_vec(), headers, payload: bytes(5)?.to_vec() })
}
