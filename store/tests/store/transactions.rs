use std::time::Duration;

use balcony_event_log::{Positions, TopicPartition};
use balcony_store::{Scratch, StoreError, Uuid};

use super::{at, insert, model, names, open, partition};

on_both! {
    rows_and_checkpoint_are_kept_together_or_not_at_all
    whoever_lost_a_partition_cannot_move_its_checkpoint
    a_topic_begins_once_and_its_newer_partitions_at_their_beginning
    a_part_of_a_transaction_is_taken_back_by_itself
    refusals_are_told_from_faults
    a_transaction_that_is_given_up_while_it_begins_is_nobody_elses
}

/// Whoever gives up may do so at any moment.
async fn a_transaction_that_is_given_up_while_it_begins_is_nobody_elses(scratch: Scratch) {
    let (_database, writer) = open(scratch.settings()).await;
    for number in 0..150 {
        let moment = Duration::from_micros(number * 10);
        drop(tokio::time::timeout(moment, writer.snapshot()).await);
        drop(tokio::time::timeout(moment, writer.begin()).await);
        insert(&writer, &[(number.into(), "a", 1)]).await;
    }
    assert_eq!(names(&writer).await.len(), 150);
}

async fn rows_and_checkpoint_are_kept_together_or_not_at_all(scratch: Scratch) {
    let (_database, writer) = open(scratch.settings()).await;
    let mut tx = writer.begin().await.unwrap();
    let mut claim = tx.claim(&[partition(0), partition(1)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(claim.positions().next_offset(&partition(0)), 0);

    let sql = "INSERT INTO things (id, name, number) VALUES ($1, 'a', 1)";
    let mut tx = writer.begin().await.unwrap();
    tx.advance(&claim, &at(0, 5)).await.unwrap();
    tx.execute(sql, &[Uuid::from_u128(1).into()]).await.unwrap();
    drop(tx);
    let mut tx = writer.begin().await.unwrap();
    assert!(!tx.stands_at(&claim, &at(0, 5)).await.unwrap());
    assert_eq!(tx.fetch::<(i64,)>("SELECT number FROM things", &[]).await.unwrap(), []);

    tx.advance(&claim, &at(0, 5)).await.unwrap();
    tx.execute(sql, &[Uuid::from_u128(1).into()]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(names(&writer).await, ["a"]);
    let mut tx = writer.begin().await.unwrap();
    assert!(tx.stands_at(&claim, &at(0, 5)).await.unwrap());
    // Doing the same again is not possible: the checkpoint has moved.
    assert!(matches!(tx.advance(&claim, &at(0, 5)).await, Err(StoreError::Fenced(_))));
    drop(tx);

    claim.advanced(&at(0, 5));
    let mut tx = writer.begin().await.unwrap();
    let mut both = at(0, 6);
    both.merge(&at(1, 9));
    tx.advance(&claim, &both).await.unwrap();
    tx.commit().await.unwrap();
}

async fn whoever_lost_a_partition_cannot_move_its_checkpoint(scratch: Scratch) {
    let (_database, writer) = open(scratch.settings()).await;
    let claim = async |partitions: &[TopicPartition]| {
        let mut tx = writer.begin().await.unwrap();
        let claim = tx.claim(partitions).await.unwrap();
        tx.commit().await.unwrap();
        claim
    };
    let zombie = claim(&[partition(0), partition(1)]).await;
    let owner = claim(&[partition(1)]).await;

    let mut both = at(0, 3);
    both.merge(&at(1, 3));
    let mut tx = writer.begin().await.unwrap();
    assert!(matches!(tx.advance(&zombie, &both).await, Err(StoreError::Fenced(_))));
    drop(tx);
    let mut tx = writer.begin().await.unwrap();
    assert!(matches!(tx.advance(&owner, &at(0, 3)).await, Err(StoreError::Fenced(_))), "it was never claimed");
    drop(tx);
    for (claim, reached) in [(&owner, at(1, 3)), (&zombie, at(0, 3))] {
        let mut tx = writer.begin().await.unwrap();
        tx.advance(claim, &reached).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(claim(&[partition(1)]).await.positions(), at(1, 3));
}

async fn a_topic_begins_once_and_its_newer_partitions_at_their_beginning(scratch: Scratch) {
    let (database, _) = open(scratch.settings()).await;
    let writer = database.durable_writer(&database.live_or_new(&model()).await.unwrap());
    let of_others = TopicPartition::new("others", 0);
    let begin = async |start: &Positions| {
        let mut tx = writer.begin().await.unwrap();
        tx.begin_at(start).await.unwrap();
        tx.commit().await.unwrap();
    };
    let mut start = at(0, 7);
    start.merge(&at(1, 9));
    begin(&start).await;
    // Asked again, the topic has grown, and there is another.
    let mut later = at(0, 20);
    later.merge(&at(1, 21));
    later.merge(&at(2, 22));
    later.set(of_others.clone(), 4);
    begin(&later).await;

    let mut tx = writer.begin().await.unwrap();
    let claim = tx.claim(&[partition(0), partition(1), partition(2), of_others.clone()]).await.unwrap();
    let mut expected = start;
    expected.merge(&at(2, 0));
    expected.set(of_others, 4);
    assert_eq!(claim.positions(), expected);
}

async fn a_part_of_a_transaction_is_taken_back_by_itself(scratch: Scratch) {
    let (_database, writer) = open(scratch.settings()).await;
    let insert = "INSERT INTO things (id, name, number) VALUES ($1, $2, $3)";
    let mut tx = writer.begin().await.unwrap();
    for (number, name, kept) in [(1, "kept", true), (2, "taken back", false), (3, "kept, too", true)] {
        tx.begin_part().await.unwrap();
        let id = Uuid::from_u128(number as u128);
        tx.execute(insert, &[id.into(), name.into(), i64::from(number).into()]).await.unwrap();
        if !kept {
            tx.execute(insert, &[id.into(), name.into(), 0.into()]).await.unwrap_err();
        }
        tx.end_part(kept).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(names(&writer).await, ["kept", "kept, too"]);
}

async fn refusals_are_told_from_faults(scratch: Scratch) {
    let (_database, writer) = open(scratch.settings()).await;
    let mut tx = writer.begin().await.unwrap();
    let error = tx.execute("INSERT INTO nowhere VALUES (1)", &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    drop(tx);
    let mut tx = writer.begin().await.unwrap();
    let sql = "INSERT INTO things (id, name, number) VALUES ($1, $2, NULL)";
    let error = tx.execute(sql, &[Uuid::from_u128(1).into(), "x".into()]).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    drop(tx);
    // Another writer keeps SQLite's lock for longer than one waits for it.
    if !scratch.writes_at_once() {
        let (_other_database, other) = open(scratch.settings()).await;
        let _held = writer.begin().await.unwrap();
        let error = other.begin().await.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_database_that_is_away_is_a_fault_that_passes_and_no_secret_shows() {
    use balcony_store::{Database, DatabasePlace, Settings};

    let settings = |url| Settings { namespace: "scratch".parse().unwrap(), place: DatabasePlace::Postgres { url } };
    let url = "postgres://somebody:hush@127.0.0.1:1/somewhere".to_owned();
    let error = Database::open(&settings(url)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let url = "no url with hush".to_owned();
    let error = Database::open(&settings(url)).await.unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured(_)));
    assert!(!error.to_string().contains("hush"));
}
