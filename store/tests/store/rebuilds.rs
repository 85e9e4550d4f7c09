use std::time::Duration;

use balcony_store::{BuildOptions, Database, GenerationState, Scratch, StoreError};

use super::{at, following, open, partition, states, switch, until};

on_both! {
    a_build_is_asked_for_once_and_goes_on
    one_builds_at_a_time
    a_switch_waits_for_the_new_generation_and_holds_the_old_one
    a_switch_does_not_wait_for_whoever_holds_the_old_one
    going_back_is_one_step
    a_build_that_was_given_up_waits_for_an_operator
    a_build_says_how_often_it_was_tried_in_vain
}

async fn a_build_is_asked_for_once_and_goes_on(scratch: Scratch) {
    let (database, _) = open(scratch.settings()).await;
    let build = |version, options| {
        let database = &database;
        async move { database.begin_build(&super::version(version), options).await }
    };
    let (first, second) = tokio::join!(build(1, BuildOptions::default()), build(1, BuildOptions::default()));
    let generation = first.unwrap();
    assert_eq!(generation, second.unwrap());
    database.build_failed(&generation, "no room").await.unwrap();
    let listed = database.generations(Some("things")).await.unwrap().remove(1);
    assert_eq!((listed.state, listed.error.as_deref()), (GenerationState::Failed, Some("no room")));

    let park = BuildOptions { park_failures: true, ..BuildOptions::default() };
    assert_eq!(build(1, park).await.unwrap(), generation);
    let listed = database.generations(Some("things")).await.unwrap().remove(1);
    assert_eq!((listed.state, listed.error, listed.options), (GenerationState::Copying, None, park));

    // A newer version takes its place; the older one, which is live, is asked for anew beside it.
    let newer = build(2, BuildOptions::default()).await.unwrap();
    assert_eq!((newer.number, newer.version), (3, 2));
    assert_eq!(states(&database).await, [(1, GenerationState::Live), (3, GenerationState::Copying)]);
    assert!(matches!(
        database.build_stands_at(&generation, GenerationState::Indexing).await,
        Err(StoreError::Fenced(_))
    ));
    assert_eq!(build(1, park).await.unwrap().number, 4);
    assert_eq!(build(2, BuildOptions::default()).await.unwrap(), newer, "which is the end of the older one's");
    assert_eq!(states(&database).await, [(1, GenerationState::Live), (3, GenerationState::Copying)]);
}

async fn one_builds_at_a_time(scratch: Scratch) {
    let (first, _) = open(scratch.settings()).await;
    let second = Database::open(scratch.settings()).await.unwrap();
    let lease = first.lease("things").await.unwrap();
    assert!(lease.is_some());
    assert!(second.lease("things").await.unwrap().is_none());
    assert!(second.lease("others").await.unwrap().is_some());
    drop(lease);
    until("the lease ends with its holder", async || second.lease("things").await.unwrap().is_some()).await;
}

async fn a_switch_waits_for_the_new_generation_and_holds_the_old_one(scratch: Scratch) {
    let (database, writer) = open(scratch.settings()).await;
    let mut tx = writer.begin().await.unwrap();
    let claim = tx.claim(&[partition(0)]).await.unwrap();
    tx.advance(&claim, &at(0, 7)).await.unwrap();
    tx.commit().await.unwrap();
    let (generation, _) = following(&database, BuildOptions::default()).await;

    let switched = database.switch(&generation, async |live| {
        assert_eq!(*live, at(0, 7));
        false
    });
    assert!(!switched.await.unwrap());
    assert_eq!(states(&database).await, [(1, GenerationState::Live), (2, GenerationState::Following)]);

    // Whoever writes the old one waits until the new one is live.
    let moved = tokio::sync::OnceCell::new();
    let switched = database.switch(&generation, async |_| {
        let moving = async {
            let mut tx = writer.begin().await.unwrap();
            tx.hold_checkpoints().await.unwrap();
            moved.set(()).unwrap();
        };
        tokio::time::timeout(Duration::from_millis(50), moving).await.is_err()
    });
    assert!(switched.await.unwrap());
    assert!(!moved.initialized());
    assert!(matches!(database.switch(&generation, async |_| true).await, Err(StoreError::Fenced(_))));
}

async fn a_switch_does_not_wait_for_whoever_holds_the_old_one(scratch: Scratch) {
    if scratch.url().is_none() {
        // Whoever writes a file of SQLite is waited for when the transaction begins.
        return;
    }
    let (database, writer) = open(scratch.settings()).await;
    let mut tx = writer.begin().await.unwrap();
    tx.claim(&[partition(0)]).await.unwrap();
    tx.commit().await.unwrap();
    let (generation, _) = following(&database, BuildOptions::default()).await;
    let mut holding = writer.begin().await.unwrap();
    holding.hold_checkpoints().await.unwrap();
    assert!(!database.switch(&generation, async |_| panic!("they are not held")).await.unwrap());
    drop(holding);
    switch(&database, &generation).await;
}

async fn a_build_that_was_given_up_waits_for_an_operator(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let begin = async || {
        let model = super::model();
        let begun = database.begin_missing_build(&model, BuildOptions::default()).await.unwrap();
        assert_eq!(database.build_is_given_up(&model).await.unwrap(), begun.is_none());
        begun.map(|generation| generation.number)
    };
    assert_eq!(begin().await, Some(1));
    assert_eq!(database.cancel_build("things", 1).await.unwrap().unwrap().number, 1);
    assert_eq!(begin().await, None);
    assert_eq!(database.begin_build(&super::model(), BuildOptions::default()).await.unwrap().number, 2);
    assert_eq!(begin().await, Some(2), "an operator has asked for it");
    database.cancel_build("things", 1).await.unwrap().unwrap();
    assert_eq!(begin().await, None);
    let newer = database.begin_missing_build(&super::version(2), BuildOptions::default()).await.unwrap().unwrap();
    assert_eq!((newer.number, newer.version), (3, 2), "another version has nothing to do with it");
    switch(&database, &newer).await;

    // What is read is not given up with a build.
    database.begin_build(&super::version(2), BuildOptions::default()).await.unwrap();
    assert_eq!(database.cancel_build("things", 1).await.unwrap().unwrap().version, 2, "there is no other");
    assert!(!database.build_is_given_up(&super::version(2)).await.unwrap());
}

async fn a_build_says_how_often_it_was_tried_in_vain(scratch: Scratch) {
    let (database, _) = open(scratch.settings()).await;
    let generation = database.begin_build(&super::model(), BuildOptions::default()).await.unwrap();
    let stands = async || {
        let listed = database.generations(Some("things")).await.unwrap().remove(1);
        (listed.state, listed.attempts, listed.error)
    };
    for attempts in 1..=2 {
        assert_eq!(database.build_stumbled(&generation, "no room").await.unwrap(), attempts);
        assert_eq!(stands().await, (GenerationState::Copying, attempts, Some("no room".to_owned())));
    }
    database.build_comes_on(&generation).await.unwrap();
    assert_eq!(stands().await, (GenerationState::Copying, 0, None));
    database.build_stumbled(&generation, "no room").await.unwrap();
    database.build_stands_at(&generation, GenerationState::Indexing).await.unwrap();
    assert_eq!(stands().await, (GenerationState::Indexing, 1, Some("no room".to_owned())), "it may stumble here again");
    database.build_stands_at(&generation, GenerationState::Following).await.unwrap();
    assert_eq!(stands().await, (GenerationState::Following, 0, None));
    switch(&database, &generation).await;
    assert!(matches!(database.build_stumbled(&generation, "late").await, Err(StoreError::Fenced(_))));
}

async fn going_back_is_one_step(scratch: Scratch) {
    let (database, _) = open(scratch.settings()).await;
    let error = database.roll_back("things", 1).await.unwrap_err();
    assert!(error.to_string().contains("no generation before"), "{error}");
    let (generation, _) = following(&database, BuildOptions::default()).await;
    switch(&database, &generation).await;
    for (live, retired) in [(1, 2), (2, 1)] {
        let (to, from) = database.roll_back("things", 1).await.unwrap();
        assert_eq!((to.number, from.map(|from| from.number)), (live, Some(retired)));
        let state = |number| if number == live { GenerationState::Live } else { GenerationState::Retired };
        assert_eq!(states(&database).await, [(1, state(1)), (2, state(2))]);
    }
}
