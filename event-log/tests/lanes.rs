//! Many appends at a time.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use balcony_event_log::memory::{Clock, MemoryLog};
use balcony_event_log::{AppendError, EventLog, Excerpt, Lanes, Message, Topic};

fn log() -> Arc<dyn EventLog> {
    let topic = Topic { name: "orders".into(), partitions: 3, replication: 1, retention: None };
    Arc::new(MemoryLog::new(&[topic], Clock::at(SystemTime::UNIX_EPOCH)))
}

fn message(key: u32, number: u32) -> Message {
    Message { key: key.to_be_bytes().to_vec(), payload: number.to_be_bytes().to_vec(), ..Message::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_appended_and_what_has_one_key_in_order() {
    let log = log();
    let lanes = Lanes::new(&log, 16);
    for number in 0..2_000 {
        assert!(lanes.append("orders".into(), message(number % 40, number)).await);
    }
    lanes.finish().await.unwrap();

    let mut by_key: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
    let mut all = Excerpt::whole(log.as_ref(), &["orders".into()]).await.unwrap();
    while let Some(records) = all.next().await.unwrap() {
        for record in records {
            let number = u32::from_be_bytes(record.payload.try_into().unwrap());
            by_key.entry(record.key).or_default().push(number);
        }
    }
    assert_eq!(by_key.len(), 40);
    assert!(by_key.values().all(|numbers| numbers.len() == 50 && numbers.is_sorted()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_refuses_stops_its_lane_and_is_said_at_the_end() {
    let lanes = Lanes::new(&log(), 4);
    while lanes.append("nowhere".into(), message(1, 1)).await {}
    assert!(matches!(lanes.finish().await, Err(AppendError::UnknownTopic { .. })));
}
