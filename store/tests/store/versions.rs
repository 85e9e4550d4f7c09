use balcony_store::{
    BuildOptions, Database, Generation, GenerationState, ReadModel, Reader, Scratch, StoreError, Uuid, Writer,
};

use super::{at, following_of, open, partition, schemas, states, switch, until};

on_both! {
    each_version_is_read_by_its_own_readers
    a_read_model_that_is_missing_makes_only_its_own_queries_wait
    a_switch_leaves_the_version_before_and_drops_what_is_older
    a_switch_keeps_what_it_is_told_to_keep
    a_switch_waits_for_the_version_before
    a_version_goes_back_to_its_generation_before
    a_version_without_one_leaves_reading_to_the_version_before
    an_older_program_builds_beside_a_newer_one_what_it_has_and_nothing_else
    a_waiting_reader_looks_only_at_its_own_topics
    a_rollback_is_not_undone_by_a_build_or_forgotten_by_a_switch
    a_switch_does_not_wait_for_readers_of_what_it_drops
}

/// Things whose second version has another column, which is written otherwise.
fn model(version: u32) -> ReadModel {
    let column = if version == 1 { "name" } else { "title" };
    let schema = format!("CREATE TABLE things (id UUID NOT NULL PRIMARY KEY, {column} TEXT NOT NULL);\n");
    ReadModel::new("things", version, ["events"], schema)
}

async fn write(writer: &Writer, version: u32, text: &str) {
    let column = if version == 1 { "name" } else { "title" };
    let mut tx = writer.begin().await.unwrap();
    let sql = format!("INSERT INTO things (id, {column}) VALUES ($1, $2)");
    tx.execute(sql, &[Uuid::now_v7().into(), text.into()]).await.unwrap();
    tx.commit().await.unwrap();
}

/// Makes a generation of `version` live.
async fn deploy(database: &Database, version: u32, options: BuildOptions) -> Generation {
    let (generation, writer) = following_of(database, &model(version), options).await;
    write(&writer, version, &format!("of version {version}")).await;
    switch(database, &generation).await;
    generation
}

async fn each_version_is_read_by_its_own_readers(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let first = database.live_or_new(&model(1)).await.unwrap();
    write(&database.writer(&first), 1, "of version 1").await;
    let old = Reader::open(&database, vec![model(1)]).await;
    let new = Reader::open(&database, vec![model(2)]).await;
    let read_old = async || old.fetch::<(String,)>("SELECT name FROM things", &[]).await;
    let read_new = async || new.fetch::<(String,)>("SELECT title FROM things", &[]).await;
    assert_eq!(read_old().await.unwrap(), [("of version 1".to_owned(),)]);
    assert!(matches!(read_new().await, Err(StoreError::NotReady(name)) if name == "things"));
    assert!(matches!(new.ready().await, Err(StoreError::NotReady(name)) if name == "things"));
    assert!(matches!(new.check(&model(2)).await, Err(StoreError::NotReady(name)) if name == "things"));
    assert!(matches!(new.checkpoints(&model(2)).await, Err(StoreError::NotReady(_))));

    let second = deploy(&database, 2, BuildOptions::default()).await;
    new.ready().await.unwrap();
    assert_eq!(read_new().await.unwrap(), [("of version 2".to_owned(),)]);
    assert_eq!(states(&database).await, [(1, GenerationState::Live), (2, GenerationState::Live)]);
    assert_eq!(database.live_or_new(&model(1)).await.unwrap(), first);
    assert_eq!(database.live_or_new(&model(2)).await.unwrap(), second);

    // Both are kept up to date, and old readers read the old one, those that are opened now too.
    write(&database.writer(&first), 1, "of version 1, later").await;
    write(&database.writer(&second), 2, "of version 2, later").await;
    assert_eq!((read_old().await.unwrap().len(), read_new().await.unwrap().len()), (2, 2));
    let opened_later = Reader::open(&database, vec![model(1)]).await;
    opened_later.ready().await.unwrap();
    assert_eq!(opened_later.fetch::<(String,)>("SELECT name FROM things", &[]).await.unwrap().len(), 2);

    let held = database.hold_generations("things").await.unwrap();
    assert_eq!((held.live(1), held.live(2), held.live(3)), (Some(&first), Some(&second), None));
}

async fn a_read_model_that_is_missing_makes_only_its_own_queries_wait(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let others = ReadModel::new("others", 1, ["events"], "CREATE TABLE others (id BIGINT NOT NULL PRIMARY KEY);");
    let first = database.live_or_new(&model(1)).await.unwrap();
    write(&database.writer(&first), 1, "one").await;
    let reader = Reader::open(&database, vec![model(1), others.clone()]).await;
    let things = async || reader.fetch::<(String,)>("SELECT name FROM things", &[]).await;
    let count_others = async || reader.fetch::<(i64,)>("SELECT COUNT(*) FROM others", &[]).await;
    assert_eq!(things().await.unwrap().len(), 1);
    assert!(matches!(count_others().await, Err(StoreError::NotReady(name)) if name == "others"));
    assert!(matches!(reader.ready().await, Err(StoreError::NotReady(name)) if name == "others"));
    reader.check(&model(1)).await.unwrap();
    // A query that is wrong is told so, and not that something is missing.
    let wrong = reader.fetch::<(i64,)>("SELECT nothing FROM things", &[]).await;
    assert!(matches!(wrong, Err(StoreError::Refused(_))));

    // What becomes live does not disturb a query that is under way.
    let slow = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 200000)
                SELECT CAST(COUNT(*) AS BIGINT) FROM numbers, (SELECT name FROM things) AS named";
    let under_way: Vec<_> = (0..4)
        .map(|_| {
            let reader = reader.clone();
            tokio::spawn(async move { reader.fetch::<(i64,)>(slow, &[]).await })
        })
        .collect();
    database.live_or_new(&others).await.unwrap();
    assert_eq!(count_others().await.unwrap(), [(0,)]);
    reader.ready().await.unwrap();
    assert_eq!(things().await.unwrap().len(), 1);
    for query in under_way {
        assert_eq!(query.await.unwrap().unwrap(), [(200_000,)]);
    }
    let nowhere = reader.fetch::<(i64,)>("SELECT 1 FROM nowhere", &[]).await;
    assert!(matches!(nowhere, Err(StoreError::Refused(_))), "everything is there");
}

async fn a_switch_leaves_the_version_before_and_drops_what_is_older(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    for version in 1..=2 {
        deploy(&database, version, BuildOptions::default()).await;
    }
    // The same version again: its generation before is retired, the version before is read on.
    deploy(&database, 2, BuildOptions::default()).await;
    let expected = [(1, GenerationState::Live), (2, GenerationState::Retired), (3, GenerationState::Live)];
    assert_eq!(states(&database).await, expected);

    // The next version drops both what was retired and what is two versions old.
    deploy(&database, 4, BuildOptions::default()).await;
    assert_eq!(states(&database).await, [(3, GenerationState::Live), (4, GenerationState::Live)]);
    assert_eq!(schemas(&scratch).await, ["scratch_things_3", "scratch_things_4"]);
}

async fn a_switch_keeps_what_it_is_told_to_keep(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    for version in [1, 2, 2, 3] {
        deploy(&database, version, BuildOptions { keep_old: true, ..BuildOptions::default() }).await;
    }
    let (live, retired) = (GenerationState::Live, GenerationState::Retired);
    assert_eq!(states(&database).await, [(1, live), (2, retired), (3, live), (4, live)]);
}

async fn a_switch_waits_for_the_version_before(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let first = database.live_or_new(&model(1)).await.unwrap();
    let mut tx = database.writer(&first).begin().await.unwrap();
    let claim = tx.claim(&[partition(0)]).await.unwrap();
    tx.advance(&claim, &at(0, 7)).await.unwrap();
    tx.commit().await.unwrap();
    let (second, _) = following_of(&database, &model(2), BuildOptions::default()).await;
    let switched = database.switch(&second, async |live| {
        assert_eq!(*live, at(0, 7));
        false
    });
    assert!(!switched.await.unwrap());
    assert_eq!(states(&database).await, [(1, GenerationState::Live), (2, GenerationState::Following)]);
}

async fn a_version_goes_back_to_its_generation_before(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    deploy(&database, 1, BuildOptions::default()).await;
    deploy(&database, 2, BuildOptions::default()).await;
    deploy(&database, 2, BuildOptions::default()).await;
    let (to, from) = database.roll_back("things", 2).await.unwrap();
    assert_eq!((to.number, from.map(|from| from.number)), (2, Some(3)));
    let (live, retired) = (GenerationState::Live, GenerationState::Retired);
    assert_eq!(states(&database).await, [(1, live), (2, live), (3, retired)]);
}

async fn a_version_without_one_leaves_reading_to_the_version_before(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    for version in [1, 2] {
        deploy(&database, version, BuildOptions::default()).await;
    }
    let new = Reader::open(&database, vec![model(2)]).await;
    new.ready().await.unwrap();
    let (to, from) = database.roll_back("things", 2).await.unwrap();
    assert_eq!((to.number, to.version, from.map(|from| from.number)), (1, 1, Some(2)));
    let (live, retired) = (GenerationState::Live, GenerationState::Retired);
    assert_eq!(states(&database).await, [(1, live), (2, retired)]);
    until("readers of the version are told", async || new.ready().await.is_err()).await;

    // It may be taken back, too.
    let (to, from) = database.roll_back("things", 2).await.unwrap();
    assert_eq!((to.number, from), (2, None));
    assert_eq!(states(&database).await, [(1, live), (2, live)]);
    // A program of the version before does so, too: the switch to the newest version was the last.
    let (to, from) = database.roll_back("things", 1).await.unwrap();
    assert_eq!((to.number, from.map(|from| from.number)), (1, Some(2)));
    // There is nothing before the first, and nothing of a version that never was.
    for version in [1, 9] {
        assert!(matches!(database.roll_back("things", version).await, Err(StoreError::Misconfigured(_))));
    }
}

async fn an_older_program_builds_beside_a_newer_one_what_it_has_and_nothing_else(scratch: Scratch) {
    let (database, _) = open(scratch.settings()).await;
    let refused = async |version| {
        let error = database.begin_build(&model(version), BuildOptions::default()).await.unwrap_err();
        assert!(matches!(&error, StoreError::Misconfigured(text) if text.contains("version 3")), "{error}");
    };
    let rebuilt = async || {
        let (built, _) = following_of(&database, &model(1), BuildOptions::default()).await;
        switch(&database, &built).await;
        assert_eq!(database.live_or_new(&model(1)).await.unwrap(), built);
    };
    let (third, _) = following_of(&database, &model(3), BuildOptions::default()).await;
    refused(2).await;
    rebuilt().await;
    database.build_failed(&third, "no room").await.unwrap();
    refused(2).await;
    rebuilt().await;
    // Neither has changed what the newer program has.
    assert_eq!(database.begin_build(&model(3), BuildOptions::default()).await.unwrap(), third);
    switch(&database, &third).await;
    refused(2).await;
    rebuilt().await;
    assert_eq!(database.live_or_new(&model(3)).await.unwrap(), third);
    assert_eq!(database.live_or_new(&model(1)).await.unwrap().version, 1, "it goes on with what it has");
}

async fn a_rollback_is_not_undone_by_a_build_or_forgotten_by_a_switch(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    for version in [1, 2] {
        deploy(&database, version, BuildOptions::default()).await;
    }
    let building = database.begin_build(&model(2), BuildOptions::default()).await.unwrap();
    database.roll_back("things", 2).await.unwrap();
    assert!(matches!(database.switch(&building, async |_| true).await, Err(StoreError::Fenced(_))), "it is given up");
    deploy(&database, 1, BuildOptions::default()).await;
    let (live, retired) = (GenerationState::Live, GenerationState::Retired);
    let left: Vec<_> = states(&database).await.into_iter().filter(|(_, state)| *state == live).collect();
    assert_eq!(left.len(), 1, "version 1 alone is live");
    assert!(states(&database).await.contains(&(2, retired)), "programs of version 2 are told that it was rolled back");
}

async fn a_switch_does_not_wait_for_readers_of_what_it_drops(scratch: Scratch) {
    if scratch.url().is_none() {
        // Files of SQLite are removed under whoever reads them.
        return;
    }
    let database = Database::open(scratch.settings()).await.unwrap();
    for _ in 0..2 {
        deploy(&database, 1, BuildOptions::default()).await;
    }
    let listed = database.generations(Some("things")).await.unwrap();
    let mut reading = database.writer(&listed[0].generation).begin().await.unwrap();
    let _: Vec<(i64,)> = reading.fetch("SELECT COUNT(*) FROM things", &[]).await.unwrap();
    deploy(&database, 1, BuildOptions::default()).await;
    let (live, retired) = (GenerationState::Live, GenerationState::Retired);
    assert_eq!(states(&database).await, [(2, retired), (3, live)]);
    assert_eq!(schemas(&scratch).await, ["scratch_things_1", "scratch_things_2", "scratch_things_3"], "it is read");
    drop(reading);
    database.drop_leftovers().await;
    assert_eq!(schemas(&scratch).await, ["scratch_things_2", "scratch_things_3"]);
}

async fn a_waiting_reader_looks_only_at_its_own_topics(scratch: Scratch) {
    use balcony_event_log::TopicPartition;
    use tokio::time::Instant;

    let (database, _) = open(scratch.settings()).await;
    let reader = Reader::open(&database, vec![super::model()]).await;
    let mut wanted = at(0, 0);
    wanted.set(TopicPartition::new("others", 0), 9);
    assert!(reader.wait_for(&super::model(), &wanted, Instant::now()).await.unwrap());
    wanted.merge(&at(1, 1));
    assert!(!reader.wait_for(&super::model(), &wanted, Instant::now()).await.unwrap());
}
