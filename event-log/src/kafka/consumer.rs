use std::sync::Arc;
use std::thread;

use rdkafka::config::ClientConfig;

use super::client;
use super::pump::{End, Pump};
use super::rebalances::Rebalances;
use super::used::Used;
use crate::{LogError, Positions, Reader, Topic};

/// librdkafka wants a group's name for every consumer; without a subscription nothing joins it.
const NO_GROUP: &str = "event-log";

/// What every reader of a log needs to know.
pub(super) struct ReaderSettings {
    config: ClientConfig,
    /// Topics whose records are removed after some time.
    finite: Arc<[Arc<str>]>,
    /// The partitions that a group shares out.
    used: Arc<Used>,
}

impl ReaderSettings {
    pub(super) fn new(bootstrap_servers: &str, topics: &[Topic], used: Arc<Used>) -> Self {
        let mut config = client::config(bootstrap_servers);
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Without it a reader would not learn that the log ends with a transaction's marker.
            .set("enable.partition.eof", "true")
            // Never jump over records that are gone without saying so.
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            // The default stops fetching for a second whenever the local queue is full.
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100")
            .set("queued.max.messages.kbytes", "16384")
            .set("session.timeout.ms", "10000")
            // Members learn of a rebalance by heartbeat.
            .set("heartbeat.interval.ms", "1000");
        let finite = topics.iter().filter(|topic| topic.retention.is_some()).map(|topic| Arc::clone(&topic.name));
        Self { config, finite: finite.collect(), used }
    }
}

/// Reads the partitions of `from`. See [`EventLog::read`](crate::EventLog::read).
pub(super) fn read(settings: &ReaderSettings, from: Positions) -> Reader {
    let mut topics: Vec<Arc<str>> = from.partitions().map(|partition| Arc::clone(&partition.topic)).collect();
    topics.dedup();
    spawn(settings, NO_GROUP, topics, move |pump| pump.start(&from))
}

/// Joins `group`. See [`EventLog::join`](crate::EventLog::join).
pub(super) fn join(settings: &ReaderSettings, group: &str, topics: &[Arc<str>]) -> Reader {
    spawn(settings, group, topics.to_vec(), |pump| pump.subscribe())
}

/// Feeds a reader of `topics` from a consumer on a thread of its own, after `begin` has told it what to read.
fn spawn(
    settings: &ReaderSettings,
    group: &str,
    topics: Vec<Arc<str>>,
    begin: impl FnOnce(&mut Pump) -> Result<(), End> + Send + 'static,
) -> Reader {
    let (reader, feed) = Reader::channel();
    let mut config = settings.config.clone();
    config.set("group.id", group);
    let (finite, used) = (Arc::clone(&settings.finite), Arc::clone(&settings.used));
    let spawned = thread::Builder::new().name("log-reader".to_owned()).spawn(move || {
        match config.create_with_context(Rebalances::of(used)) {
            Ok(consumer) => Pump::new(config, consumer, feed, topics, finite).run(begin),
            // When the reader is gone too, nobody wants to know.
            Err(error) => drop(feed.blocking_send(Err(client::not_created(&error)))),
        }
    });
    match spawned {
        Ok(_) => reader,
        Err(error) => Reader::refused(LogError::Unavailable(format!("no thread for a reader: {error}"))),
    }
}
