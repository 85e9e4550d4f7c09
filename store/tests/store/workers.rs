use std::time::Duration;

use balcony_store::{Database, Scratch, Uuid};

use super::run;

on_both! {
    workers_are_seen_until_they_leave_or_are_long_dead
}

async fn workers_are_seen_until_they_leave_or_are_long_dead(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let [lives, leaves, dies] = [1, 2, 3].map(Uuid::from_u128);
    for (worker, report) in [(lives, "first"), (leaves, "{}"), (dies, "{}"), (lives, "second")] {
        database.beat(worker, "things", report).await.unwrap();
    }
    let seen = database.workers().await.unwrap();
    assert_eq!((seen[0].id, seen[0].name.as_str(), seen[0].report.as_str()), (lives, "things", "second"));
    assert!(seen.len() == 3 && seen.iter().all(|worker| worker.seen_ago < Duration::from_secs(30)), "{seen:?}");
    database.leave(leaves).await.unwrap();

    for (minutes, known) in [(59, 2), (2, 1)] {
        age(&scratch, dies, Duration::from_mins(minutes)).await;
        database.beat(lives, "things", "third").await.unwrap();
        assert_eq!(database.workers().await.unwrap().len(), known, "after {minutes} minutes more");
    }
    assert_eq!(database.workers().await.unwrap()[0].id, lives);
}

/// Makes a worker seem to have been seen longer ago.
async fn age(scratch: &Scratch, worker: Uuid, by: Duration) {
    let by = by.as_millis();
    let sql = if scratch.writes_at_once() {
        format!("UPDATE scratch.workers SET seen_at = seen_at - {by} WHERE id = '{worker}'")
    } else {
        format!("UPDATE workers SET seen_at = seen_at - {by} WHERE id = x'{}'", worker.simple())
    };
    assert_eq!(run(scratch, &sql).await, 1);
}
