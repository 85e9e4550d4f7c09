use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::RDKafkaRespErr;

use super::client::{self, log_line};
use super::pump::{End, Pump};
use crate::{Positions, Reader, Topic, TopicPartition};

/// What every reader of a log needs to know.
pub(super) struct ReaderSettings {
    config: ClientConfig,
    /// Topics whose records are removed after some time.
    finite: Arc<[Arc<str>]>,
}

impl ReaderSettings {
    pub(super) fn new(bootstrap_servers: &str, topics: &[Topic]) -> Self {
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
        Self { config, finite: finite.collect() }
    }
}

/// Reads the partitions of `from`. See [`EventLog::read`](crate::EventLog::read).
pub(super) fn read(settings: &ReaderSettings, from: Positions) -> Reader {
    // librdkafka wants a group's name for every consumer; without a subscription nothing joins it.
    spawn(settings, "balcony-readers", move |pump| pump.start(&from))
}

/// Joins `group`. See [`EventLog::join`](crate::EventLog::join).
pub(super) fn join(settings: &ReaderSettings, group: &str, topics: &[Arc<str>]) -> Reader {
    let topics = topics.to_vec();
    spawn(settings, group, move |pump| {
        let topics: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
        pump.subscribe(&topics)
    })
}

/// Feeds a reader from a consumer on a thread of its own, after `begin` has told it what to read.
fn spawn(
    settings: &ReaderSettings,
    group: &str,
    begin: impl FnOnce(&mut Pump) -> Result<(), End> + Send + 'static,
) -> Reader {
    let (reader, feed) = Reader::channel();
    let mut config = settings.config.clone();
    config.set("group.id", group);
    let finite = Arc::clone(&settings.finite);
    let spawned = thread::Builder::new().name("log-reader".to_owned()).spawn(move || {
        match config.create_with_context(Rebalances::default()) {
            Ok(consumer) => Pump::new(consumer, feed, finite).run(begin),
            // Nothing was delivered yet, so there is room; after this the reader is closed.
            Err(error) => drop(feed.deliveries.try_send(Err(client::not_created(&error)))),
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread for a reader of the log, which is closed");
    }
    reader
}

/// What the group has decided, in order, until the pump takes it.
#[derive(Default)]
pub(super) struct Rebalances(Mutex<VecDeque<Rebalance>>);

pub(super) enum Rebalance {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
}

impl Rebalances {
    pub(super) fn take(&self) -> VecDeque<Rebalance> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, rebalance: Rebalance) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions =
            list.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect();
        let settled = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.push(Rebalance::Assigned(partitions));
            // Nothing is read before the reader says from where. An empty assignment lets the consumer take part
            // in the next rebalance meanwhile, which would otherwise wait for the answer.
            consumer.assign(&TopicPartitionList::new())
        } else {
            self.push(Rebalance::Revoked(partitions));
            consumer.unassign()
        };
        if let Err(error) = settled {
            tracing::warn!(%error, "the consumer did not follow its group");
        }
    }
}
