use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use balcony_store::{BuildOptions, Claim, Database, GenerationState, Reader, Scratch, StoreError, Writer};
use tokio::time::Instant;

use super::{at, following, insert, model, open, partition, schemas, states, switch, until};

on_both! {
    readers_change_over_at_the_switch
    what_is_read_across_a_rollback_does_not_stand
    what_is_waited_for_in_one_generation_is_not_read_from_another
    a_reader_waits_for_progress
    a_reader_looks_although_it_is_told_of_others_all_the_time
    any_number_of_those_who_wait_look_as_often_as_one
    a_reader_sees_no_read_model_before_it_is_there
    a_reader_says_that_tables_are_lost
}

async fn readers_change_over_at_the_switch(scratch: Scratch) {
    let (database, writer) = open(scratch.settings()).await;
    let reader = Reader::open(&database, vec![model()]).await;
    insert(&writer, &[(1, "old", 1)]).await;
    let (generation, writer) = following(&database, BuildOptions::default()).await;
    insert(&writer, &[(1, "new", 1), (2, "new", 2)]).await;
    let read = async || -> Vec<(String,)> { reader.fetch("SELECT name FROM things ORDER BY id", &[]).await.unwrap() };
    assert_eq!(read().await, [("old".to_owned(),)]);
    switch(&database, &generation).await;
    until("the reader changes over", async || read().await.len() == 2).await;
    assert_eq!(states(&database).await, [(1, GenerationState::Retired), (2, GenerationState::Live)]);

    // The next switch drops what was retired before, unless it is to be kept.
    let (generation, _) = following(&database, BuildOptions { keep_old: true, ..BuildOptions::default() }).await;
    switch(&database, &generation).await;
    assert_eq!(states(&database).await.len(), 3);
    let (generation, _) = following(&database, BuildOptions::default()).await;
    switch(&database, &generation).await;
    assert_eq!(states(&database).await, [(3, GenerationState::Retired), (4, GenerationState::Live)]);
    assert_eq!(schemas(&scratch).await, ["scratch_things_3", "scratch_things_4"]);
    assert_eq!(database.live_or_new(&model()).await.unwrap(), generation);
}

async fn what_is_read_across_a_rollback_does_not_stand(scratch: Scratch) {
    let (database, _) = open(scratch.settings()).await;
    let reader = Reader::open(&database, vec![model()]).await;
    let (generation, writer) = following(&database, BuildOptions::default()).await;
    insert(&writer, &[(1, "new", 1)]).await;
    let rows = async || reader.fetch::<(String,)>("SELECT name FROM things", &[]).await.unwrap().len();
    let before = reader.standing();
    switch(&database, &generation).await;
    until("the reader is on the new generation", async || rows().await == 1).await;
    let error = reader.stayed_on(&before).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("switched"), "{error}");

    let before = reader.standing();
    database.roll_back("things", 1).await.unwrap();
    until("the reader is on the old one", async || rows().await == 0).await;
    let error = reader.stayed_on(&before).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("rolled back"), "{error}");
    reader.stayed_on(&reader.standing()).unwrap();
}

async fn what_is_waited_for_in_one_generation_is_not_read_from_another(scratch: Scratch) {
    let (database, old) = open(scratch.settings()).await;
    let reader = Reader::open(&database, vec![model()]).await;
    let (generation, new) = following(&database, BuildOptions::default()).await;
    let claim = |writer: Writer| async move {
        let mut tx = writer.begin().await.unwrap();
        let claim = tx.claim(&[partition(0)]).await.unwrap();
        tx.commit().await.unwrap();
        claim
    };
    let apply = async |writer: &Writer, claim: &Claim, name: &str| {
        insert(writer, &[(1, name, 1)]).await;
        let mut tx = writer.begin().await.unwrap();
        tx.advance(claim, &at(0, 1)).await.unwrap();
        tx.commit().await.unwrap();
    };
    let (on_old, on_new) = (claim(old.clone()).await, claim(new.clone()).await);

    let times = AtomicU32::new(0);
    let model = model();
    let read = || async {
        let has_come = reader.wait_for(&model, &at(0, 1), Instant::now() + Duration::from_secs(20)).await?;
        assert!(has_come);
        if times.fetch_add(1, Ordering::SeqCst) == 0 {
            switch(&database, &generation).await;
            let is_empty = async || reader.fetch::<(String,)>("SELECT name FROM things", &[]).await.unwrap().is_empty();
            until("the reader is on the new generation, which has not come so far", is_empty).await;
            let found = reader.fetch::<(String,)>("SELECT name FROM things", &[]).await;
            apply(&new, &on_new, "new").await;
            return found;
        }
        reader.fetch::<(String,)>("SELECT name FROM things", &[]).await
    };
    // Who works on a generation that is switched away from may not know that yet: for whoever reads it is the same when
    // this is committed just after the switch.
    apply(&old, &on_old, "old").await;
    assert_eq!(reader.undisturbed(read).await.unwrap(), [("new".to_owned(),)]);
    assert_eq!(times.load(Ordering::SeqCst), 2);
}

async fn a_reader_waits_for_progress(scratch: Scratch) {
    let (database, writer) = open(scratch.settings()).await;
    let generation = database.live_or_new(&model()).await.unwrap();
    // Of another process, where there can be one.
    let elsewhere =
        if scratch.writes_at_once() { Database::open(scratch.settings()).await.unwrap() } else { database.clone() };
    let reader = Reader::open(&elsewhere, vec![model()]).await;
    let mut tx = writer.begin().await.unwrap();
    let mut claim = tx.claim(&[partition(0)]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(reader.wait_for(&model(), &at(0, 0), Instant::now()).await.unwrap());
    assert!(!reader.wait_for(&model(), &at(0, 1), Instant::now()).await.unwrap());

    for next_offset in 1..20 {
        let wanted = at(0, next_offset);
        let patience = Instant::now() + Duration::from_secs(20);
        let waiting = tokio::spawn({
            let (reader, wanted) = (reader.clone(), wanted.clone());
            async move { reader.wait_for(&model(), &wanted, patience).await.unwrap() }
        });
        let mut tx = writer.begin().await.unwrap();
        tx.advance(&claim, &wanted).await.unwrap();
        tx.commit().await.unwrap();
        claim.advanced(&wanted);
        // Every other time nobody tells: whoever waits looks by itself.
        if next_offset % 2 == 0 {
            database.progress().announce(&generation, &wanted, &database.progress().incarnation());
        }
        assert!(waiting.await.unwrap(), "at {next_offset}");
    }
    assert_eq!(reader.checkpoints(&model()).await.unwrap(), at(0, 19));
}

async fn a_reader_looks_although_it_is_told_of_others_all_the_time(scratch: Scratch) {
    let (database, writer) = open(scratch.settings()).await;
    let reader = Reader::open(&database, vec![model()]).await;
    let (other, _) = following(&database, BuildOptions::default()).await;
    let telling = tokio::spawn({
        let (database, other) = (database.clone(), other.clone());
        async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            for next_offset in 1.. {
                ticks.tick().await;
                database.progress().announce(&other, &at(0, next_offset), &database.progress().incarnation());
            }
        }
    });
    let mut tx = writer.begin().await.unwrap();
    let claim = tx.claim(&[partition(0)]).await.unwrap();
    tx.commit().await.unwrap();
    let (model, wanted) = (model(), at(0, 1));
    let mut waiting = Box::pin(reader.wait_for(&model, &wanted, Instant::now() + Duration::from_secs(20)));
    let looked = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(looked.is_err(), "it is not there yet");
    let mut tx = writer.begin().await.unwrap();
    tx.advance(&claim, &wanted).await.unwrap();
    tx.commit().await.unwrap();
    assert!(waiting.await.unwrap(), "nobody told of it, and it was not looked for");
    telling.abort();
}

async fn any_number_of_those_who_wait_look_as_often_as_one(scratch: Scratch) {
    const WAITERS: usize = 300;
    let (database, writer) = open(scratch.settings()).await;
    let reader = Reader::open(&database, vec![model()]).await;
    let mut tx = writer.begin().await.unwrap();
    let claim = tx.claim(&[partition(0)]).await.unwrap();
    tx.commit().await.unwrap();
    // Everybody is told of what a look has seen, and of nothing else here.
    let mut looks = database.progress().ticks();
    let before = *looks.borrow_and_update();
    let deadline = Instant::now() + Duration::from_secs(1);
    let waiting: Vec<_> = (0..WAITERS)
        .map(|_| {
            let reader = reader.clone();
            tokio::spawn(async move { reader.wait_for(&model(), &at(0, 1), deadline).await.unwrap() })
        })
        .collect();
    for waited in waiting {
        assert!(!waited.await.unwrap());
    }
    // Each by itself would look once at the least, and five times as a rule.
    let looked = *looks.borrow() - before;
    assert!(looked > 0 && looked < WAITERS as u64, "{looked} looks");

    // What nobody tells of is seen by each of them all the same.
    let patience = Instant::now() + Duration::from_secs(20);
    let waiting: Vec<_> = (0..WAITERS)
        .map(|_| {
            let reader = reader.clone();
            tokio::spawn(async move { reader.wait_for(&model(), &at(0, 1), patience).await.unwrap() })
        })
        .collect();
    looks.changed().await.unwrap();
    let mut tx = writer.begin().await.unwrap();
    tx.advance(&claim, &at(0, 1)).await.unwrap();
    tx.commit().await.unwrap();
    for waited in waiting {
        assert!(waited.await.unwrap());
    }
}

async fn a_reader_sees_no_read_model_before_it_is_there(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let reader = Reader::open(&database, vec![model()]).await;
    let read = async || reader.fetch::<(i64,)>("SELECT COUNT(*) FROM things", &[]).await;
    assert!(matches!(read().await, Err(StoreError::NotReady(name)) if name == "things"));
    assert!(reader.ready().await.is_err());
    let generation = database.live_or_new(&model()).await.unwrap();
    insert(&database.writer(&generation), &[(1, "a", 1)]).await;
    assert_eq!(read().await.unwrap(), [(1,)]);
    reader.ready().await.unwrap();
}

async fn a_reader_says_that_tables_are_lost(scratch: Scratch) {
    let (database, writer) = open(scratch.settings()).await;
    let reader = Reader::open(&database, vec![model()]).await;
    let lose = async |table: &str| {
        let mut tx = writer.begin().await.unwrap();
        tx.execute(format!("DROP TABLE {table}"), &[]).await.unwrap();
        tx.commit().await.unwrap();
    };
    reader.ready().await.unwrap();
    lose("things").await;
    lose("checkpoints").await;
    let read = reader.fetch::<(i64,)>("SELECT COUNT(*) FROM things", &[]).await;
    assert!(matches!(&read, Err(error @ StoreError::Lost(_)) if error.is_transient()), "{read:?}");
    assert!(matches!(reader.ready().await, Err(StoreError::Lost(_))));
}
