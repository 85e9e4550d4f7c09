use std::time::Duration;

use balcony_store::{BuildOptions, Database, Scratch, StoreError, Writer};

use super::{following, insert, model, names, open, schemas, version};

on_both! {
    a_generation_is_made_once_and_survives
    another_version_is_not_served_from_this_one_s_tables
    a_look_at_a_generation_finds_its_own_tables
    held_generations_stay_as_they_are
    what_was_given_up_leaves_nothing
    generations_are_compared_by_their_rows
}

async fn a_generation_is_made_once_and_survives(scratch: Scratch) {
    let (first, second) = tokio::join!(open(scratch.settings()), open(scratch.settings()));
    insert(&first.1, &[(1, "a", 1)]).await;
    assert_eq!(names(&second.1).await, ["a"]);
    assert_eq!(first.0.live_or_new(&model()).await.unwrap(), second.0.live_or_new(&model()).await.unwrap());
    drop((first, second));
    assert_eq!(names(&open(scratch.settings()).await.1).await, ["a"]);
}

async fn another_version_is_not_served_from_this_one_s_tables(scratch: Scratch) {
    let (database, _) = open(scratch.settings()).await;
    let error = database.live_or_new(&version(2)).await.unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
}

async fn a_look_at_a_generation_finds_its_own_tables(scratch: Scratch) {
    let (database, writer) = open(scratch.settings()).await;
    let live = database.live_or_new(&model()).await.unwrap();
    let next = database.begin_build(&model(), BuildOptions::default()).await.unwrap();
    insert(&writer, &[(1, "a", 1)]).await;
    for (generation, rows) in [(&live, 1), (&next, 0), (&live, 1)] {
        let mut tx = database.look_at(generation).await.unwrap();
        assert_eq!(tx.fetch::<(i64,)>("SELECT COUNT(*) FROM things", &[]).await.unwrap(), [(rows,)]);
        assert!(tx.execute("DELETE FROM things", &[]).await.is_err(), "it only reads");
    }
}

async fn held_generations_stay_as_they_are(scratch: Scratch) {
    let (database, _) = open(scratch.settings()).await;
    let live = database.live_or_new(&model()).await.unwrap();
    let held = database.hold_generations(&model().name).await.unwrap();
    assert_eq!((held.live(1), held.unfinished(1)), (Some(&live), None));
    let building = tokio::spawn({
        let database = database.clone();
        async move { database.begin_build(&model(), BuildOptions::default()).await.unwrap() }
    });
    let early = tokio::time::timeout(Duration::from_millis(200), database.hold_generations(&model().name)).await;
    assert!(early.is_err() && !building.is_finished(), "somebody else holds them");
    drop(held);
    let next = building.await.unwrap();
    let held = database.hold_generations(&model().name).await.unwrap();
    assert_eq!(held.unfinished(1).map(|listed| &listed.generation), Some(&next));
}

async fn what_was_given_up_leaves_nothing(scratch: Scratch) {
    let (database, _) = open(scratch.settings()).await;
    database.begin_build(&model(), BuildOptions::default()).await.unwrap();
    assert_eq!(schemas(&scratch).await, ["scratch_things_1", "scratch_things_2"]);
    assert_eq!(database.cancel_build("things", 1).await.unwrap().unwrap().number, 2);
    assert_eq!(database.cancel_build("things", 1).await.unwrap(), None);
    assert_eq!(schemas(&scratch).await, ["scratch_things_1"]);
    if let Some(directory) = scratch.directory() {
        // As a crash between the row and the file leaves it.
        std::fs::write(directory.join("scratch_things_9.db"), "left over").unwrap();
        drop(Database::open(scratch.settings()).await.unwrap());
        assert_eq!(schemas(&scratch).await, ["scratch_things_1"]);
    }
}

async fn generations_are_compared_by_their_rows(scratch: Scratch) {
    let (database, writer) = open(scratch.settings()).await;
    let (_, other) = following(&database, BuildOptions::default()).await;
    let digests = async |writer: &Writer| writer.comparand().await.unwrap().digests().await.unwrap();
    insert(&writer, &[(1, "a", 1), (2, "b", 2)]).await;
    assert_ne!(digests(&writer).await, digests(&other).await);
    insert(&other, &[(2, "b", 2)]).await;
    insert(&other, &[(1, "x", 1)]).await;
    assert_ne!(digests(&writer).await, digests(&other).await, "the same keys, another name");
    let mut tx = other.begin().await.unwrap();
    tx.execute("UPDATE things SET name = 'a' WHERE name = 'x'", &[]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(digests(&writer).await, digests(&other).await, "the same rows in another order");
    let [things] = &digests(&writer).await[..] else { panic!("there is one table") };
    assert_eq!((things.table.as_str(), things.rows), ("things", 2));

    // What is held stays as it is.
    let held = writer.comparand().await.unwrap();
    let before = digests(&writer).await;
    let separate = database.writer(&database.live_or_new(&model()).await.unwrap());
    insert(&separate, &[(3, "c", 3)]).await;
    assert_eq!(held.digests().await.unwrap(), before);
    assert_ne!(digests(&writer).await, before);
}

/// Rows by the hundred, in tables of every kind: with numbers of rows, without, and with a column of that name.
#[cfg(feature = "sqlite")]
#[tokio::test]
async fn every_row_of_every_kind_of_table_is_compared() {
    const ROWS: i64 = 700;
    let scratch = Scratch::sqlite().unwrap();
    let database = Database::open(scratch.settings()).await.unwrap();
    let schema = "CREATE TABLE numbered (id BIGINT NOT NULL PRIMARY KEY, name TEXT);
                  CREATE TABLE taken (id BIGINT NOT NULL PRIMARY KEY, name TEXT, rowid TEXT, OID TEXT);
                  CREATE TABLE unnumbered (id BIGINT NOT NULL PRIMARY KEY, name TEXT) WITHOUT ROWID;";
    let model = balcony_store::ReadModel::new("kinds", 1, ["events"], schema);
    let mut writers = Vec::new();
    for rows in [(0..ROWS).collect::<Vec<_>>(), (0..ROWS).rev().collect()] {
        let generation = match writers.len() {
            0 => database.live_or_new(&model).await.unwrap(),
            _ => database.begin_build(&model, BuildOptions::default()).await.unwrap(),
        };
        let writer = database.writer(&generation);
        let mut tx = writer.begin().await.unwrap();
        for table in ["numbered", "taken", "unnumbered"] {
            for id in &rows {
                // Lengths, colons, letters of several bytes, and NULL.
                let name = (id % 9 > 0).then(|| format!("{id}:'12:ß\n雨'{}", ":".repeat((id % 90) as usize)));
                let sql = format!("INSERT INTO {table} (id, name) VALUES ($1, $2)");
                tx.execute(sql, &[(*id).into(), name.into()]).await.unwrap();
            }
        }
        tx.commit().await.unwrap();
        writers.push(writer);
    }
    let digests = async |writer: &Writer| writer.comparand().await.unwrap().digests().await.unwrap();
    let expected = digests(&writers[0]).await;
    assert_eq!(digests(&writers[1]).await, expected);
    assert_eq!(expected.iter().map(|digest| digest.rows).collect::<Vec<_>>(), [ROWS; 3]);

    for (index, table) in ["numbered", "taken", "unnumbered"].into_iter().enumerate() {
        for id in [0, 255, 256, ROWS - 1] {
            let change = async |name: String| {
                let mut tx = writers[1].begin().await.unwrap();
                let sql = format!("UPDATE {table} SET name = {name} WHERE id = $1");
                assert_eq!(tx.execute(sql, &[id.into()]).await.unwrap(), 1);
                tx.commit().await.unwrap();
                let found = digests(&writers[1]).await;
                (0..3).filter(|&index| found[index] != expected[index]).collect::<Vec<_>>()
            };
            assert_eq!(change("'another' || COALESCE(name, '')".to_owned()).await, [index], "{table} {id}");
            let as_before = "NULLIF(substr(name, length('another') + 1), '')";
            assert_eq!(change(as_before.to_owned()).await, [0_usize; 0], "{table} {id}");
        }
    }
}
