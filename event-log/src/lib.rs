//! The log: what happened, in order, for ever.
//!
//! One port, [`EventLog`], and its adapters: `kafka::KafkaLog` for many machines (feature `kafka`),
//! `embedded::EmbeddedLog`, one SQLite table, for one process (feature `sqlite`), and `memory::MemoryLog` for tests
//! (feature `testing`). This crate knows nothing of what a record says: it is a key, headers and bytes.
//!
//! Offsets may have holes (transaction markers, compaction, other topics): nobody may count on `offset + 1`.
//! A reader therefore learns from [`Batch::reached`] how far it has read, never from the offsets of the records.
//!
//! # A log of one's own
//!
//! Whoever keeps records elsewhere implements [`EventLog`]:
//!
//! - Every method that takes topics begins with [`Topic::check_declared`]; [`EventLog::read`] and [`EventLog::join`]
//!   return what it refuses as [`Reader::refused`].
//! - [`EventLog::read`] and [`EventLog::join`] return the reader of [`Reader::channel`] and give its [`Feed`] to a
//!   thread or task, which fills it until the reader is dropped. [`Feed`] says in which order.
//!
//! ```
//! use std::sync::Arc;
//!
//! use balcony_event_log::*;
//!
//! /// One topic of one partition, whose records were there before and do not change.
//! struct Archive(Topic, Vec<Record>);
//!
//! impl EventLog for Archive {
//!     fn topics(&self) -> &[Topic] {
//!         std::slice::from_ref(&self.0)
//!     }
//!
//!     fn append<'a>(&'a self, _: &'a str, _: Message) -> BoxFuture<'a, Result<Position, AppendError>> {
//!         Box::pin(async { Err(AppendError::Unavailable("an archive is read only".to_owned())) })
//!     }
//!
//!     fn starts<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
//!         let partitions = topics.iter().map(|topic| (TopicPartition::new(topic.clone(), 0), 0));
//!         let checked = Topic::check_declared(self.topics(), topics);
//!         Box::pin(std::future::ready(checked.map(|()| partitions.collect())))
//!     }
//!
//!     fn ends<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
//!         let end = self.1.last().map_or(0, |last| last.offset + 1);
//!         let partitions = topics.iter().map(move |topic| (TopicPartition::new(topic.clone(), 0), end));
//!         let checked = Topic::check_declared(self.topics(), topics);
//!         Box::pin(std::future::ready(checked.map(|()| partitions.collect())))
//!     }
//!
//!     fn read(&self, from: Positions) -> Reader {
//!         if let Err(error) = Topic::check_declared(self.topics(), from.partitions().map(|at| &at.topic)) {
//!             return Reader::refused(error);
//!         }
//!         let (reader, feed) = Reader::channel();
//!         let records = self.1.iter().filter(|record| record.offset >= from.next_offset(&record.partition));
//!         let records: Vec<Record> = records.cloned().collect();
//!         tokio::spawn(async move {
//!             for records in records.chunks(Feed::BATCH_RECORDS) {
//!                 let reached = records.iter().map(|record| (record.partition.clone(), record.offset + 1)).collect();
//!                 let batch = Batch { records: records.to_vec(), reached };
//!                 if feed.send(Ok(Incoming::Records(batch))).await.is_err() {
//!                     return;
//!                 }
//!             }
//!             feed.closed().await;
//!         });
//!         reader
//!     }
//!
//!     fn join(&self, _: &str, _: &[Arc<str>]) -> Reader {
//!         Reader::refused(LogError::Misconfigured("an archive has no groups".to_owned()))
//!     }
//!
//!     fn identity(&self) -> BoxFuture<'_, Result<String, LogError>> {
//!         Box::pin(async { Ok("the archive".to_owned()) })
//!     }
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! let topic = Topic { name: "letters".into(), partitions: 1, replication: 1, retention: None };
//! let partition = TopicPartition::new("letters", 0);
//! let record = |offset| Record {
//!     partition: partition.clone(),
//!     offset,
//!     timestamp: 0,
//!     key: Vec::new(),
//!     headers: Headers::new(),
//!     payload: Vec::new(),
//! };
//! let log: Arc<dyn EventLog> = Arc::new(Archive(topic, (0..3).map(record).collect()));
//! let Ok(Incoming::Records(batch)) = log.read([(partition.clone(), 1)].into_iter().collect()).next().await else {
//!     panic!("records come");
//! };
//! assert_eq!(batch.records.len(), 2);
//! assert!(batch.reached.covers(&log.ends(&["letters".into()]).await.unwrap()));
//! # });
//! ```
//!
//! What else is asked of a log, its tests say: copy `suite.rs`, `sharing.rs`, `reading.rs` and `log_under_test.rs` of
//! `tests/conformance`, add the log to `Place`, and run all of `suite.rs`, and of `sharing.rs` if topics have
//! several partitions.

#[cfg(feature = "sqlite")]
pub mod embedded;
mod error;
mod excerpt;
#[cfg(feature = "kafka")]
pub mod kafka;
mod lanes;
mod log;
mod look;
#[cfg(feature = "testing")]
pub mod memory;
mod positions;
mod reader;
mod record;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(any(feature = "kafka", feature = "sqlite"))]
mod threads;
mod topic;

pub use error::{AppendError, LogError};
pub use excerpt::Excerpt;
pub use lanes::Lanes;
pub use log::{BoxFuture, EventLog, append_all_patiently, append_patiently};
pub use look::SharedLook;
pub use positions::encoding::EncodingError;
pub use positions::{Position, Positions, TopicPartition};
pub use reader::{Batch, Feed, Incoming, Reader, ReaderGone, Room};
pub use record::{Headers, Message, Record};
pub use topic::Topic;
