use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

#[cfg(feature = "sqlite")]
use balcony_event_log::testing::eventually;
use balcony_event_log::{
    Batch, EventLog, Headers, Incoming, LogError, Message, Position, Positions, Reader, Record, Topic, TopicPartition,
};

/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for `future`, but not for ever.
pub(crate) async fn within_patience<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens before patience ends")
}

pub(crate) fn message(key: &str, payload: impl Into<Vec<u8>>) -> Message {
    let mut headers = Headers::new();
    headers.push("ce_type", b"test");
    Message { key: key.into(), headers, payload: payload.into() }
}

/// Appends one record and expects that it works.
pub(crate) async fn append(log: &dyn EventLog, topic: &Topic, key: &str, payload: &str) -> Position {
    within_patience(log.append(&topic.name, message(key, payload))).await.expect("the log takes the record")
}

/// Appends a record without a key, as the event `id`.
pub(crate) async fn append_with_id(log: &dyn EventLog, topic: &Topic, id: &str) -> Position {
    let message = Message { headers: Headers::from_iter([("ce_id", id)]), ..message("", "payload") };
    within_patience(log.append(&topic.name, message)).await.expect("the log takes the record")
}

/// Appends `payloads` one after the other, all under one key.
pub(crate) async fn append_all(
    log: &dyn EventLog,
    topic: &Topic,
    key: &str,
    payloads: impl IntoIterator<Item = String>,
) -> Vec<Position> {
    let mut positions = Vec::new();
    for payload in payloads {
        positions.push(append(log, topic, key, &payload).await);
    }
    positions
}

pub(crate) async fn ends(log: &dyn EventLog, topic: &Topic) -> Positions {
    within_patience(log.ends(std::slice::from_ref(&topic.name))).await.expect("the log says its ends")
}

pub(crate) async fn starts(log: &dyn EventLog, topic: &Topic) -> Positions {
    within_patience(log.starts(std::slice::from_ref(&topic.name))).await.expect("the log says its starts")
}

/// Waits until records of `topic` were removed up to the starts that it returns, which are not the beginning.
#[cfg(feature = "sqlite")]
pub(crate) async fn starts_after_removal(log: &dyn EventLog, topic: &Topic) -> Positions {
    eventually("records are removed", PATIENCE, async || {
        let starts = starts(log, topic).await;
        (!Positions::new().covers(&starts)).then_some(starts)
    })
    .await
}

/// The beginning of every partition of `topic`.
pub(crate) async fn beginning(log: &dyn EventLog, topic: &Topic) -> Positions {
    ends(log, topic).await.partitions().map(|partition| (partition.clone(), 0)).collect()
}

/// The next records or hole.
pub(crate) async fn next_batch(reader: &mut Reader) -> Batch {
    match within_patience(reader.next()).await {
        Ok(Incoming::Records(batch)) => batch,
        other => panic!("records were expected and {other:?} came"),
    }
}

/// The error that comes next.
pub(crate) async fn next_error(reader: &mut Reader) -> LogError {
    match within_patience(reader.next()).await {
        Err(error) => error,
        Ok(incoming) => panic!("an error was expected and {incoming:?} came"),
    }
}

/// Reads, starting at `from`, until `to` is covered, and checks on the way that positions only move forward and
/// that every record stands between where its batch began and what it has reached.
pub(crate) async fn read_to(reader: &mut Reader, from: &Positions, to: &Positions) -> Vec<Record> {
    let mut reached = from.clone();
    let mut records = Vec::new();
    while !reached.covers(to) {
        let batch = next_batch(reader).await;
        let mut at = reached.clone();
        for record in &batch.records {
            assert!(record.offset >= at.next_offset(&record.partition), "{record:?} comes after {at:?}");
            at.set(record.partition.clone(), record.offset + 1);
        }
        for (partition, next_offset) in &batch.reached {
            assert!(next_offset > reached.next_offset(partition), "a batch reports only what moved");
        }
        reached.merge(&batch.reached);
        assert!(reached.covers(&at), "a batch has reached all its records");
        records.extend(batch.records);
    }
    records
}

/// Everything in `topic` up to its end now.
pub(crate) async fn read_all(log: &dyn EventLog, topic: &Topic) -> Vec<Record> {
    let from = beginning(log, topic).await;
    let to = ends(log, topic).await;
    read_to(&mut log.read(from.clone()), &from, &to).await
}

/// The payloads of `records` in order, for each key.
pub(crate) fn payloads_by_key(records: &[Record]) -> BTreeMap<String, Vec<String>> {
    let mut payloads: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in records {
        payloads.entry(text(&record.key)).or_default().push(text(&record.payload));
    }
    payloads
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("tests write text")
}

pub(crate) fn numbered(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| number.to_string())
}

/// A member of a group whose places are kept outside of it, as a database would keep them.
pub(crate) struct Member {
    pub(crate) reader: Reader,
    pub(crate) assigned: Vec<TopicPartition>,
    pub(crate) read: Vec<Record>,
}

impl Member {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader, assigned: Vec::new(), read: Vec::new() }
    }

    /// Takes the next delivery; answers an assignment with `places`, which records move on.
    pub(crate) async fn step(&mut self, places: &Mutex<Positions>) {
        let delivery = self.reader.next().await.expect("the group goes on");
        self.take(delivery, places);
    }

    /// The same while the log may be away.
    #[cfg(feature = "kafka")]
    pub(crate) async fn step_over_outages(&mut self, places: &Mutex<Positions>) {
        match self.reader.next().await {
            Ok(delivery) => self.take(delivery, places),
            Err(LogError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn take(&mut self, delivery: Incoming, places: &Mutex<Positions>) {
        match delivery {
            Incoming::Assigned(partitions) => {
                assert!(self.assigned.is_empty(), "what was assigned before is revoked first");
                self.assigned = partitions;
                let from = places.lock().expect("no test panics while it holds this").clone();
                self.reader.start(from);
            }
            Incoming::Revoked(partitions) => {
                self.assigned.retain(|assigned| !partitions.contains(assigned));
            }
            Incoming::Records(batch) => {
                for partition in batch.reached.partitions() {
                    assert!(self.assigned.contains(partition), "nothing of {partition:?} comes without assignment");
                }
                places.lock().expect("no test panics while it holds this").merge(&batch.reached);
                self.read.extend(batch.records);
            }
        }
    }

    /// Goes on until `done` holds.
    pub(crate) async fn run_until(&mut self, places: &Mutex<Positions>, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            within_patience(self.step(places)).await;
        }
    }
}
