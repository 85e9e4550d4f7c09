//! The log of one process: one SQLite table, whose row ids are the offsets.
//!
//! One thread writes and groups everything that waits into one commit (`synchronous=FULL`, so an answered append
//! survives power loss). Every reader has a read-only connection and a thread of its own, and sleeps until a
//! commit has something for it. Topics share the table and so the offsets: each topic has one partition, 0, with
//! holes where the other topics' records stand, and a reader of several topics gets them in one total order.

mod extent;
mod reader;
mod schema;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::reader::Feed;
use crate::{AppendError, EventLog, LogError, Message, Position, Positions, Reader, Topic, TopicPartition};
use extent::Extent;
use schema::StoredTopic;
use writer::{Append, Writer};

/// Appends that may wait for the writer.
const APPENDS_WAITING: usize = 4_096;
/// How long an append waits for a place among them.
const APPEND_PATIENCE: Duration = Duration::from_secs(5);
/// The largest record, key, headers and payload together; Kafka's limit is about the same.
const RECORD_BYTES: usize = 1 << 20;

/// The log of one process, in one SQLite file. See the [module](self).
///
/// Dropping it writes what was appended and ends its readers. Whoever opens it sees to it that no other process
/// has it open for writing.
pub struct EmbeddedLog {
    file: Arc<LogFile>,
    extent: watch::Receiver<Extent>,
    /// `None` only while dropping.
    appends: Option<mpsc::Sender<Append>>,
    writer: Option<JoinHandle<()>>,
    /// The member of each group that reads holds its lock.
    groups: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// What never changes while the log is open.
struct LogFile {
    path: PathBuf,
    identity: String,
    topics: Vec<StoredTopic>,
}

impl EmbeddedLog {
    /// Opens the log in the file `path`, creating the file and missing topics. Blocks while it does.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the file cannot be read and written, [`LogError::Misconfigured`] when it is
    /// no log or a newer version's.
    pub fn open(path: &Path, topics: &[Topic]) -> Result<Self, LogError> {
        let opened = schema::open(path, topics)?;
        let file = Arc::new(LogFile { path: path.to_owned(), identity: opened.identity, topics: opened.topics });
        let (extent_sender, extent) = watch::channel(opened.extent);
        let (append_sender, appends) = mpsc::channel(APPENDS_WAITING);
        let writer = Writer::new(Arc::clone(&file), opened.connection, extent_sender);
        let thread = thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run(appends))
            .map_err(|error| LogError::Unavailable(format!("no thread for the log's writer: {error}")))?;
        Ok(Self { file, extent, appends: Some(append_sender), writer: Some(thread), groups: Mutex::default() })
    }

    /// Runs `feed_reader` on a thread of its own.
    fn spawn_reader(&self, feed_reader: impl FnOnce(reader::Source, Feed) + Send + 'static) -> Reader {
        let (reader, feed) = Reader::channel();
        let deliveries = feed.deliveries.clone();
        let source = reader::Source { file: Arc::clone(&self.file), extent: self.extent.clone() };
        let spawned = thread::Builder::new().name("log-reader".to_owned()).spawn(move || feed_reader(source, feed));
        if let Err(error) = spawned {
            let error = LogError::Unavailable(format!("no thread for a reader: {error}"));
            // The channel is new and has room; after this error the reader is closed.
            let _ = deliveries.try_send(Err(error));
        }
        reader
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.appends = None;
        if let Some(writer) = self.writer.take() {
            // The writer has no panics to pass on.
            let _ = writer.join();
        }
    }
}

#[async_trait::async_trait]
impl EventLog for EmbeddedLog {
    async fn append(&self, topic: &str, message: Message) -> Result<Position, AppendError> {
        let slot = self
            .file
            .slot(topic)
            .ok_or_else(|| AppendError::Unavailable(format!("the log was opened without the topic {topic}")))?;
        let headers = message.headers.encode();
        if message.key.len() + headers.len() + message.payload.len() > RECORD_BYTES {
            return Err(AppendError::TooLarge);
        }
        let (answer, answered) = oneshot::channel();
        let append = Append { slot, key: message.key, headers, payload: message.payload, answer };
        let appends = self.appends.as_ref().expect("the sender is there until the log is dropped");
        appends
            .send_timeout(append, APPEND_PATIENCE)
            .await
            .map_err(|_| AppendError::Unavailable("the disk does not keep up".to_owned()))?;
        let offset =
            answered.await.unwrap_or_else(|_| Err(AppendError::Unknown("the log's writer has ended".to_owned())))?;
        Ok(Position { partition: self.file.partition(slot), offset })
    }

    async fn ends(&self, topics: &[Arc<str>]) -> Result<Positions, LogError> {
        let extent = self.extent.borrow();
        topics
            .iter()
            .map(|topic| {
                let slot = self.file.slot(topic).ok_or_else(|| unknown_topic(topic))?;
                Ok((self.file.partition(slot), extent.topics[slot].end))
            })
            .collect()
    }

    fn read(&self, from: Positions) -> Reader {
        self.spawn_reader(move |source, feed| source.read(from, feed))
    }

    /// Within this process the first member of a group has all partitions; the next takes over when it is
    /// dropped.
    fn join(&self, group: &str, topics: &[Arc<str>]) -> Reader {
        let membership = {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(groups.entry(group.to_owned()).or_default())
        };
        let partitions = topics.iter().map(|topic| TopicPartition::new(Arc::clone(topic), 0)).collect();
        self.spawn_reader(move |source, feed| source.join(membership, partitions, feed))
    }

    async fn identity(&self) -> Result<String, LogError> {
        Ok(self.file.identity.clone())
    }
}

impl LogFile {
    /// The place of `topic` in `topics`.
    fn slot(&self, topic: &str) -> Option<usize> {
        self.topics.iter().position(|stored| &*stored.name == topic)
    }

    fn partition(&self, slot: usize) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.topics[slot].name), 0)
    }
}

fn unknown_topic(topic: &str) -> LogError {
    LogError::Misconfigured(format!("the log was opened without the topic {topic}"))
}

fn unavailable(error: &rusqlite::Error) -> LogError {
    LogError::Unavailable(error.to_string())
}
