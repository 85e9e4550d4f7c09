use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use balcony_event_log::{AppendError, Excerpt, Headers, Incoming, LogError, Message, Positions, TopicPartition};

use crate::log_under_test::{LogUnderTest, topic};
use crate::reading::{
    Member, append, append_all, beginning, ends, message, next_error, numbered, payloads_by_key, read_all, read_to,
    starts, text, within_patience,
};

pub(crate) async fn a_record_is_read_as_it_was_appended(log: LogUnderTest) {
    let opened = log.open().await;
    let mut headers = Headers::new();
    headers.push("ce_id", b"1");
    headers.push("binary", &[0, 255, 128]);
    headers.push("empty", b"");
    headers.push("ce_id", b"again");
    let messages = [
        Message { key: b"key".to_vec(), headers, payload: vec![0, 159, 146, 150] },
        Message { key: Vec::new(), headers: Headers::new(), payload: Vec::new() },
    ];
    for message in &messages {
        opened.append(&log.others.name, message.clone()).await.expect("the log takes the record");
    }
    let read = read_all(&*opened, &log.others).await;
    let read: Vec<Message> = read
        .into_iter()
        .map(|record| Message { key: record.key, headers: record.headers, payload: record.payload })
        .collect();
    assert_eq!(read, messages);
}

pub(crate) async fn an_excerpt_ends_where_the_log_ended_when_it_was_asked_for(log: LogUnderTest) {
    let opened = log.open().await;
    let topics = [Arc::clone(&log.events.name)];
    assert_eq!(
        Excerpt::whole(&*opened, &topics).await.expect("the log answers").rest().await.expect("nothing").len(),
        0
    );
    append_all(&*opened, &log.events, "key", numbered(30)).await;
    let all = Excerpt::whole(&*opened, &topics).await.expect("the log answers");
    append_all(&*opened, &log.others, "key", numbered(3)).await;
    append_all(&*opened, &log.events, "key", numbered(5)).await;
    let read = within_patience(all.rest()).await.expect("records");
    assert_eq!(payloads_by_key(&read)["key"], numbered(30).collect::<Vec<_>>());

    let from = Positions::after(&read[9].position());
    let (to, mut some) = (ends(&*opened, &log.events).await, Vec::new());
    let mut later = Excerpt::between(&*opened, from, to.among([&read[9].partition]));
    while let Some(records) = within_patience(later.next()).await.expect("records") {
        assert!(!records.is_empty());
        some.extend(records);
    }
    assert_eq!(payloads_by_key(&some)["key"], numbered(30).skip(10).chain(numbered(5)).collect::<Vec<_>>());
}

pub(crate) async fn a_record_says_when_it_was_appended(log: LogUnderTest) {
    let opened = log.open().await;
    let before = log.milliseconds();
    append(&*opened, &log.events, "key", "payload").await;
    let after = log.milliseconds();
    let read = read_all(&*opened, &log.events).await;
    let timestamp = read[0].timestamp;
    assert!((before..=after).contains(&timestamp), "{timestamp} is from {before} to {after}");
}

pub(crate) async fn append_keeps_the_order_of_each_key(log: LogUnderTest) {
    let opened = log.open().await;
    let topic = &log.events.name;
    let mut writers = tokio::task::JoinSet::new();
    for key in 0..16 {
        let (opened, topic) = (Arc::clone(&opened), Arc::clone(topic));
        writers.spawn(async move {
            let key = key.to_string();
            for number in (0..60).step_by(3) {
                // Started one after the other without waiting in between.
                let (first, second, third) = tokio::join!(
                    biased;
                    opened.append(&topic, message(&key, number.to_string())),
                    opened.append(&topic, message(&key, (number + 1).to_string())),
                    opened.append(&topic, message(&key, (number + 2).to_string())),
                );
                for appended in [first, second, third] {
                    appended.expect("the log takes the record");
                }
            }
        });
    }
    within_patience(writers.join_all()).await;
    let by_key = payloads_by_key(&read_all(&*opened, &log.events).await);
    assert_eq!(by_key.len(), 16);
    for payloads in by_key.values() {
        assert_eq!(*payloads, numbered(60).collect::<Vec<_>>());
    }
}

pub(crate) async fn appended_positions_are_the_positions_read(log: LogUnderTest) {
    let opened = log.open().await;
    let mut appended = BTreeSet::new();
    for number in 0..100 {
        let payload = format!("payload {number}");
        let position = append(&*opened, &log.events, &format!("key {}", number % 7), &payload).await;
        appended.insert((position.partition, position.offset, payload));
    }
    let read = read_all(&*opened, &log.events).await;
    let read: BTreeSet<_> =
        read.into_iter().map(|record| (record.partition, record.offset, text(&record.payload))).collect();
    assert_eq!(read, appended);
}

pub(crate) async fn reading_starts_at_any_position(log: LogUnderTest) {
    let opened = log.open().await;
    let positions = append_all(&*opened, &log.events, "key", numbered(50)).await;
    let end = Positions::after(&positions[49]);
    for (number, position) in positions.iter().enumerate() {
        let from: Positions = [(position.partition.clone(), position.offset)].into_iter().collect();
        let read = read_to(&mut opened.read(from.clone()), &from, &end).await;
        assert_eq!(read[0].position(), *position);
        assert_eq!(read.len(), 50 - number);
    }
}

pub(crate) async fn a_reader_at_the_end_gets_what_comes(log: LogUnderTest) {
    let opened = log.open().await;
    append(&*opened, &log.events, "key", "before").await;
    let mut reached = ends(&*opened, &log.events).await;
    let mut reader = opened.read(reached.clone());
    for payload in numbered(200) {
        let position = append(&*opened, &log.events, &payload, &payload).await;
        let to = Positions::after(&position);
        let read = read_to(&mut reader, &reached, &to).await;
        assert_eq!(read.iter().map(|record| text(&record.payload)).collect::<Vec<_>>(), [payload]);
        reached.merge(&to);
    }
}

pub(crate) async fn every_subscriber_gets_everything(log: LogUnderTest) {
    let opened = log.open().await;
    let from = beginning(&*opened, &log.events).await;
    let mut early = opened.read(from.clone());
    for key in 0..6 {
        append_all(&*opened, &log.events, &key.to_string(), numbered(100)).await;
    }
    let mut late = opened.read(from.clone());
    let to = ends(&*opened, &log.events).await;
    for reader in [&mut early, &mut late] {
        let by_key = payloads_by_key(&read_to(reader, &from, &to).await);
        assert_eq!(by_key.len(), 6);
        assert!(by_key.values().all(|payloads| *payloads == numbered(100).collect::<Vec<_>>()));
    }
}

pub(crate) async fn reopening_keeps_everything_and_continues_the_offsets(log: LogUnderTest) {
    let mut appended = Vec::new();
    let mut identities = BTreeSet::new();
    for opening in 0..3 {
        let opened = log.open().await;
        identities.insert(opened.identity().await.expect("the log says who it is"));
        let payloads = numbered(20).map(|number| format!("{opening}.{number}"));
        appended.extend(append_all(&*opened, &log.events, "key", payloads).await);
    }
    assert_eq!(identities.len(), 1, "a log has one identity: {identities:?}");
    assert!(appended.is_sorted_by(|before, after| before.offset < after.offset));
    let read = read_all(&*log.open().await, &log.events).await;
    assert_eq!(read.iter().map(|record| record.position()).collect::<Vec<_>>(), appended);
}

pub(crate) async fn ends_name_every_partition(log: LogUnderTest) {
    let opened = log.open().await;
    let empty = ends(&*opened, &log.events).await;
    let partitions: Vec<_> = empty.partitions().map(|partition| partition.partition).collect();
    assert_eq!(partitions, (0..3).take(log.partitions()).collect::<Vec<_>>());
    assert!(Positions::new().covers(&empty), "nothing was appended and {empty:?} is the end");
    let position = append(&*opened, &log.events, "key", "payload").await;
    let grown = ends(&*opened, &log.events).await;
    assert_eq!(grown.next_offset(&position.partition), position.offset + 1);
    assert_eq!(grown.len(), empty.len());
}

pub(crate) async fn starts_are_the_beginning_while_nothing_was_removed(log: LogUnderTest) {
    let opened = log.open().await;
    let from = beginning(&*opened, &log.events).await;
    assert_eq!(starts(&*opened, &log.events).await, from);
    append_all(&*opened, &log.others, "key", numbered(5)).await;
    append_all(&*opened, &log.events, "key", numbered(5)).await;
    assert_eq!(starts(&*opened, &log.events).await, from);
    drop(opened);
    assert_eq!(starts(&*log.open().await, &log.events).await, from);
}

pub(crate) async fn the_records_of_each_topic_are_counted(log: LogUnderTest) {
    let opened = log.open().await;
    let topics = [Arc::clone(&log.others.name), Arc::clone(&log.events.name)];
    assert_eq!(opened.counts(&topics).await.expect("the log answers"), [Some(0), Some(0)]);
    append_all(&*opened, &log.events, "key", numbered(7)).await;
    append_all(&*opened, &log.others, "key", numbered(3)).await;
    assert_eq!(opened.counts(&topics).await.expect("the log answers"), [Some(3), Some(7)]);
    append_all(&*opened, &log.events, "another", numbered(2)).await;
    assert_eq!(opened.counts(&topics).await.expect("the log answers"), [Some(3), Some(9)]);
    assert_eq!(opened.counts(&topics[1..]).await.expect("the log answers"), [Some(9)]);
}

pub(crate) async fn reached_covers_the_ends_behind_a_hole(log: LogUnderTest) {
    let opened = log.open().await;
    let from = beginning(&*opened, &log.events).await;
    append_all(&*opened, &log.events, "key", numbered(5)).await;
    let mut tailing = opened.read(from.clone());
    read_to(&mut tailing, &from, &ends(&*opened, &log.events).await).await;
    let before_hole = ends(&*opened, &log.events).await;
    log.make_hole(&*opened).await;
    drop(opened);
    let opened = log.open().await;
    let to = ends(&*opened, &log.events).await;
    assert!(!before_hole.covers(&to), "the hole is at the end");
    assert_eq!(read_to(&mut opened.read(before_hole.clone()), &before_hole, &to).await, []);
    let position = append(&*opened, &log.events, "key", "5").await;
    let read = read_all(&*opened, &log.events).await;
    assert_eq!(payloads_by_key(&read)["key"], numbered(6).collect::<Vec<_>>());
    assert!(position.offset > before_hole.next_offset(&position.partition), "the hole has offsets");
}

pub(crate) async fn several_topics_are_read_by_one_reader(log: LogUnderTest) {
    let opened = log.open().await;
    for number in 0..50 {
        append(&*opened, &log.events, "event", &number.to_string()).await;
        append(&*opened, &log.others, "other", &number.to_string()).await;
    }
    let topics = [Arc::clone(&log.events.name), Arc::clone(&log.others.name)];
    let to = opened.ends(&topics).await.expect("the log says its ends");
    let from = to.partitions().map(|partition| (partition.clone(), 0)).collect();
    let by_key = payloads_by_key(&read_to(&mut opened.read(from), &Positions::new(), &to).await);
    assert_eq!(by_key["event"], numbered(50).collect::<Vec<_>>());
    assert_eq!(by_key["other"], numbered(50).collect::<Vec<_>>());
}

pub(crate) async fn a_reader_that_does_not_read_holds_nobody_up_and_misses_nothing(log: LogUnderTest) {
    const WRITERS: usize = 32;
    const RECORDS: usize = 1_000;
    let opened = log.open().await;
    let from = beginning(&*opened, &log.events).await;
    let mut idle = opened.read(from.clone());
    let mut busy = opened.read(from.clone());
    let mut writers = tokio::task::JoinSet::new();
    for key in 0..WRITERS {
        let (opened, topic) = (Arc::clone(&opened), log.events.clone());
        writers.spawn(async move {
            // More than any adapter may hold ahead of a reader: 32 MB in all.
            let padded = numbered(RECORDS).map(|number| format!("{number:>1000}"));
            append_all(&*opened, &topic, &key.to_string(), padded).await;
        });
    }
    within_patience(writers.join_all()).await;
    let to = ends(&*opened, &log.events).await;
    let expected: Vec<String> = numbered(RECORDS).map(|number| format!("{number:>1000}")).collect();
    for reader in [&mut busy, &mut idle] {
        let by_key = payloads_by_key(&read_to(reader, &from, &to).await);
        assert_eq!(by_key.len(), WRITERS);
        assert!(by_key.values().all(|payloads| *payloads == expected));
    }
}

pub(crate) async fn a_dropped_reader_leaves_the_others_reading(log: LogUnderTest) {
    let opened = log.open().await;
    let from = beginning(&*opened, &log.events).await;
    let mut stays = opened.read(from.clone());
    let goes = opened.read(from.clone());
    append(&*opened, &log.events, "key", "first").await;
    within_patience(goes.close()).await;
    append(&*opened, &log.events, "key", "second").await;
    let read = read_to(&mut stays, &from, &ends(&*opened, &log.events).await).await;
    assert_eq!(payloads_by_key(&read)["key"], ["first", "second"]);
}

pub(crate) async fn a_position_behind_the_end_is_out_of_range(log: LogUnderTest) {
    let opened = log.open().await;
    let position = append(&*opened, &log.events, "key", "payload").await;
    let from = [(position.partition.clone(), position.offset + 100)].into_iter().collect();
    let mut reader = opened.read(from);
    match next_error(&mut reader).await {
        LogError::OutOfRange { topic, partition, offset, .. } => {
            assert_eq!(TopicPartition::new(topic, partition), position.partition);
            assert_eq!(offset, position.offset + 100);
        }
        other => panic!("{other}"),
    }
    assert!(matches!(next_error(&mut reader).await, LogError::Closed));
}

pub(crate) async fn what_the_log_cannot_take_is_refused(log: LogUnderTest) {
    let opened = log.open().await;
    let large = opened.append(&log.events.name, message("key", vec![0; 2 << 20])).await;
    assert!(matches!(large, Err(AppendError::TooLarge)), "{large:?}");
    assert_eq!(read_all(&*opened, &log.events).await, []);
}

pub(crate) async fn a_topic_that_was_not_declared_is_named_by_every_method(log: LogUnderTest) {
    let opened = log.open().await;
    let names: Vec<_> = opened.topics().iter().map(|topic| Arc::clone(&topic.name)).collect();
    assert_eq!(names, [Arc::clone(&log.events.name), Arc::clone(&log.others.name)]);
    let undeclared = topic("undeclared", 1).name;
    let wanted = [Arc::clone(&log.events.name), Arc::clone(&undeclared)];

    let append = within_patience(opened.append(&undeclared, message("key", "payload"))).await;
    assert!(matches!(&append, Err(AppendError::UnknownTopic { topic }) if *topic == undeclared), "{append:?}");
    let starts = within_patience(opened.starts(&wanted)).await;
    assert!(matches!(&starts, Err(LogError::UnknownTopic { topic }) if *topic == undeclared), "{starts:?}");
    let ends = within_patience(opened.ends(&wanted)).await;
    assert!(matches!(&ends, Err(LogError::UnknownTopic { topic }) if *topic == undeclared), "{ends:?}");
    let from = wanted.iter().map(|topic| (TopicPartition::new(Arc::clone(topic), 0), 0)).collect();
    for mut reader in [opened.read(from), opened.join("group", &wanted)] {
        let error = next_error(&mut reader).await;
        assert!(matches!(&error, LogError::UnknownTopic { topic } if *topic == undeclared), "{error}");
        assert!(matches!(next_error(&mut reader).await, LogError::Closed));
        within_patience(reader.close()).await;
    }
}

pub(crate) async fn a_partition_that_is_not_there_is_refused(log: LogUnderTest) {
    let opened = log.open().await;
    let missing = TopicPartition::new(Arc::clone(&log.events.name), 3);
    let mut reader = opened.read([(missing, 0)].into_iter().collect());
    let error = next_error(&mut reader).await;
    assert!(matches!(&error, LogError::Misconfigured(reason) if reason.contains(&*log.events.name)), "{error}");
    assert!(matches!(next_error(&mut reader).await, LogError::Closed));
}

pub(crate) async fn a_member_reads_from_where_it_says(log: LogUnderTest) {
    let opened = log.open().await;
    let positions = append_all(&*opened, &log.events, "key", numbered(10)).await;
    let mut reader = opened.join("group", &[Arc::clone(&log.events.name)]);
    match within_patience(reader.next()).await {
        Ok(Incoming::Assigned(partitions)) => assert_eq!(partitions.len(), log.partitions()),
        other => panic!("{other:?}"),
    }
    let from: Positions = [(positions[4].partition.clone(), positions[4].offset)].into_iter().collect();
    reader.start(from.clone());
    let read = read_to(&mut reader, &from, &ends(&*opened, &log.events).await).await;
    assert_eq!(payloads_by_key(&read)["key"], ["4", "5", "6", "7", "8", "9"]);
}

pub(crate) async fn a_member_that_never_answered_leaves_its_group(log: LogUnderTest) {
    let opened = log.open().await;
    let topics = [Arc::clone(&log.events.name)];
    let group = log.events.name.to_string();
    let mut silent = opened.join(&group, &topics);
    assert!(matches!(within_patience(silent.next()).await, Ok(Incoming::Assigned(_))));
    within_patience(silent.close()).await;
    let mut next = Member::new(opened.join(&group, &topics));
    next.run_until(&Mutex::default(), |next| next.assigned.len() == log.partitions()).await;
}

pub(crate) async fn a_member_that_never_answers_gets_no_records(log: LogUnderTest) {
    let opened = log.open().await;
    let mut silent = opened.join("group", &[Arc::clone(&log.events.name)]);
    assert!(matches!(within_patience(silent.next()).await, Ok(Incoming::Assigned(_))));
    append_all(&*opened, &log.events, "key", numbered(10)).await;
    assert_eq!(read_all(&*opened, &log.events).await.len(), 10);
    tokio::select! {
        biased;
        came = silent.next() => panic!("it did not say from where: {came:?}"),
        () = std::future::ready(()) => {}
    }
    // It is a member as before, and may still answer.
    silent.start(Positions::new());
    let end = ends(&*opened, &log.events).await;
    assert_eq!(read_to(&mut silent, &Positions::new(), &end).await.len(), 10);
}

pub(crate) async fn members_share_the_partitions_and_take_over_from_one_that_leaves(log: LogUnderTest) {
    let opened = log.open().await;
    let topics = [Arc::clone(&log.events.name)];
    let group = log.events.name.to_string();
    // What the members have done, as a database would keep it.
    let places = Mutex::new(Positions::new());
    for key in 0..10 {
        append_all(&*opened, &log.events, &key.to_string(), numbered(10)).await;
    }
    let mut first = Member::new(opened.join(&group, &topics));
    first.run_until(&places, |member| member.read.len() == 100).await;
    assert_eq!(first.assigned.len(), log.partitions());

    let mut second = Member::new(opened.join(&group, &topics));
    if log.partitions() > 1 {
        let both = async {
            while first.assigned.len() == log.partitions() || second.assigned.is_empty() || first.assigned.is_empty() {
                tokio::select! {
                    () = first.step(&places) => {}
                    () = second.step(&places) => {}
                }
            }
        };
        within_patience(both).await;
        assert_eq!(first.assigned.len() + second.assigned.len(), log.partitions());
        assert!(first.assigned.iter().all(|partition| !second.assigned.contains(partition)));
    }
    within_patience(first.reader.close()).await;
    for key in 0..10 {
        append_all(&*opened, &log.events, &key.to_string(), (10..20).map(|number| number.to_string())).await;
    }
    let to = ends(&*opened, &log.events).await;
    second.run_until(&places, |_| places.lock().expect("no test panics while it holds this").covers(&to)).await;
    assert_eq!(second.assigned.len(), log.partitions());
    let mut read = first.read;
    read.extend(second.read);
    for payloads in payloads_by_key(&read).values() {
        assert_eq!(*payloads, numbered(20).collect::<Vec<_>>(), "nothing is read twice or missed");
    }
}
