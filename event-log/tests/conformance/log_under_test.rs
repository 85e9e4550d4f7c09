use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::{SystemTime, UNIX_EPOCH};

use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::kafka::KafkaLog;
use balcony_event_log::{EventLog, Topic};
use tempfile::TempDir;

use crate::reading::{append_all, numbered};
use crate::transaction::Transaction;

/// A log with two topics that no other test uses, which can be opened more than once.
pub(crate) struct LogUnderTest {
    pub(crate) place: Place,
    /// Three partitions where the adapter has partitions, kept for ever.
    pub(crate) events: Topic,
    /// One partition, kept for ever.
    pub(crate) others: Topic,
}

pub(crate) enum Place {
    Embedded(TempDir),
    Kafka { bootstrap_servers: String },
}

impl LogUnderTest {
    pub(crate) fn embedded() -> Self {
        Self::in_place(Place::Embedded(tempfile::tempdir().expect("a directory for the log")))
    }

    /// `None` without a broker, except in CI, where nothing may be left out.
    pub(crate) fn kafka() -> Option<Self> {
        static LEFT_OUT: Once = Once::new();
        match std::env::var("KAFKA_BOOTSTRAP_SERVERS") {
            Ok(bootstrap_servers) => Some(Self::in_place(Place::Kafka { bootstrap_servers })),
            Err(_) if std::env::var_os("CI").is_some() => panic!("in CI KAFKA_BOOTSTRAP_SERVERS has to be set"),
            Err(_) => {
                LEFT_OUT.call_once(|| say("left out: the log on Kafka, because KAFKA_BOOTSTRAP_SERVERS is not set"));
                None
            }
        }
    }

    pub(crate) fn in_place(place: Place) -> Self {
        Self { place, events: topic("events", 3), others: topic("others", 1) }
    }

    pub(crate) async fn open(&self) -> Arc<dyn EventLog> {
        let topics = [self.events.clone(), self.others.clone()];
        match &self.place {
            Place::Embedded(directory) => {
                Arc::new(EmbeddedLog::open(&directory.path().join("log.db"), &topics).expect("the log opens"))
            }
            Place::Kafka { bootstrap_servers } => {
                Arc::new(KafkaLog::open(bootstrap_servers, &topics).await.expect("the log opens"))
            }
        }
    }

    /// Makes the offsets of `events` go on without records that a reader of it sees.
    pub(crate) async fn make_hole(&self, opened: &dyn EventLog) {
        match &self.place {
            Place::Embedded(_) => {
                append_all(opened, &self.others, "key", numbered(3)).await;
            }
            Place::Kafka { bootstrap_servers } => {
                let mut transaction = Transaction::begin(bootstrap_servers).await;
                for partition in 0..3 {
                    transaction.append(&self.events, partition, "aborted");
                }
                transaction.abort().await;
            }
        }
    }

    pub(crate) fn partitions(&self) -> usize {
        match self.place {
            Place::Embedded(_) => 1,
            Place::Kafka { .. } => 3,
        }
    }
}

/// A topic that is kept for ever and whose name no other test has.
pub(crate) fn topic(name: &str, partitions: i32) -> Topic {
    static TOPICS: AtomicU32 = AtomicU32::new(0);
    let started = SystemTime::now().duration_since(UNIX_EPOCH).expect("now is after 1970").as_nanos();
    let number = TOPICS.fetch_add(1, Ordering::Relaxed);
    let name = format!("test-{started}-{}-{number}.{name}", std::process::id());
    Topic { name: name.into(), partitions, replication: 3, retention: None }
}

/// Writes past the test harness, which keeps the output of tests that pass.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error takes a line");
}
