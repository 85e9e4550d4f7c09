use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(feature = "sqlite")]
use balcony_event_log::embedded::EmbeddedLog;
#[cfg(feature = "kafka")]
use balcony_event_log::kafka::KafkaLog;
use balcony_event_log::memory::{Clock, MemoryLog};
#[cfg(feature = "kafka")]
use balcony_event_log::testing::OnBroker;
use balcony_event_log::{EventLog, Topic};

#[cfg(feature = "kafka")]
use crate::transaction::Transaction;

/// A log with two topics that no other test uses, which can be opened more than once.
pub(crate) struct LogUnderTest {
    pub(crate) place: Place,
    /// Three partitions where the adapter has partitions, kept for ever.
    pub(crate) events: Topic,
    /// One partition, kept for ever.
    pub(crate) others: Topic,
    /// What there is of them on a broker.
    #[cfg(feature = "kafka")]
    _on_broker: Vec<OnBroker>,
}

pub(crate) enum Place {
    #[cfg(feature = "sqlite")]
    Embedded(tempfile::TempDir),
    #[cfg(feature = "kafka")]
    Kafka {
        bootstrap_servers: String,
    },
    Memory {
        log: MemoryLog,
        clock: Clock,
    },
}

impl LogUnderTest {
    #[cfg(feature = "sqlite")]
    pub(crate) fn embedded() -> Self {
        Self::in_place(Place::Embedded(tempfile::tempdir().expect("a directory for the log")))
    }

    pub(crate) fn memory() -> Self {
        let (events, others) = (topic("events", 3), topic("others", 1));
        let clock = Clock::at(UNIX_EPOCH + Duration::from_secs(1_000_000));
        let log = MemoryLog::new(&[events.clone(), others.clone()], clock.clone());
        Self {
            place: Place::Memory { log, clock },
            events,
            others,
            #[cfg(feature = "kafka")]
            _on_broker: Vec::new(),
        }
    }

    /// `None` without a broker, except in CI, where nothing may be left out.
    #[cfg(feature = "kafka")]
    pub(crate) fn kafka() -> Option<Self> {
        static LEFT_OUT: std::sync::Once = std::sync::Once::new();
        match std::env::var("KAFKA_BOOTSTRAP_SERVERS") {
            Ok(bootstrap_servers) => Some(Self::in_place(Place::Kafka { bootstrap_servers })),
            Err(_) if std::env::var_os("CI").is_some() => panic!("in CI KAFKA_BOOTSTRAP_SERVERS has to be set"),
            Err(_) => {
                LEFT_OUT.call_once(|| say("left out: the log on Kafka, because KAFKA_BOOTSTRAP_SERVERS is not set"));
                None
            }
        }
    }

    #[cfg(any(feature = "kafka", feature = "sqlite"))]
    pub(crate) fn in_place(place: Place) -> Self {
        let (events, others) = (topic("events", 3), topic("others", 1));
        #[cfg(feature = "kafka")]
        let on_broker = match &place {
            Place::Kafka { bootstrap_servers } => {
                [&events, &others].map(|topic| OnBroker::marked(bootstrap_servers, &*topic.name)).into()
            }
            _ => Vec::new(),
        };
        Self {
            place,
            events,
            others,
            #[cfg(feature = "kafka")]
            _on_broker: on_broker,
        }
    }

    pub(crate) async fn open(&self) -> Arc<dyn EventLog> {
        match &self.place {
            #[cfg(feature = "sqlite")]
            Place::Embedded(directory) => {
                let path = directory.path().join("log.db");
                Arc::new(EmbeddedLog::open(&path, &self.topics()).expect("the log opens"))
            }
            #[cfg(feature = "kafka")]
            Place::Kafka { bootstrap_servers } => {
                Arc::new(KafkaLog::open(bootstrap_servers, &self.topics()).await.expect("the log opens"))
            }
            Place::Memory { log, .. } => Arc::new(log.clone()),
        }
    }

    #[cfg(any(feature = "kafka", feature = "sqlite"))]
    fn topics(&self) -> [Topic; 2] {
        [self.events.clone(), self.others.clone()]
    }

    /// Makes the offsets of `events` go on without records that a reader of it sees.
    pub(crate) async fn make_hole(&self, opened: &dyn EventLog) {
        match &self.place {
            #[cfg(feature = "sqlite")]
            Place::Embedded(_) => {
                crate::reading::append_all(opened, &self.others, "key", crate::reading::numbered(3)).await;
            }
            #[cfg(feature = "kafka")]
            Place::Kafka { bootstrap_servers } => {
                let mut transaction = Transaction::begin(bootstrap_servers).await;
                for partition in 0..3 {
                    transaction.append(&self.events, partition, "aborted");
                }
                transaction.abort().await;
            }
            Place::Memory { log, .. } => {
                let ends = opened.ends(std::slice::from_ref(&self.events.name)).await.expect("the log says its ends");
                for partition in ends.partitions() {
                    log.skip(partition, 2).expect("the partition is there");
                }
            }
        }
    }

    /// What the clock of the log shows, in milliseconds since 1970. One that stands still has moved on before.
    pub(crate) fn milliseconds(&self) -> i64 {
        match &self.place {
            Place::Memory { clock, .. } => {
                clock.advance(Duration::from_millis(1));
                clock.unix_millis()
            }
            #[cfg(any(feature = "kafka", feature = "sqlite"))]
            _ => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now is after 1970");
                i64::try_from(now.as_millis()).expect("it is long until then")
            }
        }
    }

    pub(crate) fn partitions(&self) -> usize {
        match self.place {
            #[cfg(feature = "sqlite")]
            Place::Embedded(_) => 1,
            #[cfg(feature = "kafka")]
            Place::Kafka { .. } => 3,
            Place::Memory { .. } => 3,
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
#[cfg(feature = "kafka")]
pub(crate) fn say(line: &str) {
    use std::io::Write as _;

    writeln!(std::io::stderr(), "{line}").expect("standard error takes a line");
}
