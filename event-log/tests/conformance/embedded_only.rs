use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::testing::eventually;
use balcony_event_log::{AppendError, EventLog, LogError, Position, Positions, Topic};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::log_under_test::topic;
use crate::reading::{
    PATIENCE, append, append_all, ends, message, next_batch, next_error, numbered, payloads_by_key, read_all,
    starts_after_removal, within_patience,
};

struct LogFile {
    _directory: TempDir,
    path: PathBuf,
}

fn log_file() -> LogFile {
    let directory = tempfile::tempdir().expect("a directory for the log");
    let path = directory.path().join("log.db");
    LogFile { _directory: directory, path }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_for_a_while_refuses_appends_and_then_takes_them() {
    let file = log_file();
    let events = topic("events", 1);
    let log = EmbeddedLog::open(&file.path, std::slice::from_ref(&events)).expect("the log opens");
    let before = append(&log, &events, "key", "before").await;

    let other_process = Connection::open(&file.path).expect("the file opens");
    other_process.execute_batch("BEGIN IMMEDIATE").expect("the file can be locked");
    let refused = within_patience(log.append(&events.name, message("key", "refused"))).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    assert_eq!(read_all(&log, &events).await.len(), 1, "reading goes on");
    other_process.execute_batch("ROLLBACK").expect("the lock can be given back");

    let after = append(&log, &events, "key", "after").await;
    assert!(after.offset > before.offset);
    assert_eq!(payloads_by_key(&read_all(&log, &events).await)["key"], ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_file_cannot_take_is_not_there_later() {
    let file = log_file();
    let events = topic("events", 1);
    let log = EmbeddedLog::open(&file.path, std::slice::from_ref(&events)).expect("the log opens");
    append(&log, &events, "key", "before").await;
    let other_process = Connection::open(&file.path).expect("the file opens");
    other_process
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT raise(ABORT, 'disk I/O error'); END")
        .expect("a trigger can be made");
    let refused = within_patience(log.append(&events.name, message("key", "refused"))).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    other_process.execute_batch("DROP TRIGGER full").expect("the trigger can be removed");
    append(&log, &events, "key", "after").await;
    drop(log);
    let log = EmbeddedLog::open(&file.path, std::slice::from_ref(&events)).expect("the log opens");
    assert_eq!(payloads_by_key(&read_all(&log, &events).await)["key"], ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_whose_time_is_over_are_removed_and_their_offsets_never_come_back() {
    let file = log_file();
    let views = Topic { retention: Some(Duration::ZERO), ..topic("views", 1) };
    let events = topic("events", 1);
    let topics = [views.clone(), events.clone()];
    let mut positions: Vec<Position> = Vec::new();
    {
        let log = EmbeddedLog::open(&file.path, &topics).expect("the log opens");
        append(&log, &events, "key", "kept").await;
        positions.extend(append_all(&log, &views, "key", numbered(100)).await);
    }
    // Opening removes them, beside whatever else is going on.
    let log = EmbeddedLog::open(&file.path, &topics).expect("the log opens");
    let partition = positions[0].partition.clone();
    let start = starts_after_removal(&log, &views).await.next_offset(&partition);
    assert_eq!(start, positions[99].offset);
    // Where the topic begins is said before the rows are gone, and whoever asks for 0 reads what is left.
    let left = eventually("the rows are gone", PATIENCE, async || {
        let left = read_all(&log, &views).await;
        (left.len() == 1).then_some(left)
    })
    .await;
    assert_eq!(left[0].position(), positions[99], "the last record of all stays");
    let names = [Arc::clone(&views.name), Arc::clone(&events.name)];
    assert_eq!(log.counts(&names).await.expect("the log answers"), [Some(1), Some(1)]);
    let removed = [(partition.clone(), positions[50].offset)].into_iter().collect();
    let error = next_error(&mut log.read(removed)).await;
    assert!(matches!(error, LogError::OutOfRange { .. }), "{error}");
    assert_eq!(payloads_by_key(&read_all(&log, &events).await)["key"], ["kept"]);
    drop(log);
    let log = EmbeddedLog::open(&file.path, &topics).expect("the log opens");
    assert!(append(&log, &views, "key", "next").await.offset > positions[99].offset);
    let caught_up = Positions::after(&positions[99]);
    assert_eq!(next_batch(&mut log.read(caught_up)).await.records.len(), 1, "who had read all goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_end_with_the_log() {
    let file = log_file();
    let events = topic("events", 1);
    let log = EmbeddedLog::open(&file.path, std::slice::from_ref(&events)).expect("the log opens");
    let mut reader = log.read(ends(&log, &events).await);
    drop(log);
    assert!(matches!(next_error(&mut reader).await, LogError::Closed));
}

#[test]
fn a_file_that_is_no_log_is_refused_and_left_as_it_is() {
    let file = log_file();
    std::fs::write(&file.path, "a letter, more than long enough to be read as the head of a database ".repeat(20))
        .expect("the file can be written");
    let refused = EmbeddedLog::open(&file.path, &[]).err();
    assert!(matches!(refused, Some(LogError::Misconfigured(_))), "{refused:?}");

    let file = log_file();
    Connection::open(&file.path)
        .and_then(|database| database.execute_batch("CREATE TABLE letters (text TEXT)"))
        .expect("another database can be made");
    let refused = EmbeddedLog::open(&file.path, &[]).err();
    assert!(matches!(refused, Some(LogError::Misconfigured(_))), "{refused:?}");
}
