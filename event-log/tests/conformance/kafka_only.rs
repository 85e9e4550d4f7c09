use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balcony_event_log::kafka::KafkaLog;
use balcony_event_log::testing::eventually;
use balcony_event_log::{AppendError, EventLog, Incoming, LogError, Positions, Reader, Topic, TopicPartition};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::log_under_test::{LogUnderTest, Place, topic};
use crate::private_broker::PrivateBroker;
use crate::reading::{
    Member, PATIENCE, append, append_all, append_with_id, beginning, ends, message, next_batch, next_error, numbered,
    payloads_by_key, read_all, read_to, starts, within_patience,
};
use crate::transaction::Transaction;

fn servers(log: &LogUnderTest) -> &str {
    match &log.place {
        Place::Kafka { bootstrap_servers } => bootstrap_servers,
        _ => unreachable!("these tests run on Kafka only"),
    }
}

fn admin(log: &LogUnderTest) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", servers(log)).create().expect("an admin client can be made")
}

async fn config(log: &LogUnderTest, topic: &Topic) -> impl Fn(&str) -> String {
    let described = admin(log)
        .describe_configs([&ResourceSpecifier::Topic(&topic.name)], &AdminOptions::new())
        .await
        .expect("the cluster answers");
    let resource = described.into_iter().next().expect("one topic was asked for").expect("the topic is there");
    move |name| resource.get(name).and_then(|entry| entry.value.clone()).expect("the setting exists")
}

async fn remove_records_below(log: &LogUnderTest, partition: &TopicPartition, offset: i64) {
    let mut below = TopicPartitionList::new();
    below
        .add_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset))
        .expect("the partition can be named");
    admin(log).delete_records(&below, &AdminOptions::new()).await.expect("the cluster removes records");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_topics_keep_what_they_should() {
    let Some(log) = LogUnderTest::kafka() else { return };
    let views = Topic { retention: Some(Duration::from_secs(3_600)), ..topic("views", 2) };
    // Two processes may start at the same time.
    let topics = [log.events.clone(), views.clone()];
    let (first, second) = tokio::join!(KafkaLog::open(servers(&log), &topics), KafkaLog::open(servers(&log), &topics));
    let (first, second) = (first.expect("the log opens"), second.expect("the log opens"));
    assert_eq!(first.identity().await.expect("it has one"), second.identity().await.expect("it has one"));
    let events_config = config(&log, &log.events).await;
    assert_eq!(events_config("cleanup.policy"), "delete");
    assert_eq!(events_config("retention.ms"), "-1");
    assert_eq!(events_config("retention.bytes"), "-1");
    let views_config = config(&log, &views).await;
    assert_eq!(views_config("retention.ms"), "3600000");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_a_log_beside_others_makes_no_topics() {
    let Some(log) = LogUnderTest::kafka() else { return };
    let topics = [log.events.clone(), log.others.clone()];
    for _ in 0..2 {
        let refused = within_patience(KafkaLog::open_beside(servers(&log), &topics)).await.err();
        assert!(matches!(&refused, Some(LogError::UnknownTopic { topic }) if *topic == log.events.name), "{refused:?}");
    }
    append(&*log.open().await, &log.events, "key", "payload").await;
    let beside = KafkaLog::open_beside(servers(&log), &topics).await.expect("the log opens beside");
    assert_eq!(read_all(&beside, &log.events).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_would_lose_facts_are_refused() {
    let Some(log) = LogUnderTest::kafka() else { return };
    for (name, value) in [("cleanup.policy", "compact,delete"), ("retention.ms", "1000"), ("retention.bytes", "1000")] {
        let events = topic("events", 1);
        let wrong = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1"), (name, value)]
            .into_iter()
            .fold(NewTopic::new(&events.name, 1, TopicReplication::Fixed(1)), |topic, (name, value)| {
                topic.set(name, value)
            });
        admin(&log).create_topics([&wrong], &AdminOptions::new()).await.expect("the topic is made");
        let refused = within_patience(KafkaLog::open(servers(&log), std::slice::from_ref(&events))).await.err();
        let Some(LogError::Misconfigured(reason)) = refused else { panic!("{name}={value} gives {refused:?}") };
        assert!(reason.contains(&*events.name) && reason.contains(&format!("{name} is {value}")), "{reason}");
        assert!(reason.contains("--add-config"), "{reason}");
        let forgettable = Topic { retention: Some(Duration::from_secs(1)), ..events };
        KafkaLog::open(servers(&log), &[forgettable]).await.expect("a topic that may forget is taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_changed_to_lose_facts_is_named_while_the_log_is_open() {
    let Some(log) = LogUnderTest::kafka() else { return };
    let open = log.open().await;
    assert_eq!(open.ailments().await.expect("the cluster answers"), [""; 0]);
    for (retention, complaints) in [("604800000", 1), ("-1", 0)] {
        let changed = AlterConfig::new(ResourceSpecifier::Topic(&log.events.name)).set("retention.ms", retention);
        admin(&log).alter_configs([&changed], &AdminOptions::new()).await.expect("the setting can be changed");
        let ailments = eventually("the change is seen", PATIENCE, async || {
            let ailments = open.ailments().await.expect("the cluster answers");
            (ailments.len() == complaints).then_some(ailments)
        })
        .await;
        let names_it = |ailment: &String| {
            ailment.contains(&*log.events.name) && ailment.contains("retention.ms is 604800000 and has to be -1")
        };
        assert!(ailments.iter().all(names_it), "{ailments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_there_is_named() {
    if LogUnderTest::kafka().is_none() {
        return;
    }
    let refused = within_patience(KafkaLog::open("127.0.0.1:1", &[topic("events", 1)])).await.err();
    match refused {
        Some(LogError::Unavailable(reason)) => assert!(reason.contains("127.0.0.1:1"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_where_javas_producer_puts_them() {
    let Some(log) = LogUnderTest::kafka() else { return };
    let opened = log.open().await;
    // Hashes from the tests of Kafka's own `Utils.murmur2`, modulo three partitions.
    for (key, partition) in [("21", 0), ("foobar", 0), ("a-little-bit-long-string", 2), ("abc", 0)] {
        let position = append(&*opened, &log.events, key, "payload").await;
        assert_eq!(position.partition.partition, partition, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_holds_readers_back_and_its_end_lets_them_cover_the_log() {
    let Some(log) = LogUnderTest::kafka() else { return };
    let opened = log.open().await;
    let from = beginning(&*opened, &log.others).await;
    let mut reader = opened.read(from.clone());
    append(&*opened, &log.others, "key", "before").await;
    let mut transaction = Transaction::begin(servers(&log)).await;
    transaction.append(&log.others, 0, "committed");
    transaction.flush().await;
    append(&*opened, &log.others, "key", "after").await;
    // The record behind the transaction is acknowledged, so the end covers it, though nobody can read it yet.
    let to = ends(&*opened, &log.others).await;
    let before = next_batch(&mut reader).await;
    assert_eq!(payloads_by_key(&before.records)["key"], ["before"]);
    assert!(!before.reached.covers(&to));
    transaction.commit().await;
    let to_marker = ends(&*opened, &log.others).await;
    let rest = read_to(&mut reader, &before.reached, &to_marker).await;
    assert_eq!(rest.iter().map(|record| &record.payload[..]).collect::<Vec<_>>(), [&b"committed"[..], b"after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_are_gone_are_an_error_and_forgettable_records_are_not() {
    let Some(log) = LogUnderTest::kafka() else { return };
    let views = Topic { retention: Some(Duration::from_secs(3_600)), ..topic("views", 1) };
    let opened = KafkaLog::open(servers(&log), &[log.others.clone(), views.clone()]).await.expect("the log opens");
    let at = |topic: &Topic, offset| {
        [(TopicPartition::new(Arc::clone(&topic.name), 0), offset)].into_iter().collect::<Positions>()
    };
    for topic in [&log.others, &views] {
        append_all(&opened, topic, "key", numbered(10)).await;
        remove_records_below(&log, &TopicPartition::new(Arc::clone(&topic.name), 0), 4).await;
        assert_eq!(starts(&opened, topic).await, at(topic, 4));
    }
    for lost in [at(&log.others, 0), at(&log.others, 3), at(&views, 3)] {
        let error = next_error(&mut opened.read(lost)).await;
        assert!(matches!(error, LogError::OutOfRange { .. }), "{error}");
    }
    let left = read_to(&mut opened.read(at(&views, 0)), &at(&views, 0), &at(&views, 10)).await;
    assert_eq!(left.iter().map(|record| record.offset).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_and_comes_back_loses_nothing_and_is_used_again() {
    let Some(mut broker) = PrivateBroker::start().await else { return };
    let log = LogUnderTest::in_place(Place::Kafka { bootstrap_servers: broker.address() });
    let opened = log.open().await;
    let from = beginning(&*opened, &log.events).await;
    append_all(&*opened, &log.events, "key", numbered(10)).await;
    let mut reader = opened.read(from.clone());
    let mut reached = from;
    let to = ends(&*opened, &log.events).await;
    let mut read = read_to(&mut reader, &reached, &to).await;
    reached.merge(&to);
    let places = Mutex::new(Positions::new());
    let mut member = Member::new(opened.join("group", &[Arc::clone(&log.events.name)]));
    member.run_until(&places, |member| member.read.len() == 10).await;

    broker.kill();
    let refused = within_patience(opened.append(&log.events.name, message("key", "lost?"))).await;
    assert!(matches!(refused, Err(AppendError::Unknown(_) | AppendError::Unavailable(_))), "{refused:?}");

    let away = within_patience(opened.ends(&[Arc::clone(&log.events.name)])).await;
    assert!(matches!(away, Err(LogError::Unavailable(_))), "{away:?}");
    let error = next_error(&mut reader).await;
    assert!(matches!(error, LogError::Unavailable(_)), "{error}");

    broker.restart().await;

    let mut refusals = 0;
    while within_patience(opened.append(&log.events.name, message("key", "back"))).await.is_err() {
        refusals += 1;

        assert!(refusals < 10, "the producer finds the broker again");
    }
    let to = ends(&*opened, &log.events).await;
    while !reached.covers(&to) {
        match within_patience(reader.next()).await {
            Ok(Incoming::Records(batch)) => {
                reached.merge(&batch.reached);
                read.extend(batch.records);
            }
            Err(LogError::Unavailable(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    let payloads = &payloads_by_key(&read)["key"];
    assert_eq!(payloads[..10], numbered(10).collect::<Vec<_>>());
    assert_eq!(payloads.last().map(String::as_str), Some("back"));
    assert_eq!(read, read_all(&*opened, &log.events).await);
    // The member goes on too, whether its group has moved its partitions meanwhile or not.
    while !places.lock().expect("nobody panics with it").covers(&to) {
        within_patience(member.step_over_outages(&places)).await;
    }
    assert_eq!(member.read, read);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stays_in_its_partition_when_partitions_are_added() {
    let Some(log) = LogUnderTest::kafka() else { return };
    let before = log.open().await;
    let count = ends(&*before, &log.events).await.len();
    let keys: Vec<String> = (0..50).map(|key| format!("key {key}, of some length: {}", "x".repeat(key))).collect();
    let mut places = Vec::new();
    for key in &keys {
        places.push(append(&*before, &log.events, key, "before").await.partition);
    }

    let more = [NewPartitions::new(&log.events.name, count + 5)];
    let grown = admin(&log).create_partitions(&more, &AdminOptions::new()).await.expect("the cluster answers");
    grown.into_iter().next().expect("one topic was named").expect("the topic grows");
    eventually("the partitions are there", PATIENCE, async || {
        let opened = log.open().await;
        (ends(&*opened, &log.events).await.len() == count + 5).then_some(())
    })
    .await;

    let opened = log.open().await;
    let count_of = |count: usize| i32::try_from(count).expect("few partitions");
    opened.keep_to(&BTreeMap::from([(Arc::clone(&log.events.name), count_of(count))]));
    for (key, place) in keys.iter().zip(&places) {
        assert_eq!(append(&*opened, &log.events, key, "after").await.partition, *place, "{key}");
    }
    let keyless = append(&*opened, &log.events, "", "without a key").await;
    assert!(keyless.partition.partition < count_of(count));
    for number in 0..20 {
        let id = format!("id {number}");
        let [first, again] =
            [append_with_id(&*opened, &log.events, &id).await, append_with_id(&*opened, &log.events, &id).await];
        assert_eq!(first.partition, again.partition, "{id}");
    }
    assert_eq!(ends(&*opened, &log.events).await.len(), count);
    assert_eq!(starts(&*opened, &log.events).await.len(), count);
    let unused: Positions = (count..count + 5)
        .map(|number| (TopicPartition::new(Arc::clone(&log.events.name), count_of(number)), 0))
        .collect();
    assert_eq!(opened.unused().await.expect("the log answers"), unused);
    let mut member = opened.join("one member", &[Arc::clone(&log.events.name)]);
    let assigned = within_patience(member.next()).await;
    assert!(matches!(&assigned, Ok(Incoming::Assigned(all)) if all.len() == count), "{assigned:?}");
}

/// Deletes `topic`, and waits until the cluster says so.
async fn delete(log: &LogUnderTest, topic: &Topic) {
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let deleted = admin(log).delete_topics(&[&topic.name], &options).await.expect("the cluster answers");
    deleted.into_iter().next().expect("one topic was named").expect("the topic is deleted");
    eventually("the topic is gone", PATIENCE, async || {
        KafkaLog::open_beside(servers(log), std::slice::from_ref(topic)).await.err()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_deleted_is_missed_by_everyone() {
    let Some(log) = LogUnderTest::kafka() else { return };
    let opened = log.open().await;
    let names = [Arc::clone(&log.events.name)];
    append(&*opened, &log.events, "key", "payload").await;
    let from = beginning(&*opened, &log.events).await;
    let to = ends(&*opened, &log.events).await;
    let mut reader = opened.read(from.clone());
    read_to(&mut reader, &from, &to).await;
    let places = Mutex::new(Positions::new());
    let mut member = Member::new(opened.join(&log.events.name, &names));
    member.run_until(&places, |_| places.lock().expect("nobody panics with it").covers(&to)).await;

    delete(&log, &log.events).await;
    let is_missed = |error: &LogError| matches!(error, LogError::UnknownTopic { topic } if *topic == log.events.name);
    let lost = within_patience(opened.append(&log.events.name, message("key", "lost"))).await;
    assert!(matches!(&lost, Err(AppendError::UnknownTopic { topic }) if *topic == log.events.name), "{lost:?}");
    let starts = within_patience(opened.starts(&names)).await;
    assert!(starts.as_ref().is_err_and(is_missed), "{starts:?}");
    let ends = within_patience(opened.ends(&names)).await;
    assert!(ends.as_ref().is_err_and(is_missed), "{ends:?}");
    let readers = [reader, member.reader, opened.read(from), opened.join("another group", &names)];
    for (number, mut reader) in readers.into_iter().enumerate() {
        let error = final_error(&mut reader).await;
        assert!(is_missed(&error), "reader {number}: {error}");
        assert!(matches!(next_error(&mut reader).await, LogError::Closed));
    }
    // The other topic is still there.
    append(&*opened, &log.others, "key", "payload").await;
    assert_eq!(read_all(&*opened, &log.others).await.len(), 1);
}

/// The error that ends `reader`, after whatever its group still says.
async fn final_error(reader: &mut Reader) -> LogError {
    within_patience(async {
        loop {
            match reader.next().await {
                Ok(Incoming::Revoked(_)) => {}
                Ok(other) => panic!("{other:?}"),
                Err(error) => return error,
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_find_a_broker_that_has_another_address() {
    let Some(mut broker) = PrivateBroker::start().await else { return };
    let log = LogUnderTest::in_place(Place::Kafka { bootstrap_servers: broker.bootstrap_address() });
    let opened = log.open().await;
    append_all(&*opened, &log.events, "key", numbered(10)).await;
    let places = Mutex::new(Positions::new());
    let mut member = Member::new(opened.join("group", &[Arc::clone(&log.events.name)]));
    member.run_until(&places, |member| member.read.len() == 10).await;
    let from = ends(&*opened, &log.events).await;
    let mut reader = opened.read(from.clone());

    broker.kill();
    let error = next_error(&mut reader).await;
    assert!(matches!(error, LogError::Unavailable(_)), "{error}");
    broker.move_away();
    broker.restart().await;
    eventually("the producer finds the broker", PATIENCE, async || {
        opened.append(&log.events.name, message("key", "moved")).await.ok()
    })
    .await;
    tokio::join!(
        within_patience(read_on_until(&mut reader, &from, b"moved")),
        within_patience(read_on_until(&mut member.reader, &from, b"moved")),
    );
}

/// Reads until there is a record with this payload, whatever is away meanwhile; what is assigned is read from `from`.
async fn read_on_until(reader: &mut Reader, from: &Positions, payload: &[u8]) {
    loop {
        match reader.next().await {
            Ok(Incoming::Records(batch)) if batch.records.iter().any(|record| record.payload == payload) => return,
            Ok(Incoming::Assigned(_)) => reader.start(from.clone()),
            Ok(_) | Err(LogError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
