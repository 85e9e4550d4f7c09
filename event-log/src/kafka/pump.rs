use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::client::{self, is_unknown_topic};
use super::rebalances::{Rebalance, Rebalances};
use crate::threads::waiting_runtime;
use crate::{Batch, Feed, Headers, Incoming, LogError, Positions, Record, TopicPartition};

/// How long a poll without records lasts at the most; a dropped reader is noticed after it.
const POLL: Duration = Duration::from_millis(100);
/// How long a reader may be busy before its consumer is paused, which throws away what was fetched ahead.
const ROOM_PATIENCE: Duration = Duration::from_secs(2);
/// How long the log may be away before it is looked whether a new consumer would find it, and how often.
const RENEW_AFTER: Duration = Duration::from_secs(10);
/// The least time between two reports that the log is away.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait for a partition's first and last offset, or for what the cluster knows of a topic.
const QUESTION_PATIENCE: Duration = Duration::from_secs(3);

/// Moves records from a consumer to a reader.
pub(super) struct Pump {
    consumer: BaseConsumer<Rebalances>,
    feed: Feed,
    /// Only to wait for the reader's channels.
    runtime: Runtime,
    /// The topics that are read.
    topics: Vec<Arc<str>>,
    /// Topics whose records are removed after some time.
    finite: Arc<[Arc<str>]>,
    /// The partitions that are read.
    started: Vec<Started>,
    /// The partitions of the last assignment, until the reader says where to start.
    assigned: Option<Vec<TopicPartition>>,
    /// Assignments that the reader got and did not answer.
    unanswered: usize,
    /// Rebalances and errors that wait for room in the reader's channel, before the records.
    notices: VecDeque<Result<Incoming, LogError>>,
    /// Records that wait for room in the reader's channel.
    records: Vec<Record>,
    records_bytes: usize,
    /// Whether the consumer fetches nothing, because the reader leaves no room.
    paused: bool,
    /// Whether a partition stopped because its offset is not in the log.
    stopped: bool,
    reported_away: Option<Instant>,
    /// To make the consumer anew.
    config: ClientConfig,
    /// Whether it is a member of a group.
    joined: bool,
    /// What the group has given it.
    held: Vec<TopicPartition>,
    /// Since when the log is away, and nothing was heard of it.
    away_since: Option<Instant>,
}

/// A partition that is read.
struct Started {
    partition: TopicPartition,
    /// Where reading goes on.
    next: i64,
    /// What the reader was told of `next`.
    reported: i64,
}

/// Why a pump ends.
pub(super) enum End {
    /// The reader was dropped.
    Dropped,
    /// Reading on is impossible.
    Failed(LogError),
}

impl Pump {
    pub(super) fn new(
        config: ClientConfig,
        consumer: BaseConsumer<Rebalances>,
        feed: Feed,
        topics: Vec<Arc<str>>,
        finite: Arc<[Arc<str>]>,
    ) -> Self {
        Self {
            config,
            joined: false,
            held: Vec::new(),
            away_since: None,
            consumer,
            feed,
            runtime: waiting_runtime(),
            topics,
            finite,
            started: Vec::new(),
            assigned: None,
            unanswered: 0,
            notices: VecDeque::new(),
            records: Vec::new(),
            records_bytes: 0,
            paused: false,
            stopped: false,
            reported_away: None,
        }
    }

    /// Joins the group that the consumer was made for.
    pub(super) fn subscribe(&mut self) -> Result<(), End> {
        self.joined = true;
        let topics: Vec<&str> = self.topics.iter().map(|topic| &**topic).collect();
        self.consumer.subscribe(&topics).map_err(|error| End::Failed(client::unavailable(&error)))
    }

    /// Does `begin` and then moves records, until the reader is dropped or reading on is impossible.
    pub(super) fn run(mut self, begin: impl FnOnce(&mut Self) -> Result<(), End>) {
        let mut going_on = begin(&mut self);
        while going_on.is_ok() {
            going_on = self.step();
        }
        if let Err(End::Failed(error)) = going_on {
            // When the reader is gone too, nobody wants to know.
            let _ = self.feed.blocking_send(Err(error));
        }
    }

    fn step(&mut self) -> Result<(), End> {
        if self.feed.is_closed() {
            return Err(End::Dropped);
        }
        if self.away_since.is_some_and(|since| since.elapsed() >= RENEW_AFTER) {
            self.renew_or_go_on()?;
        }
        if self.stopped {
            self.restart_or_fail()?;
        }
        let answer_due = self.assigned.is_some() && self.unanswered > 0;
        if answer_due {
            self.wait_for_answer()?;
        }
        // Where another wait comes before or after, polling need not wait.
        self.poll(if answer_due || self.paused { Duration::ZERO } else { POLL })?;
        self.follow_group();
        self.hand_over()
    }

    /// Polls once for up to `wait` and then takes what is there, up to a batch.
    fn poll(&mut self, wait: Duration) -> Result<(), End> {
        let mut wait = wait;
        while let Some(polled) = self.consumer.poll(wait) {
            match polled {
                Ok(message) => {
                    self.away_since = None;
                    let started = self.started.iter_mut().find(|started| started.is_of(&message));
                    if let Some(started) = started {
                        started.next = message.offset() + 1;
                        let record = to_record(&message, started.partition.clone());
                        self.records_bytes += record.key.len() + record.payload.len();
                        self.records.push(record);
                    }
                }
                Err(error) => self.note_error(error)?,
            }
            if self.records.len() >= Feed::BATCH_RECORDS || self.records_bytes >= Feed::BATCH_BYTES {
                return Ok(());
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn note_error(&mut self, error: KafkaError) -> Result<(), End> {
        match error {
            KafkaError::PartitionEOF(_) => {
                self.away_since = None;
                self.note_positions();
            }
            KafkaError::MessageConsumptionFatal(code) => {
                return Err(End::Failed(LogError::Misconfigured(format!("the consumer has failed: {code}"))));
            }
            _ => match error.rdkafka_error_code() {
                Some(
                    RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownPartition,
                ) => self.check_topics(&error)?,
                Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                    self.stopped = true;
                }
                // One connection of several; the client says so when no broker is left.
                Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) => {}
                // The group went on without a member whose reader was busy for long; it joins again by itself.
                Some(RDKafkaErrorCode::PollExceeded) => tracing::info!("a reader was busy and left its group"),
                _ => self.report_away(error.to_string()),
            },
        }
        Ok(())
    }

    /// After the consumer missed a topic or partition: ends when the cluster confirms that it is not there. One broker
    /// may be behind the others.
    fn check_topics(&mut self, error: &KafkaError) -> Result<(), End> {
        for topic in &self.topics {
            let Ok(metadata) = self.consumer.fetch_metadata(Some(topic), QUESTION_PATIENCE) else { break };
            if is_unknown_topic(&metadata) {
                return Err(End::Failed(LogError::UnknownTopic { topic: Arc::clone(topic) }));
            }
            let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
            let missing = self.started.iter().map(|started| &started.partition).find(|partition| {
                partition.topic == *topic
                    && count > 0
                    && usize::try_from(partition.partition).is_ok_and(|at| at >= count)
            });
            if let Some(TopicPartition { topic, partition }) = missing {
                let reason = format!("{topic} has {count} partitions; {partition} was asked for");
                return Err(End::Failed(LogError::Misconfigured(reason)));
            }
        }
        self.report_away(error.to_string());
        Ok(())
    }

    /// Takes over how far the consumer has come, over holes too.
    fn note_positions(&mut self) {
        match self.consumer.position() {
            Ok(positions) => {
                for element in positions.elements() {
                    let started = self.started.iter_mut().find(|started| {
                        started.partition.partition == element.partition()
                            && &*started.partition.topic == element.topic()
                    });
                    if let (Some(started), Offset::Offset(next)) = (started, element.offset()) {
                        started.next = started.next.max(next);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the consumer did not say where it is"),
        }
    }

    fn report_away(&mut self, reason: String) {
        self.away_since.get_or_insert_with(Instant::now);
        let silent = self.reported_away.is_some_and(|at| at.elapsed() < REPORT_INTERVAL);
        // The last report has to be taken before there is another.
        if !silent && !self.notices.iter().any(Result::is_err) {
            self.reported_away = Some(Instant::now());
            self.notices.push_back(Err(LogError::Unavailable(reason)));
        }
    }

    /// After the log was away for a while: makes the consumer anew when the cluster answers a new one and this one still
    /// cannot reach it, because the brokers have other addresses. Says that the log is back when this one can.
    fn renew_or_go_on(&mut self) -> Result<(), End> {
        let Some(topic) = self.topics.first().map(Arc::clone) else { return Ok(()) };
        // The next look is as far away as this one was.
        self.away_since = Some(Instant::now());
        let Ok(replacement) = self.config.create_with_context::<_, BaseConsumer<_>>(self.consumer.context().anew())
        else {
            return Ok(());
        };
        if replacement.fetch_metadata(Some(&topic), QUESTION_PATIENCE).is_err() {
            return Ok(());
        }
        if self.reaches(&topic) {
            self.away_since = None;
            self.notices.push_back(Ok(Incoming::Records(Batch { records: Vec::new(), reached: Positions::new() })));
            return Ok(());
        }
        tracing::warn!("a reader does not find the brokers, which answer elsewhere: it begins anew");
        self.away_since = None;
        let lost = std::mem::replace(&mut self.consumer, replacement);
        // It takes its leave of brokers that are not there, which nobody waits for where there is a thread.
        drop(thread::Builder::new().name("log-reader-end".to_owned()).spawn(move || drop(lost)));
        self.stopped = false;
        if self.joined {
            let held = std::mem::take(&mut self.held);
            self.revoke(held);
            return self.subscribe();
        }
        self.assign_started()
    }

    /// Whether the consumer reaches who has the log, and who leads its group.
    fn reaches(&self, topic: &str) -> bool {
        let partition = self.started.first().map_or(0, |started| started.partition.partition);
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        self.consumer.fetch_watermarks(topic, partition, QUESTION_PATIENCE).is_ok()
            && (!self.joined || self.consumer.committed_offsets(asked, QUESTION_PATIENCE).is_ok())
    }

    /// Takes back what the group has given.
    fn revoke(&mut self, partitions: Vec<TopicPartition>) {
        if partitions.is_empty() {
            return;
        }
        self.held.clear();
        self.assigned = None;
        self.started.retain(|started| !partitions.contains(&started.partition));
        self.records.retain(|record| !partitions.contains(&record.partition));
        let untold = self.notices.iter().position(|notice| matches!(notice, Ok(Incoming::Assigned(_))));
        match untold {
            // The reader never hears of it, so the notices cannot pile up.
            Some(untold) => drop(self.notices.remove(untold)),
            None => self.notices.push_back(Ok(Incoming::Revoked(partitions))),
        }
    }

    /// Turns what the group has decided into notices, and takes back what is not this member's any more.
    fn follow_group(&mut self) {
        for rebalance in self.consumer.context().take() {
            match rebalance {
                Rebalance::Assigned(partitions) if partitions.is_empty() => {}
                Rebalance::Assigned(partitions) => {
                    self.away_since = None;
                    self.held.clone_from(&partitions);
                    self.assigned = Some(partitions.clone());
                    self.notices.push_back(Ok(Incoming::Assigned(partitions)));
                }
                Rebalance::Revoked(partitions) => self.revoke(partitions),
            }
        }
    }

    /// Waits for the reader's answer to an assignment, not for long: the group wants to be polled.
    fn wait_for_answer(&mut self) -> Result<(), End> {
        let answer = self.runtime.block_on(async { timeout(POLL, self.feed.started()).await });
        let Ok(answer) = answer else { return Ok(()) };
        let from = answer.ok_or(End::Dropped)?;
        self.unanswered -= 1;
        // An answer to an assignment that was revoked meanwhile says nothing about this one.
        if self.unanswered > 0 {
            return Ok(());
        }
        let Some(partitions) = self.assigned.take() else { return Ok(()) };
        let from = partitions.into_iter().map(|partition| {
            let next_offset = from.next_offset(&partition);
            (partition, next_offset)
        });
        self.start(&from.collect())
    }

    /// Reads the partitions of `from`, each from its offset.
    pub(super) fn start(&mut self, from: &Positions) -> Result<(), End> {
        self.started = from
            .into_iter()
            .map(|(partition, next)| Started { partition: partition.clone(), next, reported: next })
            .collect();
        self.assign_started()
    }

    /// Lets the consumer fetch what is read, each partition from where reading goes on.
    fn assign_started(&mut self) -> Result<(), End> {
        let mut list = TopicPartitionList::new();
        for Started { partition, next, .. } in &self.started {
            list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(*next))
                .map_err(|error| End::Failed(client::unavailable(&error)))?;
        }
        self.paused = false;
        self.assign(&list)
    }

    fn assign(&self, list: &TopicPartitionList) -> Result<(), End> {
        self.consumer.assign(list).map_err(|error| End::Failed(client::unavailable(&error)))
    }

    /// After a partition stopped: goes on when 0 asked for what is left of it, otherwise says what is missing.
    fn restart_or_fail(&mut self) -> Result<(), End> {
        let mut moved = false;
        for started in &mut self.started {
            let TopicPartition { topic, partition } = &started.partition;
            match self.consumer.fetch_watermarks(topic, *partition, QUESTION_PATIENCE) {
                Ok((first, _)) if started.next == 0 && first > 0 && self.finite.contains(topic) => {
                    started.next = first;
                    moved = true;
                }
                Ok((first, end)) if (first..=end).contains(&started.next) => {}
                Ok((first, end)) => {
                    return Err(End::Failed(started.out_of_range(format!("it has {first} to {end}"))));
                }
                Err(error) => {
                    self.report_away(error.to_string());
                    return Ok(());
                }
            }
        }
        if !moved && let Some(started) = self.started.first() {
            let reason = "this or another partition was cut and has grown again".to_owned();
            return Err(End::Failed(started.out_of_range(reason)));
        }
        self.stopped = false;
        self.assign_started()
    }

    /// Hands over notices and records. A reader that leaves no room for long pauses the consumer, which is then
    /// polled only to stay in its group.
    fn hand_over(&mut self) -> Result<(), End> {
        while !self.notices.is_empty() || self.started.iter().any(Started::has_news) {
            let room = self.runtime.block_on(async { timeout(ROOM_PATIENCE, self.feed.room()).await });
            match room {
                Ok(Ok(room)) => room.send(self.next_delivery()),
                Ok(Err(_)) => return Err(End::Dropped),
                Err(_) if self.paused => return Ok(()),
                Err(_) => {
                    self.paused = true;
                    return self.assign(&TopicPartitionList::new());
                }
            }
        }
        if self.paused { self.assign_started() } else { Ok(()) }
    }

    fn next_delivery(&mut self) -> Result<Incoming, LogError> {
        if let Some(notice) = self.notices.pop_front() {
            if let Ok(Incoming::Assigned(_)) = notice {
                self.unanswered += 1;
            }
            return notice;
        }
        let mut reached = Positions::new();
        for started in self.started.iter_mut().filter(|started| started.has_news()) {
            started.reported = started.next;
            reached.set(started.partition.clone(), started.next);
        }
        self.records_bytes = 0;
        Ok(Incoming::Records(Batch { records: std::mem::take(&mut self.records), reached }))
    }
}

impl Started {
    fn is_of(&self, message: &BorrowedMessage<'_>) -> bool {
        self.partition.partition == message.partition() && &*self.partition.topic == message.topic()
    }

    fn has_news(&self) -> bool {
        self.next > self.reported
    }

    fn out_of_range(&self, reason: String) -> LogError {
        let TopicPartition { topic, partition } = self.partition.clone();
        LogError::OutOfRange { topic, partition, offset: self.next, reason }
    }
}

fn to_record(message: &BorrowedMessage<'_>, partition: TopicPartition) -> Record {
    Record {
        partition,
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or_default(),
        key: message.key().unwrap_or_default().to_vec(),
        headers: to_headers(message),
        payload: message.payload().unwrap_or_default().to_vec(),
    }
}

/// The headers of `message`; none when a name is not UTF-8, over which the client panics. The log is for ever, so
/// such a record must not keep anyone from reading on.
fn to_headers(message: &BorrowedMessage<'_>) -> Headers {
    let converted = catch_unwind(AssertUnwindSafe(|| {
        let mut headers = Headers::new();
        for header in message.headers().iter().flat_map(|headers| headers.iter()) {
            headers.push(header.key, header.value.unwrap_or_default());
        }
        headers
    }));
    converted.unwrap_or_else(|_| {
        tracing::warn!(topic = message.topic(), offset = message.offset(), "a header's name is not UTF-8");
        Headers::new()
    })
}
