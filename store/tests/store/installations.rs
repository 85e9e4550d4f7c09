use balcony_event_log::{Positions, TopicPartition};
use balcony_store::{BuildOptions, Database, DatabasePlace, GenerationState, Reader, Scratch, Settings, StoreError};

use super::{following_of, insert, model, names, open, run, schemas, states, switch, version};

on_both! {
    what_was_made_before_namespaces_opens
    a_tool_leaves_the_database_as_it_is
    a_tool_of_another_version_is_told_so
    a_read_model_s_name_is_checked
}

/// The tables of before namespaces and versions, in the place and under the name that they have.
const FIRST_MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "generations", include_str!("../../../migrations/store/0001_generations.sql")),
    (2, "rebuilds", include_str!("../../../migrations/store/0002_rebuilds.sql")),
];
const GENERATION: &str = include_str!("../../../migrations/generation.sql");

/// Makes what a program of before made: the tables of the store in the schema `balcony`, and a live generation of
/// `things` in the schema or file `things_1`.
async fn make_old(scratch: &Scratch, up_to: i64) {
    let settings = scratch.settings_in("balcony");
    let things = "CREATE TABLE things (id UUID NOT NULL PRIMARY KEY, name TEXT, number BIGINT NOT NULL);
                  CREATE INDEX things_by_number ON things (number);
                  INSERT INTO checkpoints VALUES ('events', 0, 3, 1);";
    let recorded = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
                        installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
                        checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL);";
    let mut script = String::new();
    let bytes = match &settings.place {
        #[cfg(feature = "postgres")]
        DatabasePlace::Postgres { .. } => {
            script += "CREATE SCHEMA balcony; SET search_path = balcony;";
            |hex: &str| format!("'\\x{hex}'")
        }
        #[cfg(feature = "sqlite")]
        DatabasePlace::Sqlite { directory } => {
            std::fs::create_dir_all(directory).unwrap();
            |hex: &str| format!("x'{hex}'")
        }
    };
    script += recorded;
    for (number, description, sql) in FIRST_MIGRATIONS.iter().filter(|(number, ..)| *number <= up_to) {
        let hex = checksum(sql);
        script += sql;
        script += &format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES ({number}, '{description}', TRUE, {}, 0);",
            bytes(&hex)
        );
    }
    script += "INSERT INTO generations (projection, generation, version, state) VALUES ('things', 1, 1, 'live');";
    if up_to == 2 {
        script += "INSERT INTO generation_numbers VALUES ('things', 1);";
    }
    match &settings.place {
        #[cfg(feature = "postgres")]
        DatabasePlace::Postgres { .. } => {
            script += "CREATE SCHEMA things_1; SET search_path = things_1;";
            script += GENERATION;
            script += things;
            script += "INSERT INTO things VALUES ('00000000-0000-0000-0000-000000000007', 'old', 1);";
            run(scratch, &script).await;
        }
        #[cfg(feature = "sqlite")]
        DatabasePlace::Sqlite { directory } => {
            script += "PRAGMA journal_mode = WAL;";
            run(scratch, &script).await;
            script = format!("ATTACH '{}' AS generation;", directory.join("things_1.db").display());
            let into_it = |sql: &str| sql.replace("CREATE TABLE ", "CREATE TABLE generation.");
            script += &into_it(GENERATION).replace("CREATE INDEX ", "CREATE INDEX generation.");
            script += &into_it(things).replace("CREATE INDEX ", "CREATE INDEX generation.");
            script += "INSERT INTO generation.things VALUES (x'00000000000000000000000000000007', 'old', 1);";
            run(scratch, &script).await;
        }
    }
}

/// What the migrator knows a migration by.
fn checksum(sql: &'static str) -> String {
    use balcony_store::sqlx::SqlSafeStr as _;
    use balcony_store::sqlx::migrate::{Migration, MigrationType};

    let migration = Migration::new(0, "".into(), MigrationType::Simple, sql.into_sql_str(), false);
    migration.checksum.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn what_was_made_before_namespaces_opens(scratch: Scratch) {
    make_old(&scratch, 2).await;
    let settings = scratch.settings_in("balcony");
    let (database, writer) = open(&settings).await;
    assert_eq!(schemas(&scratch).await, ["things_1"]);
    assert_eq!(names(&writer).await, ["old"]);
    insert(&writer, &[(8, "new", 2)]).await;
    let reader = Reader::open(&database, vec![model()]).await;
    reader.ready().await.unwrap();
    assert_eq!(reader.checkpoints(&model()).await.unwrap(), super::at(0, 3));
    assert_eq!(reader.fetch::<(String,)>("SELECT name FROM things", &[]).await.unwrap().len(), 2);

    // It is rebuilt under a name of the new form, and gone back to.
    let (generation, writer) = following_of(&database, &model(), BuildOptions::default()).await;
    assert_eq!((generation.number, generation.schema()), (2, "balcony_things_2"));
    insert(&writer, &[(7, "rebuilt", 1)]).await;
    switch(&database, &generation).await;
    assert_eq!(states(&database).await, [(1, GenerationState::Retired), (2, GenerationState::Live)]);
    let (to, _) = database.roll_back("things", 1).await.unwrap();
    assert_eq!(to.schema(), "things_1");
    drop((database, writer));

    // A crash leaves no file of either form behind, and takes none that is needed.
    let (database, _) = open(&settings).await;
    assert_eq!(schemas(&scratch).await, ["balcony_things_2", "things_1"]);
    let (generation, _) = following_of(&database, &version(2), BuildOptions::default()).await;
    switch(&database, &generation).await;
    assert_eq!(schemas(&scratch).await, ["balcony_things_3", "things_1"]);
}

async fn a_tool_leaves_the_database_as_it_is(scratch: Scratch) {
    let error = Database::open_beside(scratch.settings()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Misconfigured(text) if text.contains("never started")), "{error}");
    if let Some(directory) = scratch.directory() {
        assert!(!directory.exists(), "not even its folder is made");
        std::fs::create_dir(directory).unwrap();
        std::fs::write(directory.join("store.db"), "").unwrap();
        let error = Database::open_beside(scratch.settings()).await.unwrap_err();
        assert!(matches!(&error, StoreError::Misconfigured(text) if text.contains("never started")), "{error}");
    }
    let (_database, writer) = open(scratch.settings()).await;
    insert(&writer, &[(1, "a", 1)]).await;
    let beside = Database::open_beside(scratch.settings()).await.unwrap();
    assert_eq!(states(&beside).await, [(1, GenerationState::Live)]);
    let live = beside.live_or_new(&model()).await.unwrap();
    assert_eq!(beside.look_at(&live).await.unwrap().contents().await.unwrap()["things"].len(), 1);
}

async fn a_tool_of_another_version_is_told_so(scratch: Scratch) {
    make_old(&scratch, 2).await;
    let settings = scratch.settings_in("balcony");
    let refused = async |settings: &Settings, what: &str| {
        let error = Database::open_beside(settings).await.unwrap_err();
        assert!(matches!(&error, StoreError::Misconfigured(text) if text.contains(what)), "{error}");
    };
    refused(&settings, "of an older version of this program: start it, or run its `migrate`").await;
    drop(Database::open(&settings).await.unwrap());
    drop(Database::open_beside(&settings).await.unwrap());

    let migrations = if scratch.writes_at_once() { "balcony._sqlx_migrations" } else { "_sqlx_migrations" };
    let newer = format!(
        "INSERT INTO {migrations} (version, description, success, checksum, execution_time)
         SELECT 9999, 'later', TRUE, checksum, 0 FROM {migrations} WHERE version = 1"
    );
    run(&scratch, &newer).await;
    refused(&settings, "of a newer version of this program").await;
    let error = Database::open(&settings).await.unwrap_err();
    assert!(matches!(&error, StoreError::Misconfigured(text) if text.contains("of a newer version")), "{error}");
}

async fn a_read_model_s_name_is_checked(scratch: Scratch) {
    let database = Database::open(scratch.settings()).await.unwrap();
    let named = |name: &str| balcony_store::ReadModel::new(name, 1, ["events"], "");
    let too_long = "a".repeat(60);
    for name in ["", "Things", "a_b", "a\"; DROP SCHEMA scratch", "../things", too_long.as_str()] {
        assert!(matches!(database.live_or_new(&named(name)).await, Err(StoreError::Misconfigured(_))), "{name}");
    }
    assert_eq!(database.live_or_new(&named("user-2")).await.unwrap().schema(), "scratch_user_2_1");
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn two_namespaces_on_one_server_do_not_meet() {
    use std::time::Duration;

    use balcony_store::Uuid;

    let Some(scratch) = Scratch::postgres().await.unwrap() else { return };
    // A word of SQL is a namespace as any other.
    let [one, other] = ["one", "user"].map(|namespace| scratch.settings_in(namespace));
    let ((first, first_writer), (second, second_writer)) = tokio::join!(open(&one), open(&other));
    insert(&first_writer, &[(1, "of one", 1)]).await;
    insert(&second_writer, &[(1, "of the other", 1), (2, "of the other", 2)]).await;
    assert_eq!(schemas(&scratch).await, ["one_things_1", "user_things_1"]);

    // Locks: each holds its own generations, and builds, while the other does.
    let held = first.hold_generations("things").await.unwrap();
    let lease = first.lease("things").await.unwrap();
    let (building, writer) = following_of(&second, &model(), BuildOptions::default()).await;
    assert!(second.lease("things").await.unwrap().is_some());
    drop((held, lease));

    // Channels: what is told in one is not heard in the other.
    let listeners = (Database::open(&one).await.unwrap(), Database::open(&other).await.unwrap());
    let own = first.live_or_new(&model()).await.unwrap();
    let foreign = second.live_or_new(&model()).await.unwrap();
    let heard = async || {
        first.progress().announce(&own, &super::at(0, 5), &first.progress().incarnation());
        listeners.0.progress().covers(&own, &super::at(0, 5))
    };
    super::until("progress is heard in its namespace", heard).await;
    let heard = async || {
        second.progress().announce(&foreign, &super::at(0, 1), &second.progress().incarnation());
        listeners.1.progress().covers(&foreign, &super::at(0, 1))
    };
    super::until("progress is heard in the other namespace", heard).await;
    assert!(!listeners.1.progress().covers(&own, &super::at(0, 1)));

    // More than one message holds.
    let topic = "t".repeat(249);
    let partitions = (0..100).map(|partition| (TopicPartition::new(topic.as_str(), partition), i64::MAX));
    let many: Positions = partitions.collect();
    let heard = async || {
        first.progress().announce(&own, &many, &first.progress().incarnation());
        listeners.0.progress().covers(&own, &many)
    };
    super::until("progress in many partitions is heard", heard).await;

    // Rows, workers, switches.
    first.beat(Uuid::from_u128(1), "things", "{}").await.unwrap();
    assert_eq!(second.workers().await.unwrap(), []);
    insert(&writer, &[(3, "rebuilt", 1)]).await;
    switch(&second, &building).await;
    assert_eq!(states(&first).await, [(1, GenerationState::Live)]);
    assert_eq!(names(&first_writer).await, ["of one"]);
    let readers = [Reader::open(&first, vec![model()]).await, Reader::open(&second, vec![model()]).await];
    let mut read = Vec::new();
    for reader in &readers {
        read.extend(reader.fetch::<(String,)>("SELECT name FROM things", &[]).await.unwrap());
    }
    assert_eq!(read, [("of one".to_owned(),), ("rebuilt".to_owned(),)]);
    assert_eq!(second.cancel_build("things", 1).await.unwrap(), None);
    assert!(tokio::time::timeout(Duration::from_secs(20), first.hold_generations("things")).await.is_ok());
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_folder_is_of_one_namespace() {
    let scratch = Scratch::sqlite().unwrap();
    drop(open(scratch.settings()).await);
    let error = Database::open(&scratch.settings_in("other")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Misconfigured(text) if text.contains("another namespace")), "{error}");
}
