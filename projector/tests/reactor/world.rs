//! A log, a database, and a reactor that does as it is told.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::kafka::KafkaLog;
use balcony_event_log::testing::{OnBroker, eventually, service};
use balcony_event_log::{EventLog, Headers, Message, Positions, Record, Topic, TopicPartition};
use balcony_projector::{
    AnyReactor, Decode, Delivery, DeliveryPolicy, Projector, Publisher, ReactError, Reactor, Start,
};
use balcony_store::{Database, DatabasePlace, Scratch, Settings, Writer};
use tempfile::TempDir;
use tokio::sync::{OnceCell, watch};
use tokio::time::timeout;
use uuid::Uuid;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What stays when processes come and go.
pub(crate) struct World {
    place: Place,
    pub(crate) topic: Topic,
    pub(crate) words: Topic,
}

enum Place {
    Embedded(TempDir),
    Distributed { brokers: String, database: Scratch },
}

/// One process on it.
pub(crate) struct Process {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) database: Database,
    topic: Arc<str>,
    writer: OnceCell<Writer>,
}

impl World {
    pub(crate) fn embedded() -> Self {
        Self::at(Uuid::now_v7(), Place::Embedded(tempfile::tempdir().unwrap()), 1)
    }

    /// `None`, in one line, without a broker and a database; with `CI` set that is a failure.
    pub(crate) async fn distributed(partitions: i32) -> Option<Self> {
        let brokers = service("KAFKA_BOOTSTRAP_SERVERS")?;
        let database = Scratch::postgres().await.unwrap()?;
        let id = Uuid::now_v7();
        let database = database.with(OnBroker::marked(&brokers, id.simple().to_string()));
        Some(Self::at(id, Place::Distributed { brokers, database }, partitions))
    }

    fn at(id: Uuid, place: Place, partitions: i32) -> Self {
        let id = id.simple();
        let topic =
            |name: &str| Topic { name: format!("{name}-{id}").into(), partitions, replication: 1, retention: None };
        Self { place, topic: topic("lines"), words: topic("words") }
    }

    pub(crate) async fn process(&self) -> Process {
        let topics = [self.topic.clone(), self.words.clone()];
        let (log, settings): (Arc<dyn EventLog>, _) = match &self.place {
            Place::Embedded(folder) => {
                let log = EmbeddedLog::open(&folder.path().join("log.db"), &topics).unwrap();
                let place = DatabasePlace::Sqlite { directory: folder.path().join("read-models") };
                (Arc::new(log), Settings { namespace: "test".parse().unwrap(), place })
            }
            Place::Distributed { brokers, database } => {
                let log = KafkaLog::open(brokers, &topics).await.unwrap();
                (Arc::new(log), database.settings().clone())
            }
        };
        let database = Database::open(&settings).await.unwrap();
        Process { log, database, topic: self.topic.name.clone(), writer: OnceCell::new() }
    }

    /// The same, after these events were appended.
    pub(crate) async fn process_with(&self, events: impl IntoIterator<Item = impl AsRef<str>>) -> Process {
        let process = self.process().await;
        process.append(events).await;
        process
    }
}

impl Process {
    /// Appends events. What stands before a colon is the key.
    pub(crate) async fn append(&self, events: impl IntoIterator<Item = impl AsRef<str>>) {
        for event in events {
            let key = event.as_ref().split_once(':').map_or("", |(key, _)| key);
            let message = Message { key: key.into(), headers: Headers::new(), payload: event.as_ref().into() };
            self.log.append(&self.topic, message).await.unwrap();
        }
    }

    /// Appends an event as the one that `source` knows by `id`. What stands before a colon is the key.
    pub(crate) async fn append_as(&self, source: &str, id: &str, event: &str) {
        let key = event.split_once(':').map_or("", |(key, _)| key);
        let headers = [("ce_source", source), ("ce_id", id)].into_iter().collect();
        self.log.append(&self.topic, Message { key: key.into(), headers, payload: event.into() }).await.unwrap();
    }

    pub(crate) fn start(&self, receiver: &Arc<Receiver>, start: Start) -> Projector {
        let mut projector = Projector::new(self.log.clone(), self.database.clone(), format!("{}.", self.topic));
        projector.start_reactor(self.reactor(receiver, start));
        projector
    }

    /// The reactor whose effects `receiver` has.
    pub(crate) fn reactor(&self, receiver: &Arc<Receiver>, start: Start) -> AnyReactor {
        Told { topics: [self.topic.clone()], start, receiver: receiver.clone() }.into()
    }

    /// Connections to what the reactor writes down, once there is something.
    pub(crate) async fn writer(&self) -> &Writer {
        let open = async || {
            let generation = async || self.database.generations(Some("told")).await.unwrap().pop();
            until("the reactor writes something down", async || generation().await.is_some()).await;
            self.database.writer(&generation().await.unwrap().generation)
        };
        self.writer.get_or_init(open).await
    }

    /// How many records were delivered above the frontier, as is written down.
    pub(crate) async fn ahead(&self) -> i64 {
        let mut tx = self.writer().await.snapshot().await.unwrap();
        let rows: Vec<(i64,)> = tx.fetch("SELECT COUNT(*) FROM delivered", &[]).await.unwrap();
        rows[0].0
    }

    pub(crate) async fn checkpoints(&self) -> Positions {
        self.writer().await.snapshot().await.unwrap().checkpoints().await.unwrap()
    }

    /// What is parked, in the order of the log, with the reason.
    pub(crate) async fn parked(&self) -> Vec<(String, String)> {
        let parked = self.writer().await.snapshot().await.unwrap().parked().await.unwrap();
        parked.into_iter().map(|record| (String::from_utf8(record.payload).unwrap(), record.error)).collect()
    }

    /// The id of the parked record with this event.
    pub(crate) async fn parked_id(&self, event: &str) -> Uuid {
        let parked = self.writer().await.snapshot().await.unwrap().parked().await.unwrap();
        parked.into_iter().find(|record| record.payload == event.as_bytes()).unwrap().id
    }

    pub(crate) async fn ends(&self) -> Positions {
        self.log.ends(std::slice::from_ref(&self.topic)).await.unwrap()
    }

    /// Waits until everything in the log is done.
    pub(crate) async fn caught_up(&self) {
        let ends = self.ends().await;
        until("everything is done", async || self.checkpoints().await.covers(&ends)).await;
    }

    pub(crate) fn partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), 0)
    }
}

/// Asks until the answer is yes.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    eventually(what, PATIENCE, async || is_so().await.then_some(())).await;
}

/// What the receiver of the effects does about an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Take,
    /// Takes it once the gate is open.
    Hold,
    /// Takes it, and is not done before the gate is open.
    TakeAndHold,
    /// The same, but gives up when the process ends.
    HoldUntilTheEnd,
    Retry,
    /// The same until the gate is open.
    RetryWhileClosed,
    Refuse,
    /// Puts it off until the gate is open.
    LaterWhileClosed,
    Panic,
}

/// An effect that was had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) event: String,
    pub(crate) offset: i64,
    pub(crate) id: Uuid,
}

type Answering = Box<dyn Fn(&str, u32) -> Answer + Send + Sync>;

/// Who receives the effects, and outlives the processes that send them.
pub(crate) struct Receiver {
    answering: Answering,
    pub(crate) policy: DeliveryPolicy,
    taken: watch::Sender<Vec<Taken>>,
    attempts: Mutex<BTreeMap<String, u32>>,
    /// The deliveries that operators have given up, and whether they may.
    given_up: Mutex<Vec<Uuid>>,
    pub(crate) forgets: AtomicBool,
    /// The keys of which an attempt is under way.
    busy: Mutex<HashSet<String>>,
    /// How often an attempt began while another of its key was under way.
    overlaps: AtomicUsize,
    gate: watch::Sender<bool>,
    /// Whether a process that sends effects has begun to end.
    ending: watch::Sender<bool>,
}

impl Receiver {
    /// One that answers to an event's text and the number of the attempt.
    pub(crate) fn new(answering: impl Fn(&str, u32) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Self::with_policy(answering, |_| {})
    }

    pub(crate) fn with_policy(
        answering: impl Fn(&str, u32) -> Answer + Send + Sync + 'static,
        change: impl FnOnce(&mut DeliveryPolicy),
    ) -> Arc<Self> {
        let (first_pause, longest_pause) = (Duration::from_millis(1), Duration::from_millis(4));
        let mut policy = DeliveryPolicy { attempts: 5, first_pause, longest_pause, ..DeliveryPolicy::default() };
        change(&mut policy);
        Arc::new(Self {
            answering: Box::new(answering),
            policy,
            taken: watch::Sender::default(),
            attempts: Mutex::default(),
            given_up: Mutex::default(),
            forgets: AtomicBool::new(true),
            busy: Mutex::default(),
            overlaps: AtomicUsize::default(),
            gate: watch::Sender::new(false),
            ending: watch::Sender::new(false),
        })
    }

    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Waits until a process that sends effects has begun to end.
    pub(crate) async fn is_ending(&self) {
        let mut ending = self.ending.subscribe();
        let waited = timeout(PATIENCE, ending.wait_for(|ending| *ending)).await;
        waited.expect("it is told to end").unwrap();
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.borrow().clone()
    }

    /// What was taken, as text.
    pub(crate) fn events(&self) -> Vec<String> {
        self.taken.borrow().iter().map(|taken| taken.event.clone()).collect()
    }

    /// The deliveries that operators have given up.
    pub(crate) fn given_up(&self) -> Vec<Uuid> {
        self.given_up.lock().unwrap().clone()
    }

    pub(crate) fn attempts(&self, event: &str) -> u32 {
        self.attempts.lock().unwrap().get(event).copied().unwrap_or(0)
    }

    /// Whether an attempt of the key is under way.
    pub(crate) fn is_busy(&self, key: &str) -> bool {
        self.busy.lock().unwrap().contains(key)
    }

    pub(crate) fn overlaps(&self) -> usize {
        self.overlaps.load(Ordering::Relaxed)
    }

    /// Waits until so many effects were had, repeats included.
    pub(crate) async fn has_taken(&self, count: usize) {
        let mut taken = self.taken.subscribe();
        let waited = timeout(PATIENCE, taken.wait_for(|taken| taken.len() >= count)).await;
        assert!(waited.is_ok(), "{count} effects are not to be had: {:?}", self.events());
    }

    /// Checks that whatever was repeated had the id that it had before, and no two events have one.
    pub(crate) fn check_ids(&self) {
        let taken = self.taken();
        for one in &taken {
            for other in &taken {
                assert_eq!(one.event == other.event, one.id == other.id, "{one:?} {other:?}");
            }
        }
    }
}

/// Text; "newer" is of a type that is not known, "broken" is none.
pub(crate) struct Text(pub(crate) String);

impl Decode for Text {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        match std::str::from_utf8(&record.payload).map_err(|error| error.to_string())? {
            text if text.ends_with("newer") => Ok(None),
            text if text.ends_with("broken") => Err("it is broken".to_owned()),
            text => Ok(Some(Self(text.to_owned()))),
        }
    }
}

struct Told {
    topics: [Arc<str>; 1],
    start: Start,
    receiver: Arc<Receiver>,
}

/// A key of which an attempt is under way, until it is dropped.
struct Busy<'a>(&'a Receiver, Option<String>);

impl Reactor for Told {
    type Event = Text;

    fn name(&self) -> &str {
        "told"
    }

    fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    fn start(&self) -> Start {
        self.start.clone()
    }

    fn policy(&self) -> DeliveryPolicy {
        self.receiver.policy
    }

    fn wants(&self, record: &Record) -> bool {
        record.key != b"unwanted"
    }

    async fn give_up(&self, id: Uuid) -> Result<(), String> {
        if !self.receiver.forgets.load(Ordering::Relaxed) {
            return Err("not now".to_owned());
        }
        self.receiver.given_up.lock().unwrap().push(id);
        Ok(())
    }

    async fn react(&self, delivery: &Delivery<Text>, _: &Publisher) -> Result<(), ReactError> {
        let receiver = &self.receiver;
        let text = &delivery.event.0;
        *receiver.attempts.lock().unwrap().entry(text.clone()).or_default() += 1;
        let _busy = Busy::new(receiver, text);
        // Others have a chance to be wrong meanwhile.
        tokio::task::yield_now().await;
        let mut gate = receiver.gate.subscribe();
        let answer = (receiver.answering)(text, delivery.attempt);
        match answer {
            Answer::Take | Answer::TakeAndHold => {}
            Answer::Hold => drop(gate.wait_for(|open| *open).await.unwrap()),
            Answer::HoldUntilTheEnd => tokio::select! {
                biased;
                _ = gate.wait_for(|open| *open) => {}
                () = receiver.is_ending() => return Err(ReactError::Retry("it ends".to_owned())),
            },
            Answer::RetryWhileClosed | Answer::LaterWhileClosed if *gate.borrow() => {}
            Answer::LaterWhileClosed => return Err(ReactError::Later("some other day".to_owned())),
            Answer::Retry | Answer::RetryWhileClosed => return Err(ReactError::Retry("not now".to_owned())),
            Answer::Refuse => return Err(ReactError::Refused("never".to_owned())),
            Answer::Panic => panic!("as it was asked to"),
        }
        let taken = Taken { event: text.clone(), offset: delivery.position.offset, id: delivery.id };
        receiver.taken.send_modify(|all| all.push(taken));
        if answer == Answer::TakeAndHold {
            gate.wait_for(|open| *open).await.unwrap();
        }
        Ok(())
    }

    async fn end(&self) {
        self.receiver.ending.send_replace(true);
    }
}

impl<'a> Busy<'a> {
    fn new(receiver: &'a Receiver, text: &str) -> Self {
        let key = text.split_once(':').map(|(key, _)| key.to_owned());
        if let Some(key) = &key
            && !receiver.busy.lock().unwrap().insert(key.clone())
        {
            receiver.overlaps.fetch_add(1, Ordering::Relaxed);
        }
        Self(receiver, key)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.1 {
            self.0.busy.lock().unwrap().remove(key);
        }
    }
}
