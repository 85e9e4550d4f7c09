use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use balcony_event_log::memory::{Clock, MemoryLog};
use balcony_event_log::{EventLog, LogError, Positions, Topic, TopicPartition};

use crate::log_under_test::topic;
use crate::reading::{
    Member, append, append_all, append_with_id, ends, next_batch, next_error, numbered, read_all, read_to, starts,
    within_patience,
};

const HOUR: Duration = Duration::from_secs(3_600);

fn clock() -> Clock {
    Clock::at(UNIX_EPOCH + Duration::from_secs(1_000_000))
}

fn at(topic: &Topic, offset: i64) -> Positions {
    [(TopicPartition::new(Arc::clone(&topic.name), 0), offset)].into_iter().collect()
}

#[tokio::test]
async fn the_test_says_what_time_it_is() {
    let events = topic("events", 1);
    let clock = clock();
    let log = MemoryLog::new(std::slice::from_ref(&events), clock.clone());
    append(&log, &events, "key", "first").await;
    append(&log, &events, "key", "second").await;
    clock.advance(HOUR);
    append(&log, &events, "key", "third").await;
    let timestamps: Vec<_> = read_all(&log, &events).await.iter().map(|record| record.timestamp).collect();
    assert_eq!(timestamps, [1_000_000_000, 1_000_000_000, 1_003_600_000]);
    assert_eq!(clock.now(), UNIX_EPOCH + Duration::from_secs(1_003_600));
}

#[tokio::test]
async fn the_clock_removes_records_whose_time_is_over() {
    let views = Topic { retention: Some(HOUR), ..topic("views", 1) };
    let events = topic("events", 1);
    let clock = clock();
    let log = MemoryLog::new(&[views.clone(), events.clone()], clock.clone());
    for topic in [&views, &events] {
        append_all(&log, topic, "key", numbered(10)).await;
    }
    clock.advance(HOUR / 2);
    append_all(&log, &views, "key", numbered(5)).await;
    clock.advance(HOUR / 2);
    assert_eq!(starts(&log, &views).await, at(&views, 0), "kept for an hour is not shorter than an hour");
    let mut reader = log.read(at(&views, 7));
    assert_eq!(next_batch(&mut reader).await.records.len(), 8);

    clock.advance(Duration::from_millis(1));
    assert_eq!(starts(&log, &views).await, at(&views, 10));
    assert_eq!(starts(&log, &events).await, at(&events, 0));
    assert_eq!(read_all(&log, &events).await.len(), 10);
    let offsets: Vec<_> = read_all(&log, &views).await.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [10, 11, 12, 13, 14], "0 asks for what is left");
    for lost in [1, 9] {
        let error = next_error(&mut log.read(at(&views, lost))).await;
        assert!(matches!(error, LogError::OutOfRange { offset, .. } if offset == lost), "{error}");
    }
    assert_eq!(next_batch(&mut log.read(at(&views, 10))).await.records.len(), 5);

    clock.advance(HOUR);
    assert_eq!(starts(&log, &views).await, at(&views, 15));
    assert_eq!(ends(&log, &views).await, at(&views, 15));
    let position = append(&log, &views, "key", "next").await;
    assert_eq!(position.offset, 15, "an offset never comes back");
    let rest = next_batch(&mut reader).await;
    assert_eq!(rest.records.len(), 1, "who had read all goes on");
}

#[tokio::test]
async fn a_reader_that_is_overtaken_by_retention_is_told_so() {
    let views = Topic { retention: Some(HOUR), ..topic("views", 1) };
    let clock = clock();
    let log = MemoryLog::new(std::slice::from_ref(&views), clock.clone());
    append_all(&log, &views, "key", numbered(20_000)).await;
    let mut reader = log.read(at(&views, 1));
    let first = next_batch(&mut reader).await;
    clock.advance(HOUR * 2);
    append(&log, &views, "key", "young").await;
    // What was on its way to the reader comes; then it is told.
    let error = within_patience(async {
        let mut reached = first.reached;
        loop {
            match reader.next().await {
                Ok(balcony_event_log::Incoming::Records(batch)) => reached.merge(&batch.reached),
                Ok(other) => panic!("{other:?}"),
                Err(error) => return (error, reached),
            }
        }
    });
    let (error, reached) = error.await;
    assert!(matches!(error, LogError::OutOfRange { .. }), "{error}");
    assert!(!reached.covers(&at(&views, 20_000)));
}

#[tokio::test]
async fn keys_are_spread_and_each_keeps_its_partition() {
    let events = topic("events", 3);
    let log = MemoryLog::new(std::slice::from_ref(&events), clock());
    let mut used = BTreeSet::new();
    for key in 0..30 {
        let key = format!("key {key}");
        let first = append(&log, &events, &key, "first").await;
        let second = append(&log, &events, &key, "second").await;
        assert_eq!(first.partition, second.partition);
        used.insert(first.partition);
    }
    assert_eq!(used.len(), 3);
    let mut without_key = BTreeSet::new();
    for _ in 0..3 {
        without_key.insert(append(&log, &events, "", "payload").await.partition);
    }
    assert_eq!(without_key.len(), 3, "records without a key go around");
    let mut with_id = BTreeSet::new();
    for number in 0..20 {
        let id = format!("id {number}");
        let [first, again] = [append_with_id(&log, &events, &id).await, append_with_id(&log, &events, &id).await];
        assert_eq!(first.partition, again.partition, "{id}");
        with_id.insert(first.partition);
    }
    assert_eq!(with_id.len(), 3);
}

#[tokio::test]
async fn offsets_that_were_skipped_are_a_hole() {
    let events = topic("events", 1);
    let log = MemoryLog::new(std::slice::from_ref(&events), clock());
    let partition = TopicPartition::new(Arc::clone(&events.name), 0);
    append(&log, &events, "key", "0").await;
    log.skip(&partition, 3).expect("the partition is there");
    append(&log, &events, "key", "4").await;
    log.skip(&partition, 1).expect("the partition is there");
    let read = read_to(&mut log.read(at(&events, 0)), &Positions::new(), &at(&events, 6)).await;
    assert_eq!(read.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 4]);
    let missing = log.skip(&TopicPartition::new("no such topic", 0), 1);
    assert!(matches!(missing, Err(LogError::UnknownTopic { .. })), "{missing:?}");
    let missing = log.skip(&TopicPartition::new(Arc::clone(&events.name), 1), 1);
    assert!(matches!(missing, Err(LogError::Misconfigured(_))), "{missing:?}");
}

#[tokio::test]
async fn a_group_moves_its_partitions_whenever_its_members_change() {
    let (events, others) = (topic("events", 4), topic("others", 1));
    let log = MemoryLog::new(&[events.clone(), others.clone()], clock());
    let places = Mutex::new(Positions::new());
    let topics = [Arc::clone(&events.name), Arc::clone(&others.name)];
    let mut first = Member::new(log.join("group", &topics));
    first.run_until(&places, |first| first.assigned.len() == 5).await;
    let mut another_group = Member::new(log.join("another group", &topics));
    another_group.run_until(&places, |member| member.assigned.len() == 5).await;

    let mut second = Member::new(log.join("group", &topics[..1]));
    second.run_until(&places, |second| second.assigned.len() == 2).await;
    first.run_until(&places, |first| first.assigned.len() == 3).await;
    assert!(second.assigned.iter().all(|of| of.topic == events.name), "it joined for one topic");
    assert!(first.assigned.iter().all(|of| !second.assigned.contains(of)));

    within_patience(second.reader.close()).await;
    first.run_until(&places, |first| first.assigned.len() == 5).await;
    append(&log, &others, "key", "payload").await;
    first.run_until(&places, |first| first.read.len() == 1).await;
    assert_eq!(another_group.assigned.len(), 5);
}

#[tokio::test]
async fn readers_end_with_the_last_handle() {
    let events = topic("events", 1);
    let log = MemoryLog::new(std::slice::from_ref(&events), clock());
    let other_handle = log.clone();
    let mut reader = log.read(Positions::new());
    let mut waiting = log.join("group", &[Arc::clone(&events.name)]);
    within_patience(waiting.next()).await.expect("it is assigned the partition");
    drop(log);
    let mut from_start = other_handle.read(at(&events, 0));
    append(&other_handle, &events, "key", "payload").await;
    assert_eq!(next_batch(&mut from_start).await.records.len(), 1);
    drop(other_handle);
    for reader in [&mut reader, &mut waiting, &mut from_start] {
        assert!(matches!(next_error(reader).await, LogError::Closed));
    }
}

#[tokio::test]
async fn every_log_is_another() {
    let identities = [MemoryLog::new(&[], clock()), MemoryLog::new(&[], clock())].map(|log| async move {
        let again = log.clone().identity().await.expect("it has one");
        assert_eq!(log.identity().await.expect("it has one"), again);
        again
    });
    let [first, second] = identities;
    assert_ne!(first.await, second.await);
}

#[test]
fn outside_of_a_runtime_a_reader_is_refused() {
    let log = MemoryLog::new(&[], clock());
    let mut reader = log.read(Positions::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let error = runtime.block_on(next_error(&mut reader));
    assert!(matches!(error, LogError::Misconfigured(_)), "{error}");
}
