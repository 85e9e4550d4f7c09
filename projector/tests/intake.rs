//! What is taken into the log from outside: each thing once, and whoever does it is seen.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::testing::eventually;
use balcony_event_log::{EventLog, Excerpt, Message, Record, Topic};
use balcony_projector::{Intake, IntakeError, Kind, Newest, Projection as _, Projector, State, Taken};
use balcony_store::{Database, Reader, Scratch, Uuid};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

fn topics() -> [Topic; 1] {
    [Topic { name: "things".into(), partitions: 1, replication: 1, retention: None }]
}

fn taken() -> Taken {
    Taken::new(["things".into()])
}

/// One process, on what is in the folder.
struct Process {
    log: Arc<dyn EventLog>,
    projector: Projector,
    intake: Intake,
}

impl Process {
    async fn start(folder: &TempDir, scratch: &Scratch) -> Self {
        let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(&folder.path().join("log.db"), &topics()).unwrap());
        let database = Database::open(scratch.settings()).await.unwrap();
        let reader = Reader::open(&database, vec![taken().read_model().clone()]).await;
        let mut projector = Projector::new(log.clone(), database, "test.");
        projector.start(taken());
        Self { intake: Intake::new(Newest::new(log.clone(), reader), &taken()), log, projector }
    }
}

fn message(payload: &str) -> Message {
    Message { payload: payload.into(), ..Message::default() }
}

/// What stands in the topic.
async fn records(log: &dyn EventLog) -> Vec<Record> {
    Excerpt::whole(log, &["things".into()]).await.unwrap().rest().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_in_is_known_at_once_and_after_a_restart() {
    let (folder, scratch, thing) = (tempfile::tempdir().unwrap(), Scratch::sqlite().unwrap(), Uuid::from_u128(1));
    let process = Process::start(&folder, &scratch).await;
    assert_eq!(process.intake.last(thing).await.unwrap(), None);
    process.intake.take("things", thing, 7, message("seven")).await.unwrap();
    assert_eq!(process.intake.last(thing).await.unwrap(), Some(7), "the read model has come to the log's end");
    process.intake.take("things", thing, 3, message("three")).await.unwrap();
    // Of no concern, and not parked.
    process.log.append("things", message("of others")).await.unwrap();
    process.projector.stop().await;
    drop((process.log, process.intake));

    let process = Process::start(&folder, &scratch).await;
    assert_eq!(process.intake.last(thing).await.unwrap(), Some(7));
    assert!(process.intake.has(thing, 3).await.unwrap() && !process.intake.has(thing, 4).await.unwrap());
    assert_eq!(process.intake.last(Uuid::from_u128(2)).await.unwrap(), None);
    let ids: Vec<_> =
        records(process.log.as_ref()).await.iter().map(|one| one.headers.get("ce_id").is_some()).collect();
    assert_eq!(ids, [true, true, false]);
    assert_eq!(process.projector.states()[0].parked, 0);
    process.projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_of_a_thing_is_noticed_once() {
    let (folder, scratch) = (tempfile::tempdir().unwrap(), Scratch::sqlite().unwrap());
    for expected in [&["a one new", "a two", "b one new"][..], &["a one new", "a two", "b one new", "a three"]] {
        let process = Process::start(&folder, &scratch).await;
        let last = if expected.len() == 4 { "three" } else { "one" };
        for (thing, state) in [("a", "one"), ("a", "one"), ("a", "two"), ("b", "one"), ("a", last)] {
            let text = |is_new| message(&format!("{thing} {state}{}", if is_new { " new" } else { "" }));
            process.intake.notice("things", thing, state, text).await.unwrap();
        }
        let records = records(process.log.as_ref()).await;
        let noticed: Vec<_> = records.iter().map(|one| String::from_utf8(one.payload.clone()).unwrap()).collect();
        assert_eq!(noticed, expected);
        process.projector.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_another_log_is_copied_once_however_often_that_breaks_off() {
    let (folder, scratch) = (tempfile::tempdir().unwrap(), Scratch::sqlite().unwrap());
    let topic: Arc<str> = "others".into();
    let there = [Topic { name: topic.clone(), partitions: 1, replication: 1, retention: None }];
    let path = folder.path().join("other.db");
    let theirs = EmbeddedLog::open(&path, &there).unwrap();
    let append = async |numbers: std::ops::Range<u32>| {
        for number in numbers {
            theirs.append(&topic, message(&number.to_string())).await.unwrap();
        }
    };
    append(0..10).await;
    let other = EmbeddedLog::open_beside(&path, &there).unwrap();
    let process = Process::start(&folder, &scratch).await;
    let is_even = |record: &Record| record.payload.last().is_some_and(|digit| digit % 2 == 0);
    for end in [10, 20, 30] {
        let enough = async || (records(process.log.as_ref()).await.len() >= end as usize / 2).then_some(());
        tokio::select! {
            ended = process.intake.copy(&other, &topic, "things", is_even) => panic!("{ended:?}"),
            () = eventually("enough is copied", PATIENCE, enough) => {}
        }
        append(end..end + 10).await;
    }
    let copied = records(process.log.as_ref()).await;
    let copied: Vec<String> = copied.into_iter().map(|one| String::from_utf8(one.payload).unwrap()).collect();
    let even: Vec<String> = (0..30).step_by(2).map(|number| number.to_string()).collect();
    assert_eq!(copied, even);
    process.projector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intake_is_seen_as_a_step_and_started_again_when_it_fails() {
    let (folder, scratch) = (tempfile::tempdir().unwrap(), Scratch::sqlite().unwrap());
    let mut process = Process::start(&folder, &scratch).await;
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = begun.clone();
    process.projector.start_intake("door", move || {
        let before = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match before {
                0 => Err(IntakeError::Outside("it is locked".to_owned())),
                1 => panic!("it is open"),
                _ => std::future::pending().await,
            }
        }
    });
    let state = eventually("it runs the third time", PATIENCE, async || {
        let door = process.projector.states().into_iter().find(|state| state.name == "door").unwrap();
        (begun.load(Ordering::Relaxed) == 3 && door.state == State::Running).then_some(door)
    })
    .await;
    assert_eq!(
        (state.kind, state.last_error.as_deref()),
        (Kind::Intake, Some("it panicked; the message is in the log"))
    );
    process.projector.stop().await;
}
