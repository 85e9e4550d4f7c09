use std::collections::BTreeMap;

use balcony_event_log::{Position, TopicPartition};
use balcony_store::{BuildOptions, Database, Founding, Lost, Mark, Scratch, Uuid};

use futures_util::future::join_all;

use super::model;

on_both! {
    an_installation_is_founded_once_and_may_get_more_topics
    an_installation_has_one_key_whoever_comes_first
    a_mark_only_moves_on
    what_is_lost_counts_once
    a_database_is_told_from_others_where_processes_share_it
}

fn founding(id: u128, log: &str, topics: &[(&str, i32)]) -> Founding {
    let partitions: BTreeMap<_, _> = topics.iter().map(|(topic, count)| ((*topic).into(), *count)).collect();
    Founding { id: Uuid::from_u128(id), log: log.to_owned(), partitions }
}

async fn an_installation_is_founded_once_and_may_get_more_topics(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    assert_eq!(database.founding().await.unwrap(), None);
    let first = founding(1, "ours", &[("events", 6)]);
    assert_eq!(database.found(&first).await.unwrap(), first);
    assert_eq!(database.found(&founding(2, "theirs", &[("events", 12)])).await.unwrap(), first);
    let more = founding(3, "ours, of two topics", &[("events", 12), ("views", 12)]);
    let grown = founding(1, "ours, of two topics", &[("events", 6), ("views", 12)]);
    assert_eq!(database.found(&more).await.unwrap(), grown);
    assert_eq!(database.found(&first).await.unwrap(), grown, "a program with fewer topics takes none away");
    assert_eq!(database.founding().await.unwrap(), Some(grown));
}

async fn an_installation_has_one_key_whoever_comes_first(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let at_once = join_all((1..=8).map(|byte| {
        let database = database.clone();
        async move { database.installation_key(&[byte; 32]).await.unwrap() }
    }));
    let keys = at_once.await;
    assert!((1..=8).any(|byte| keys[0] == [byte; 32]), "{keys:?}");
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    drop(database);
    let again = Database::open(scratch.settings()).await.unwrap();
    assert_eq!(again.installation_key(&[9; 32]).await.unwrap(), keys[0]);
}

fn mark(partition: i32, offset: i64, digest: u128) -> Mark {
    let position = Position { partition: TopicPartition::new("events", partition), offset };
    Mark { position, digest: Uuid::from_u128(digest) }
}

async fn a_mark_only_moves_on(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    database.mark(&[mark(0, 5, 1), mark(1, 2, 2)]).await.unwrap();
    database.mark(&[mark(0, 4, 3), mark(1, 3, 4)]).await.unwrap();
    let mut marks = database.marks().await.unwrap();
    marks.sort_by_key(|mark| mark.position.partition.partition);
    assert_eq!(marks, [mark(0, 5, 1), mark(1, 3, 4)]);
}

async fn what_is_lost_counts_once(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let one = database.live_or_new(&model()).await.unwrap();
    let other = database.begin_build(&model(), BuildOptions::default()).await.unwrap();
    let lost = |first_offset, next_offset| {
        let partition = TopicPartition::new("events", 0);
        Lost { partition, first_offset, next_offset }
    };
    for told in [&[lost(2, 5)][..], &[lost(2, 9), lost(20, 21)], &[lost(2, 7)]] {
        database.note_lost(&one, told).await.unwrap();
    }
    assert_eq!(database.lost(&one).await.unwrap(), [lost(2, 9), lost(20, 21)]);
    assert_eq!(database.lost(&one).await.unwrap().iter().map(Lost::count).sum::<i64>(), 8);
    assert!(database.lost(&other).await.unwrap().is_empty());
}

async fn a_database_is_told_from_others_where_processes_share_it(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let own = database.own_identity().await.unwrap();
    assert_eq!(own.is_some(), scratch.writes_at_once());
    let again = Database::open(scratch.settings()).await.unwrap();
    assert_eq!(again.own_identity().await.unwrap(), own);
    #[cfg(feature = "postgres")]
    if let Some(url) = scratch.url() {
        let other = Scratch::postgres_at(url).await.unwrap();
        let other = Database::open(other.settings()).await.unwrap().own_identity().await.unwrap();
        assert!(other.is_some() && other != own);
    }
}
