//! A log that is tied to a database.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use balcony_event_log::memory::{Clock, MemoryLog};
use balcony_event_log::{
    AppendError, EventLog, Incoming, LogError, Message, Position, Positions, Topic, TopicPartition,
};
use balcony_projector::{BindError, BoundLog, Unrecognised};
use balcony_store::{Database, ReadModel, Scratch, Uuid};

const PARTITIONS: i32 = 3;

fn a_log(topic: &str) -> MemoryLog {
    a_log_at(topic, Clock::at(SystemTime::now()))
}

fn a_log_at(topic: &str, clock: Clock) -> MemoryLog {
    let topic = Topic { name: topic.into(), partitions: PARTITIONS, replication: 1, retention: None };
    MemoryLog::new(&[topic], clock)
}

async fn scratches() -> Vec<Scratch> {
    let mut scratches = vec![Scratch::sqlite_in_memory().unwrap()];
    scratches.extend(Scratch::postgres().await.unwrap());
    scratches
}

async fn bind(log: &MemoryLog, database: &Database) -> Result<Arc<BoundLog>, BindError> {
    BoundLog::bind(Arc::new(log.clone()), database).await
}

fn why(bound: Result<Arc<BoundLog>, BindError>) -> Unrecognised {
    match bound.err() {
        Some(BindError::Unrecognised(why)) => why,
        other => panic!("it is refused: {other:?}"),
    }
}

/// Appends `times` records, to every partition, that say `what`.
async fn fill(log: &dyn EventLog, times: usize, what: &str) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in 0..times {
        let message = Message { key: number.to_string().into_bytes(), payload: what.into(), ..Message::default() };
        positions.push(log.append("events", message).await.unwrap());
    }
    positions
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_first_founds_and_the_others_find_the_same() {
    for scratch in scratches().await {
        let (log, database) = (a_log("events"), Database::open(scratch.settings()).await.unwrap());
        assert_eq!(database.founding().await.unwrap(), None);
        let (first, second, third) = tokio::join!(bind(&log, &database), bind(&log, &database), bind(&log, &database));
        let founding = first.unwrap().founding().clone();
        assert_eq!(founding.partitions, BTreeMap::from([("events".into(), PARTITIONS)]));
        assert_eq!((second.unwrap().founding(), third.unwrap().founding()), (&founding, &founding));
        assert_eq!(database.founding().await.unwrap(), Some(founding));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_made_anew_is_refused_whatever_it_holds_by_now() {
    for scratch in scratches().await {
        let clock = Clock::at(SystemTime::now());
        let log = a_log_at("events", clock.clone());
        let database = Database::open(scratch.settings()).await.unwrap();
        let bound = bind(&log, &database).await.unwrap();
        fill(bound.as_ref(), 30, "ours").await;
        bound.look().await.unwrap();
        drop(bound);
        bind(&log, &database).await.expect("it is the same log");

        log.remake();
        assert!(matches!(why(bind(&log, &database).await), Unrecognised::Shorter { end: 0, .. }));
        clock.advance(Duration::from_millis(1));
        fill(&log, 100, "ours").await;
        // The same records, appended at another time.
        let differs = why(bind(&log, &database).await);
        assert!(matches!(differs, Unrecognised::Differs(_)), "{differs}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_made_anew_while_it_is_used_takes_nothing_more() {
    for scratch in scratches().await {
        let (log, database) = (a_log("events"), Database::open(scratch.settings()).await.unwrap());
        let bound = bind(&log, &database).await.unwrap();
        fill(bound.as_ref(), 30, "ours").await;
        bound.look().await.unwrap();
        log.remake();
        let message = || Message { key: b"1".to_vec(), ..Message::default() };
        let refused = bound.append("events", message()).await;
        assert!(matches!(&refused, Err(AppendError::Foreign(why)) if why.contains("were there before")), "{refused:?}");
        let names = ["events".into()];
        assert!(matches!(bound.ends(&names).await, Err(LogError::Misconfigured(_))));
        let partition = TopicPartition::new("events", 0);
        let mut reader = bound.read([(partition, 0)].into_iter().collect());
        assert!(matches!(reader.next().await, Err(LogError::Misconfigured(_))));
        assert!(matches!(bound.join("group", &names).next().await, Err(LogError::Misconfigured(_))));
        // Grown beyond what it had, it is still another one.
        fill(&log, 100, "theirs").await;
        assert!(matches!(bound.look().await, Err(LogError::Misconfigured(_))));
        assert!(matches!(bound.append("events", message()).await, Err(AppendError::Foreign(_))));
    }
}

/// Whoever has only appended recognises the log by what it appended and by what others have written down.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_made_anew_right_after_an_append_takes_nothing_more() {
    for scratch in scratches().await {
        let (log, database) = (a_log("events"), Database::open(scratch.settings()).await.unwrap());
        let (appends, looks) = (bind(&log, &database).await.unwrap(), bind(&log, &database).await.unwrap());
        fill(appends.as_ref(), 30, "ours").await;
        looks.look().await.unwrap();
        log.remake();
        let refused = appends.append("events", Message { key: b"1".to_vec(), ..Message::default() }).await;
        assert!(matches!(&refused, Err(AppendError::Foreign(why)) if why.contains("were there before")), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_and_other_names_are_refused() {
    for scratch in scratches().await {
        let (log, database) = (a_log("events"), Database::open(scratch.settings()).await.unwrap());
        bind(&log, &database).await.unwrap();
        assert_eq!(why(bind(&a_log("events"), &database).await), Unrecognised::Identity);
        let mistyped = why(bind(&a_log("evnets"), &database).await);
        assert_eq!(mistyped.to_string(), "the database knows the topics events, and these are evnets");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_state_of_the_database_goes_on_and_so_does_a_log_that_has_forgotten() {
    for scratch in scratches().await {
        let (log, database) = (a_log("events"), Database::open(scratch.settings()).await.unwrap());
        let bound = bind(&log, &database).await.unwrap();
        fill(bound.as_ref(), 30, "ours").await;
        bound.look().await.unwrap();
        drop(bound);
        // What came since is unknown to the database.
        fill(&log, 30, "ours").await;
        bind(&log, &database).await.expect("the log has only more");
        for (partition, end) in &log.ends(&["events".into()]).await.unwrap() {
            log.remove_below(partition, end).unwrap();
        }
        let bound = bind(&log, &database).await.expect("what is forgotten cannot differ");
        fill(bound.as_ref(), 30, "ours").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_has_made_is_taken_over_where_the_log_has_all_that_was_read() {
    for scratch in scratches().await {
        let (log, database) = (a_log("events"), Database::open(scratch.settings()).await.unwrap());
        fill(&log, 30, "ours").await;
        let model = ReadModel::new("things", 1, ["events"], "CREATE TABLE things (id BIGINT NOT NULL);");
        let generation = database.live_or_new(&model).await.unwrap();
        let ends = log.ends(&["events".into()]).await.unwrap();
        let mut tx = database.writer(&generation).begin().await.unwrap();
        let claim = tx.claim(&ends.partitions().cloned().collect::<Vec<_>>()).await.unwrap();
        tx.advance(&claim, &ends).await.unwrap();
        tx.commit().await.unwrap();

        assert!(matches!(why(bind(&a_log("evnets"), &database).await), Unrecognised::Topics { .. }));
        let founded = bind(&log, &database).await.unwrap().founding().clone();
        let identity = log.identity().await.unwrap();
        assert_eq!(founded.id, Uuid::new_v5(&Uuid::NAMESPACE_OID, identity.as_bytes()));
    }
    for scratch in scratches().await {
        let (log, database) = (a_log("events"), Database::open(scratch.settings()).await.unwrap());
        fill(&log, 3, "ours").await;
        let model = ReadModel::new("things", 1, ["events"], "CREATE TABLE things (id BIGINT NOT NULL);");
        let generation = database.live_or_new(&model).await.unwrap();
        let partition = TopicPartition::new("events", 0);
        let mut tx = database.writer(&generation).begin().await.unwrap();
        let claim = tx.claim(std::slice::from_ref(&partition)).await.unwrap();
        tx.advance(&claim, &[(partition, 50)].into_iter().collect()).await.unwrap();
        tx.commit().await.unwrap();
        assert!(matches!(why(bind(&log, &database).await), Unrecognised::Shorter { had: 50, .. }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_stay_empty_and_nobody_waits_for_them() {
    for scratch in scratches().await {
        let (log, database) = (a_log("events"), Database::open(scratch.settings()).await.unwrap());
        let bound = bind(&log, &database).await.unwrap();
        let before = fill(bound.as_ref(), 50, "before").await;
        log.add_partitions("events", 4).unwrap();
        drop(bound);
        let bound = bind(&log, &database).await.unwrap();
        let after = fill(bound.as_ref(), 50, "after").await;
        let partitions = |positions: &[Position]| -> Vec<i32> {
            positions.iter().map(|position| position.partition.partition).collect()
        };
        assert_eq!(partitions(&after), partitions(&before), "keys stay where they were");
        let names = ["events".into()];
        assert_eq!(bound.ends(&names).await.unwrap().len(), 3);
        assert_eq!(bound.starts(&names).await.unwrap().len(), 3);
        let unused: Positions = (3..7).map(|number| (TopicPartition::new("events", number), 0)).collect();
        assert_eq!(bound.unused().await.unwrap(), unused);
        let mut member = bound.join("group", &names);
        let Ok(Incoming::Assigned(assigned)) = member.next().await else { panic!("it is assigned something") };
        assert_eq!(assigned.len(), 3);
    }
}
