//! The embedded log read beside the process that writes it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::{AppendError, EventLog, Incoming, LogError, Positions, Topic};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::log_under_test::topic;
use crate::reading::{
    append, append_all, beginning, ends, message, next_batch, next_error, numbered, payloads_by_key, read_all, read_to,
    starts_after_removal, within_patience,
};

/// A folder with a log of two topics, and its file.
struct Logged {
    folder: TempDir,
    events: Topic,
    views: Topic,
}

fn logged() -> Logged {
    let folder = tempfile::tempdir().expect("a directory for the log");
    Logged { folder, events: topic("events", 1), views: topic("views", 1) }
}

impl Logged {
    fn writing(&self) -> EmbeddedLog {
        let topics = [self.events.clone(), self.views.clone()];
        EmbeddedLog::open(&self.folder.path().join("log.db"), &topics).expect("the log opens")
    }

    fn beside(&self) -> EmbeddedLog {
        self.beside_in(self.folder.path())
    }

    fn beside_in(&self, folder: &Path) -> EmbeddedLog {
        let topics = [self.events.clone(), self.views.clone()];
        EmbeddedLog::open_beside(&folder.join("log.db"), &topics).expect("the log opens beside")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_handle_appends_is_seen() {
    let logged = logged();
    let writing = logged.writing();
    append(&writing, &logged.events, "key", "before").await;
    let beside = logged.beside();
    assert_eq!(payloads_by_key(&read_all(&beside, &logged.events).await)["key"], ["before"]);
    assert_eq!(beside.identity().await.ok(), writing.identity().await.ok());

    let mut reached = ends(&beside, &logged.events).await;
    let mut reader = beside.read(reached.clone());
    for payload in numbered(20) {
        let position = append(&writing, &logged.events, "key", &payload).await;
        let to = Positions::after(&position);
        assert_eq!(ends(&beside, &logged.events).await, to, "what was acknowledged counts at once");
        let read = read_to(&mut reader, &reached, &to).await;
        assert_eq!(payloads_by_key(&read)["key"], [payload]);
        reached.merge(&to);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_topic_ends_behind_its_own_last_record() {
    let logged = logged();
    let writing = logged.writing();
    let event = append(&writing, &logged.events, "key", "event").await;
    append_all(&writing, &logged.views, "key", numbered(10)).await;
    let beside = logged.beside();
    assert_eq!(ends(&beside, &logged.events).await, Positions::after(&event));
    let view = append(&writing, &logged.views, "key", "view").await;
    assert_eq!(ends(&beside, &logged.events).await, Positions::after(&event));
    assert_eq!(ends(&beside, &logged.views).await, Positions::after(&view));
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_come_to_the_end_of_a_topic_that_has_been_quiet_for_long() {
    let logged = logged();
    let writing = Arc::new(logged.writing());
    let event = append(&*writing, &logged.events, "key", "event").await;
    let from = beginning(&*writing, &logged.events).await;
    let mut reader = writing.read(from.clone());
    read_to(&mut reader, &from, &Positions::after(&event)).await;

    let mut at_once = JoinSet::new();
    for _ in 0..1_000 {
        let (writing, views) = (writing.clone(), logged.views.clone());
        at_once.spawn(async move { append_all(&*writing, &views, "key", numbered(110)).await });
    }
    at_once.join_all().await;
    let beside = logged.beside();
    let to = ends(&beside, &logged.events).await;
    assert!(!Positions::after(&event).covers(&to), "its last record is too far back to be found");
    assert!(read_to(&mut reader, &Positions::after(&event), &to).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_read_without_its_writer_and_through_a_new_one() {
    let logged = logged();
    drop({
        let writing = logged.writing();
        append_all(&writing, &logged.events, "key", numbered(5)).await;
        writing
    });
    let beside = logged.beside();
    let from = beginning(&beside, &logged.events).await;
    let mut reader = beside.read(from.clone());
    let reached = ends(&beside, &logged.events).await;
    read_to(&mut reader, &from, &reached).await;

    let writing = logged.writing();
    append(&writing, &logged.events, "key", "5").await;
    let read = read_to(&mut reader, &reached, &ends(&beside, &logged.events).await).await;
    assert_eq!(payloads_by_key(&read)["key"], ["5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_read_as_a_writer_that_was_killed_left_it() {
    let logged = logged();
    let writing = logged.writing();
    append_all(&writing, &logged.events, "key", numbered(5)).await;
    let left = tempfile::tempdir().expect("another directory");
    for file in ["log.db", "log.db-wal"] {
        std::fs::copy(logged.folder.path().join(file), left.path().join(file)).expect("the file can be copied");
    }
    let beside = logged.beside_in(left.path());
    let by_key = payloads_by_key(&read_all(&beside, &logged.events).await);
    assert_eq!(by_key["key"], numbered(5).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_beside() {
    let logged = logged();
    let writing = logged.writing();
    append(&writing, &logged.events, "key", "payload").await;
    let beside = logged.beside();
    let refused = beside.append(&logged.events.name, message("key", "refused")).await;
    assert!(matches!(&refused, Err(AppendError::Unavailable(reason)) if reason.contains("reading")), "{refused:?}");
    assert_eq!(read_all(&writing, &logged.events).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_beside_is_assigned_everything_and_ends_with_its_log() {
    let logged = logged();
    let writing = logged.writing();
    append(&writing, &logged.events, "key", "payload").await;
    let beside = logged.beside();
    let mut reader = beside.join("group", std::slice::from_ref(&logged.events.name));
    match within_patience(reader.next()).await {
        Ok(Incoming::Assigned(partitions)) => assert_eq!(partitions.len(), 1),
        other => panic!("{other:?}"),
    }
    reader.start(Positions::new());
    assert_eq!(next_batch(&mut reader).await.records.len(), 1);
    drop(beside);
    assert!(matches!(next_error(&mut reader).await, LogError::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_were_removed_are_missed() {
    let mut logged = logged();
    let positions = append_all(&logged.writing(), &logged.views, "key", numbered(100)).await;
    let beside = logged.beside();
    logged.views.retention = Some(Duration::ZERO);
    let _writing = logged.writing();
    let partition = positions[0].partition.clone();
    let start = starts_after_removal(&beside, &logged.views).await.next_offset(&partition);
    assert_eq!(start, positions[99].offset);
    assert_eq!(read_all(&beside, &logged.views).await.len(), 1);
    let error = next_error(&mut beside.read([(partition, positions[50].offset)].into_iter().collect())).await;
    assert!(matches!(error, LogError::OutOfRange { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_log_none_is_made() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("data").join("log.db");
    let refused = EmbeddedLog::open_beside(&path, &[topic("events", 1)]).err();
    assert!(matches!(&refused, Some(LogError::Misconfigured(text)) if text.contains("no log")), "{refused:?}");
    assert!(!folder.path().join("data").exists());

    let logged = logged();
    drop(logged.writing());
    let file = logged.folder.path().join("log.db");
    let others = topic("others", 1);
    let refused = EmbeddedLog::open_beside(&file, std::slice::from_ref(&others)).err();
    assert!(matches!(&refused, Some(LogError::UnknownTopic { topic }) if *topic == others.name), "{refused:?}");

    std::fs::write(&file, "a letter, more than long enough to be read as the head of a database ".repeat(20))
        .expect("the file can be written");
    let refused = EmbeddedLog::open_beside(&file, &[]).err();
    assert!(matches!(refused, Some(LogError::Misconfigured(_))), "{refused:?}");
}
