use std::time::Duration;

use balcony_store::{BuildOptions, Database, GenerationState, Scratch, StoreError};

use super::{at, following, open, partition, states, switch, until};

on_both! {
    a_build_is_asked_for_once_and_goes_on
    one_builds_at_a_time
    a_switch_waits_for_the_new_generation_and_holds_the_old_one
    going_back_is_one_step
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

    // A newer version takes its place, and the older one cannot take it back.
    let newer = build(2, BuildOptions::default()).await.unwrap();
    assert_eq!((newer.number, newer.version), (3, 2));
    assert_eq!(states(&database).await, [(1, GenerationState::Live), (3, GenerationState::Copying)]);
    assert!(matches!(build(1, park).await, Err(StoreError::Misconfigured(_))));
    assert!(matches!(
        database.build_stands_at(&generation, GenerationState::Indexing).await,
        Err(StoreError::Fenced(_))
    ));
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
