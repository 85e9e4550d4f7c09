//! The log of one process: one SQLite table, whose row ids are the offsets.
//!
//! One thread writes and groups everything that waits into one commit (`synchronous=FULL`, so an answered append
//! survives power loss). Every reader has a read-only connection and a thread of its own, and sleeps until a
//! commit has something for it; in a process beside the one that writes, a thread looks at the file and wakes them.
//! Topics share the table and so the offsets: each topic has one partition, 0, with holes where the other topics'
//! records stand, and a reader of several topics gets them in one total order.

mod beside;
mod counting;
mod extent;
mod file;
mod reader;
mod schema;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    AppendError, BoxFuture, EventLog, Feed, LogError, Message, Position, Positions, Reader, Topic, TopicPartition,
};
use counting::Counting;
use extent::{Extent, TopicExtent};
use file::LogFile;
use writer::{Append, Writer};

/// Appends that may wait for the writer.
const APPENDS_WAITING: usize = 4_096;
/// Questions that may wait for the follower of another process.
const LOOKS_WAITING: usize = 64;
/// How long an append waits for a place among them.
const APPEND_PATIENCE: Duration = Duration::from_secs(5);
/// How long an append waits for its answer once it has one.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// The largest record, key, headers and payload together; Kafka's limit is about the same.
const RECORD_BYTES: usize = 1 << 20;

/// The log of one process, in one SQLite file. See the [module](self).
///
/// Dropping it writes what was appended and ends its readers. Whoever opens it sees to it that no other process
/// has it open for writing.
pub struct EmbeddedLog {
    topics: Vec<Topic>,
    file: Arc<LogFile>,
    extent: watch::Receiver<Extent>,
    /// `None` only while dropping, which ends the thread.
    side: Option<Side>,
    /// How long an append waits for the writer to say that its record is on the disk.
    answer_patience: Duration,
    thread: Option<JoinHandle<()>>,
    counting: Arc<Mutex<Counting>>,
    /// The member of each group that reads holds its lock.
    groups: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// How the log's thread is spoken to.
enum Side {
    /// It writes.
    Writer(mpsc::Sender<Append>),
    /// It follows another process that writes.
    Beside(mpsc::Sender<beside::Look>),
}

impl EmbeddedLog {
    /// Opens the log in the file `path`, creating the file and missing topics. Blocks while it does.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the file cannot be read and written, [`LogError::Misconfigured`] when it is
    /// no log or a newer version's.
    pub fn open(path: &Path, topics: &[Topic]) -> Result<Self, LogError> {
        let opened = schema::open(path, topics)?;
        let file = LogFile { path: path.to_owned(), identity: opened.identity, topics: opened.topics, beside: false };
        let file = Arc::new(file);
        let (extent_sender, extent) = watch::channel(opened.extent);
        let (append_sender, appends) = mpsc::channel(APPENDS_WAITING);
        let writer = Writer::new(Arc::clone(&file), opened.connection, extent_sender);
        let thread = spawn("log-writer", move || writer.run(appends))?;
        Ok(Self::with(topics, file, extent, Side::Writer(append_sender), thread))
    }

    /// Opens the log in the file `path` for reading, beside a process that holds it or while there is none. Nothing is
    /// created and no record is written: an append is [`AppendError::Unavailable`]. What another process appends is
    /// seen within some 50 ms, and at once by [`EventLog::ends`]. Groups are this process's own: it does not hear of
    /// the members elsewhere. Blocks while it opens.
    ///
    /// # Errors
    /// [`LogError::Misconfigured`] when there is no log or it is a newer version's, [`LogError::UnknownTopic`] when
    /// it has no such topic, [`LogError::Unavailable`] when the file cannot be read.
    pub fn open_beside(path: &Path, topics: &[Topic]) -> Result<Self, LogError> {
        let beside::Opened { file, extent, follower } = beside::open(path, topics)?;
        let (looks, looks_waiting) = mpsc::channel(LOOKS_WAITING);
        let thread = spawn("log-follower", move || follower.run(looks_waiting))?;
        Ok(Self::with(topics, file, extent, Side::Beside(looks), thread))
    }

    fn with(
        topics: &[Topic],
        file: Arc<LogFile>,
        extent: watch::Receiver<Extent>,
        side: Side,
        thread: JoinHandle<()>,
    ) -> Self {
        Self {
            topics: topics.to_vec(),
            file,
            extent,
            side: Some(side),
            answer_patience: ANSWER_PATIENCE,
            thread: Some(thread),
            counting: Arc::default(),
            groups: Mutex::default(),
        }
    }

    fn side(&self) -> &Side {
        self.side.as_ref().expect("it is there until the log is dropped")
    }

    /// How far the log reaches. Beside another process the file is asked, so that what was acknowledged before counts.
    async fn extent(&self) -> Result<Extent, LogError> {
        let Side::Beside(looks) = self.side() else { return Ok(self.extent.borrow().clone()) };
        let ended = || LogError::Unavailable("the log's follower has ended".to_owned());
        let (look, looked) = oneshot::channel();
        looks.send(look).await.map_err(|_| ended())?;
        looked.await.unwrap_or_else(|_| Err(ended()))
    }

    /// What `of` says of each of `topics`.
    async fn positions(&self, topics: &[Arc<str>], of: fn(&TopicExtent) -> i64) -> Result<Positions, LogError> {
        Topic::check_declared(&self.topics, topics)?;
        let extent = self.extent().await?;
        let slots = topics.iter().filter_map(|topic| self.file.slot(topic));
        Ok(slots.map(|slot| (self.file.partition(slot), of(&extent.topics[slot]))).collect())
    }

    /// Runs `feed_reader` on a thread of its own.
    fn spawn_reader(&self, feed_reader: impl FnOnce(reader::Source, Feed) + Send + 'static) -> Reader {
        let (reader, feed) = Reader::channel();
        let source = reader::Source { file: Arc::clone(&self.file), extent: self.extent.clone() };
        match spawn("log-reader", move || feed_reader(source, feed)) {
            Ok(_) => reader,
            Err(error) => Reader::refused(error),
        }
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.side = None;
        if let Some(thread) = self.thread.take() {
            // It has no panics to pass on.
            let _ = thread.join();
        }
    }
}

impl EventLog for EmbeddedLog {
    fn topics(&self) -> &[Topic] {
        &self.topics
    }

    fn append<'a>(&'a self, topic: &'a str, message: Message) -> BoxFuture<'a, Result<Position, AppendError>> {
        Box::pin(async move {
            let slot = self.file.slot(topic).ok_or_else(|| AppendError::UnknownTopic { topic: topic.into() })?;
            let Side::Writer(appends) = self.side() else {
                let reason = "it was opened for reading, beside the process that writes it";
                return Err(AppendError::Unavailable(reason.to_owned()));
            };
            let headers = message.headers.encode();
            if message.key.len() + headers.len() + message.payload.len() > RECORD_BYTES {
                return Err(AppendError::TooLarge);
            }
            let (answer, answered) = oneshot::channel();
            let append = Append { slot, key: message.key, headers, payload: message.payload, answer };
            appends
                .send_timeout(append, APPEND_PATIENCE)
                .await
                .map_err(|_| AppendError::Unavailable("the disk does not keep up".to_owned()))?;
            let ended = || Err(AppendError::Unknown("the log's writer has ended".to_owned()));
            let answered = tokio::time::timeout(self.answer_patience, answered).await;
            let answered = answered.map_err(|_| AppendError::Unknown("the disk does not answer".to_owned()))?;
            let offset = answered.unwrap_or_else(|_| ended())?;
            Ok(Position { partition: self.file.partition(slot), offset })
        })
    }

    fn starts<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
        Box::pin(self.positions(topics, |topic| topic.first))
    }

    fn ends<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
        Box::pin(self.positions(topics, |topic| topic.end))
    }

    fn read(&self, from: Positions) -> Reader {
        self.spawn_reader(move |source, feed| source.read(from, feed))
    }

    /// Within this process the first member of a group has all partitions; the next takes over when it is
    /// dropped.
    fn join(&self, group: &str, topics: &[Arc<str>]) -> Reader {
        if let Err(error) = Topic::check_declared(&self.topics, topics) {
            return Reader::refused(error);
        }
        let membership = {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(groups.entry(group.to_owned()).or_default())
        };
        let partitions = topics.iter().map(|topic| TopicPartition::new(Arc::clone(topic), 0)).collect();
        self.spawn_reader(move |source, feed| source.join(membership, partitions, feed))
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, LogError>> {
        Box::pin(async { Ok(self.file.identity.clone()) })
    }

    fn shares_offsets(&self) -> bool {
        true
    }

    fn counts<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Vec<Option<i64>>, LogError>> {
        Box::pin(async move {
            Topic::check_declared(&self.topics, topics)?;
            let (counting, file) = (Arc::clone(&self.counting), Arc::clone(&self.file));
            let count = move || counting.lock().unwrap_or_else(PoisonError::into_inner).go_on(&file);
            let counted = tokio::task::spawn_blocking(count).await;
            let counted = counted.unwrap_or_else(|_| Err(LogError::Unavailable("counting has ended".to_owned())))?;
            let of = |topic: &Arc<str>| Some(counted.as_ref()?[self.file.slot(topic)?]);
            Ok(topics.iter().map(of).collect())
        })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LogError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map_err(|error| LogError::Unavailable(format!("no thread for the log: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Headers;

    #[tokio::test]
    async fn an_append_whose_disk_does_not_answer_is_not_waited_for_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let topics = [Topic { name: "events".into(), partitions: 1, replication: 1, retention: None }];
        let mut log = EmbeddedLog::open(&folder.path().join("log.db"), &topics).expect("a log");
        // A writer that takes what comes and never has it written.
        let (appends, mut taken) = mpsc::channel(1);
        log.side = Some(Side::Writer(appends));
        log.answer_patience = Duration::from_millis(10);
        let message = Message { key: Vec::new(), headers: Headers::new(), payload: Vec::new() };
        let (appended, append) = tokio::join!(log.append("events", message), taken.recv());
        assert!(append.is_some() && matches!(appended, Err(AppendError::Unknown(_))), "{appended:?}");
    }
}
