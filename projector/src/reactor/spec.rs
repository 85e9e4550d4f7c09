use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{BoxFuture, EventLog, Position, Positions, Record, TopicPartition};
use balcony_store::Database;
use uuid::Uuid;

use super::error::ReactError;
use super::publisher::Publisher;
use crate::decode::Decode;

/// Does something about each event that cannot be taken back: sends a mail, calls a webhook, publishes a message.
///
/// A reactor is no projection, and there is no way to make one of it: **nothing replays it**. It starts where
/// [`Reactor::start`] says, which is written down before anything is delivered, and goes on from there for good.
///
/// Events are delivered at least once. Those of one key come in order, each after the one before is done; those of
/// other keys, and those without a key, come at the same time. A crash, or a partition that changes hands, delivers
/// again what was under way or not yet written down as done, under the same [`Delivery::id`]. An event that stands in the
/// log again, by its source and id, is not delivered again, at the least while that is no further than 100,000 offsets of a
/// partition behind what it repeats.
pub trait Reactor: Send + Sync + 'static {
    /// What it reads.
    type Event: Decode;

    /// Its name: lower-case letters, digits and dashes. No projection may have the same.
    fn name(&self) -> &str;

    /// The topics it reads.
    fn topics(&self) -> &[Arc<str>];

    /// Where it starts in each topic that it has never read.
    fn start(&self) -> Start;

    /// How much at once, and how often.
    fn policy(&self) -> DeliveryPolicy {
        DeliveryPolicy::default()
    }

    /// Whether the record could matter here. What does not is passed over without being decoded, and cannot be parked.
    fn wants(&self, _record: &Record) -> bool {
        true
    }

    /// Gets what it may need for a delivery: the log and the database, as its process has opened them. Called before anything
    /// is delivered, in every process that delivers: one that runs the reactor, and one in which an operator retries or
    /// discards what is parked. May be called more than once. It returns at once: whatever takes time is left to the
    /// first delivery.
    fn open(&self, _log: &Arc<dyn EventLog>, _database: &Database) {}

    /// Does it. May be dropped at any await: when it takes longer than the policy allows, or the process ends.
    ///
    /// # Errors
    /// [`ReactError`] says whether trying again could help. A panic counts as [`ReactError::Retry`].
    fn react(
        &self,
        delivery: &Delivery<Self::Event>,
        publisher: &Publisher,
    ) -> impl Future<Output = Result<(), ReactError>> + Send;

    /// Forgets what it keeps for the delivery `id`, which is never made: an operator gives up the record that was parked. Asked in
    /// the operator's process before that is written down, so it may be asked again, and a reactor that puts several events
    /// into one effect leaves this one out from then on. By default there is nothing to forget.
    ///
    /// # Errors
    /// Why it cannot, in words: the record stays parked.
    fn give_up(&self, _id: Uuid) -> impl Future<Output = Result<(), String>> + Send {
        std::future::ready(Ok(()))
    }

    /// Comes once nothing has an effect any more that began before. Asked once, when the process ends or the reactor has
    /// stopped: no attempt begins any more, and those under way may end, until [`DeliveryPolicy::grace`] is over. Whoever
    /// waits before there is an effect may give up then, with [`ReactError::Retry`]: it is delivered again by the next
    /// process.
    fn end(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Where a reactor starts in a topic. Partitions that the topic gets later are read from their beginning: all that is
/// in them is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The end of the topic when the reactor is first started.
    Now,
    /// The beginning of the topic.
    Beginning,
    /// These positions; partitions that are not named from their beginning.
    At(Positions),
}

/// An event that is handed to a reactor.
#[derive(Debug, Clone)]
pub struct Delivery<E> {
    /// Made of the reactor's name and the event's own source and id, or of its position when it has none: the same
    /// whenever the event is delivered. Whoever receives the effect drops what
    /// it has seen under this id; a mail has it in its `Message-ID`, a webhook in a header.
    pub id: Uuid,
    /// Where the event stands.
    pub position: Position,
    /// Which attempt this is, from 1. The count begins anew with the process.
    pub attempt: u32,
    /// The event.
    pub event: E,
}

/// How much is delivered at once, and how often it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryPolicy {
    /// Events that are delivered at the same time. One that waits for its next attempt does not count.
    pub in_flight: usize,
    /// Records between the first that is not done and the last that was read, in all partitions of a process together.
    /// When there are so many, nothing is read until the first is done.
    pub window: usize,
    /// Attempts after which an event is parked.
    pub attempts: u32,
    /// How long one attempt may take.
    pub patience: Duration,
    /// The pause after the first attempt, doubled after each further one. Each is drawn between a half and the whole.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How often what is parked for [later](ReactError::Later) is tried again.
    pub again_every: Duration,
    /// How long after it was parked that is still done. From then on it is as any parked record.
    pub again_for: Duration,
    /// How long attempts under way may take once the process is to end, which waits for them. What does not end by then is
    /// dropped where it stands and delivered again.
    pub grace: Duration,
}

impl Default for DeliveryPolicy {
    /// 64 in flight, 10,000 in the window, 20 attempts of up to a minute with pauses from half a second to a minute:
    /// what is refused at once is tried for some ten minutes. What is parked for later is tried
    /// every quarter of an hour for three days. Five seconds at the end.
    fn default() -> Self {
        Self {
            in_flight: 64,
            window: 10_000,
            attempts: 20,
            patience: Duration::from_secs(60),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
            again_every: Duration::from_mins(15),
            again_for: Duration::from_hours(3 * 24),
            grace: Duration::from_secs(5),
        }
    }
}

/// Any reactor, whatever its events are, as the runtime holds it. Cheap to clone.
#[derive(Clone)]
pub struct AnyReactor {
    name: Arc<str>,
    reactor: Arc<dyn Erased>,
}

impl AnyReactor {
    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Gives it what it may need for a delivery.
    pub(crate) fn open(&self, log: &Arc<dyn EventLog>, database: &Database) {
        self.reactor.open(log, database);
    }

    /// The topics it reads.
    pub fn topics(&self) -> &[Arc<str>] {
        self.reactor.topics()
    }

    /// Where it starts, given where the log ends.
    pub(crate) fn start(&self, ends: Positions) -> Positions {
        match self.reactor.start() {
            Start::Now => ends,
            Start::Beginning => ends.partitions().map(|partition| (partition.clone(), 0)).collect(),
            Start::At(start) => {
                ends.partitions().map(|partition| (partition.clone(), start.next_offset(partition))).collect()
            }
        }
    }

    /// Whether it starts where the log ends when it is first started.
    #[cfg(feature = "operations")]
    pub(crate) fn starts_now(&self) -> bool {
        self.reactor.start() == Start::Now
    }

    pub(crate) fn policy(&self) -> DeliveryPolicy {
        self.reactor.policy()
    }

    pub(crate) fn wants(&self, record: &Record) -> bool {
        self.reactor.wants(record)
    }

    /// Why the record is no event, when it is none.
    pub(crate) fn broken(&self, record: &Record) -> Option<String> {
        self.reactor.broken(record)
    }

    /// The id under which `record` is delivered.
    pub(crate) fn delivery_id(&self, record: &Record) -> Uuid {
        self.event_id(record).unwrap_or_else(|| {
            let TopicPartition { topic, partition } = &record.partition;
            self.id_of(&[topic.as_bytes(), partition.to_string().as_bytes(), record.offset.to_string().as_bytes()])
        })
    }

    /// The same, made of what an event is known by, says CloudEvents, wherever it stands; `None` when the record says no
    /// id.
    pub(crate) fn event_id(&self, record: &Record) -> Option<Uuid> {
        let id = record.headers.get("ce_id")?;
        Some(self.id_of(&[record.headers.get("ce_source").unwrap_or_default(), id]))
    }

    fn id_of(&self, parts: &[&[u8]]) -> Uuid {
        let mut name = self.name().as_bytes().to_vec();
        for part in parts {
            name.push(0);
            name.extend_from_slice(part);
        }
        Uuid::new_v5(&Uuid::NAMESPACE_OID, &name)
    }

    /// Makes one attempt. `false` is an event of a type that this program does not know.
    pub(crate) async fn attempt(
        &self,
        record: &Record,
        id: Uuid,
        attempt: u32,
        publisher: &Publisher,
    ) -> Result<bool, ReactError> {
        self.reactor.attempt(record, id, attempt, publisher).await
    }

    /// Forgets what it keeps for a delivery that is never made.
    pub(crate) async fn give_up(&self, id: Uuid) -> Result<(), String> {
        self.reactor.give_up(id).await
    }

    /// Comes once nothing that began before has an effect any more.
    pub(crate) async fn end(&self) {
        self.reactor.end().await;
    }
}

impl<R: Reactor> From<R> for AnyReactor {
    fn from(reactor: R) -> Self {
        Self { name: reactor.name().into(), reactor: Arc::new(reactor) }
    }
}

/// A [`Reactor`] whose type of events is hidden.
trait Erased: Send + Sync {
    fn topics(&self) -> &[Arc<str>];
    fn start(&self) -> Start;
    fn policy(&self) -> DeliveryPolicy;
    fn wants(&self, record: &Record) -> bool;
    fn broken(&self, record: &Record) -> Option<String>;
    fn open(&self, log: &Arc<dyn EventLog>, database: &Database);
    fn attempt<'a>(
        &'a self,
        record: &'a Record,
        id: Uuid,
        attempt: u32,
        publisher: &'a Publisher,
    ) -> BoxFuture<'a, Result<bool, ReactError>>;
    fn give_up(&self, id: Uuid) -> BoxFuture<'_, Result<(), String>>;
    fn end(&self) -> BoxFuture<'_, ()>;
}

impl<R: Reactor> Erased for R {
    fn topics(&self) -> &[Arc<str>] {
        Reactor::topics(self)
    }

    fn start(&self) -> Start {
        Reactor::start(self)
    }

    fn policy(&self) -> DeliveryPolicy {
        Reactor::policy(self)
    }

    fn wants(&self, record: &Record) -> bool {
        Reactor::wants(self, record)
    }

    fn broken(&self, record: &Record) -> Option<String> {
        R::Event::decode(record).err()
    }

    fn open(&self, log: &Arc<dyn EventLog>, database: &Database) {
        Reactor::open(self, log, database);
    }

    fn attempt<'a>(
        &'a self,
        record: &'a Record,
        id: Uuid,
        attempt: u32,
        publisher: &'a Publisher,
    ) -> BoxFuture<'a, Result<bool, ReactError>> {
        Box::pin(async move {
            let Some(event) = R::Event::decode(record).map_err(ReactError::Refused)? else { return Ok(false) };
            let delivery = Delivery { id, position: record.position(), attempt, event };
            self.react(&delivery, publisher).await.map(|()| true)
        })
    }

    fn give_up(&self, id: Uuid) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(Reactor::give_up(self, id))
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(Reactor::end(self))
    }
}
