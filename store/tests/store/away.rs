//! A database that does not answer, takes too long, is locked or lets nobody in.

use std::time::Duration;

use balcony_store::{Reader, Scratch, StoreError};

use super::{insert, model, open};

on_both! {
    a_query_that_takes_too_long_is_ended
}

/// How long anything here may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `work` gives; it does not wait for ever.
async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} waits for ever"))
}

async fn a_query_that_takes_too_long_is_ended(scratch: Scratch) {
    let (database, writer) = open(scratch.settings()).await;
    insert(&writer, &[(1, "a", 1)]).await;
    let reader = Reader::open(&database, vec![model()]).await;
    let endless = "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number % 7 + 1 FROM numbers)
                   SELECT COUNT(*) FROM numbers";
    // As many as there are connections on SQLite.
    let all = (0..4).map(|_| reader.fetch::<(i64,)>(endless, &[]));
    for ended in in_time("a query", futures_util::future::join_all(all)).await {
        let error = ended.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    assert_eq!(reader.fetch::<(i64,)>("SELECT number FROM things", &[]).await.unwrap(), [(1,)]);
}

#[cfg(feature = "postgres")]
mod postgres_only {
    use balcony_store::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection};
    use balcony_store::{Database, DatabasePlace, Settings, Value, Writer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn insert_number(writer: &Writer, number: i64) -> Result<(), StoreError> {
        let mut tx = writer.begin().await?;
        let row: [Value<'_>; 2] = [balcony_store::Uuid::now_v7().into(), number.into()];
        tx.execute("INSERT INTO things (id, name, number) VALUES ($1, 'a', $2)", &row).await?;
        tx.commit().await
    }

    #[tokio::test]
    async fn a_url_that_asks_for_tls_is_refused_at_once() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let place =
                DatabasePlace::Postgres { url: format!("postgres://user:secret@127.0.0.1:1/name?sslmode={mode}") };
            let settings = Settings { namespace: "scratch".parse().unwrap(), place };
            let error = Database::open(&settings).await.unwrap_err();
            assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
            assert!(error.to_string().contains("TLS") && !error.to_string().contains("secret"), "{error}");
        }
    }

    async fn connect(scratch: &Scratch) -> PgConnection {
        PgConnection::connect(scratch.url().unwrap()).await.unwrap()
    }

    async fn execute(connection: &mut PgConnection, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_that_the_server_has_closed_are_not_noticed() {
        let Some(scratch) = Scratch::postgres().await.unwrap() else { return };
        let (database, writer) = open(scratch.settings()).await;
        let reader = Reader::open(&database, vec![model()]).await;
        let mut administrator = connect(&scratch).await;
        for number in 1..=3 {
            // Several connections have just been used: each query holds its own until there are so many.
            execute(&mut administrator, "SELECT pg_advisory_lock(7)").await;
            let wait = "SELECT 1::bigint FROM pg_advisory_xact_lock_shared(7)";
            let used = futures_util::future::join_all((0..8).map(|_| reader.fetch::<(i64,)>(wait, &[])));
            let released = async {
                let waiting = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
                in_time("eight queries", async {
                    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut administrator).await.unwrap() < 8 {}
                })
                .await;
                execute(&mut administrator, "SELECT pg_advisory_unlock(7)").await;
            };
            let (used, ()) = futures_util::future::join(used, released).await;
            for used in used {
                assert_eq!(used.unwrap(), [(1,)]);
            }
            let both = (writer.begin().await.unwrap(), writer.begin().await.unwrap());
            drop(both);
            let end = "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()
                           AND backend_type = 'client backend'";
            let ended: Vec<(i32, bool)> = sqlx::query_as(end).fetch_all(&mut administrator).await.unwrap();
            let ended: Vec<i32> = ended.into_iter().map(|(pid, _)| pid).collect();
            assert!(ended.len() > 8, "{ended:?}");
            let left = "SELECT COUNT(*) FROM pg_stat_activity WHERE pid = ANY($1)";
            in_time("their end", async {
                while sqlx::query_scalar::<_, i64>(left).bind(&ended).fetch_one(&mut administrator).await.unwrap() > 0 {
                }
            })
            .await;
            assert_eq!(reader.fetch::<(i64,)>("SELECT COUNT(*) FROM things", &[]).await.unwrap(), [(number - 1,)]);
            insert_number(&writer, number).await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_has_vanished_is_not_waited_for_and_its_successor_is_found() {
        let Some(scratch) = Scratch::postgres().await.unwrap() else { return };
        let (settings, proxy) = scratch.through_a_proxy().await.unwrap();
        let (database, writer) = open(&settings).await;
        let reader = Reader::open(&database, vec![model()]).await;
        insert_number(&writer, 1).await.unwrap();

        // In a transaction, between two, at a query and at a lease; twice as many as there are connections.
        let mut tx = writer.begin().await.unwrap();
        tx.execute("SELECT 1", &[]).await.unwrap();
        proxy.swallow();
        let ended = in_time("a transaction", tx.execute("SELECT 2", &[])).await;
        assert!(ended.unwrap_err().is_away());
        drop(tx);
        for _ in 0..2 {
            let all = futures_util::future::join3(
                insert_number(&writer, 2),
                insert_number(&writer, 3),
                reader.fetch::<(i64,)>("SELECT number FROM things", &[]),
            );
            let (first, second, read) = in_time("a statement", all).await;
            for error in [first.unwrap_err(), second.unwrap_err(), read.unwrap_err()] {
                assert!(error.is_away(), "{error}");
            }
        }
        assert!(in_time("a lease", database.lease("things")).await.unwrap_err().is_away());

        proxy.pass();
        in_time("the first", async {
            while insert_number(&writer, 4).await.is_err() {}
            while insert_number(&writer, 5).await.is_err() {}
            while reader.fetch::<(i64,)>("SELECT number FROM things", &[]).await.is_err() {}
        })
        .await;
    }

    /// Locks are not held for hours by whoever is gone: the server is told when to give up, on every connection.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_server_gives_up_clients_that_have_vanished() {
        let Some(scratch) = Scratch::postgres().await.unwrap() else { return };
        let (database, writer) = open(scratch.settings()).await;
        let reader = Reader::open(&database, vec![model()]).await;
        // In the unit of each: seconds for what is counted there, milliseconds for the others.
        let limits = [
            ("tcp_keepalives_idle", 60),
            ("tcp_keepalives_interval", 60),
            ("tcp_keepalives_count", 10),
            ("tcp_user_timeout", 60_000),
            ("statement_timeout", 7 * 3_600_000),
            ("lock_timeout", 60_000),
            ("idle_in_transaction_session_timeout", 7 * 3_600_000),
        ];
        let sql = "SELECT setting::BIGINT FROM pg_settings WHERE name = $1";
        let mut tx = writer.begin().await.unwrap();
        for (name, most) in limits {
            let written: Vec<(i64,)> = tx.fetch(sql, &[name.into()]).await.unwrap();
            let read: Vec<(i64,)> = reader.fetch(sql, &[name.into()]).await.unwrap();
            for (setting,) in written.into_iter().chain(read) {
                assert!(setting > 0 && setting <= most, "{name}: {setting}");
            }
        }
    }

    /// A pooler such as PgBouncer refuses what it cannot keep apart.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_begins_with_what_every_pooler_takes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://mia@{}/balcony", listener.local_addr().unwrap());
        let settings =
            Settings { place: DatabasePlace::Postgres { url }, ..Scratch::sqlite().unwrap().settings().clone() };
        let opening = tokio::spawn(async move { Database::open(&settings).await.map(drop) });
        let (mut stream, _) = listener.accept().await.unwrap();
        let started = in_time("a connection", async {
            loop {
                let length = stream.read_u32().await.unwrap();
                let mut message = vec![0; length as usize - 4];
                stream.read_exact(&mut message).await.unwrap();
                // The first may ask for TLS.
                if message == 80_877_103_u32.to_be_bytes() {
                    stream.write_all(b"N").await.unwrap();
                } else {
                    break message;
                }
            }
        })
        .await;
        let words: Vec<_> = started[4..].split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word)).collect();
        let names: Vec<_> =
            words.iter().step_by(2).map(|name| name.to_lowercase()).filter(|name| !name.is_empty()).collect();
        assert!(names.contains(&"user".to_owned()) && names.contains(&"database".to_owned()), "{words:?}");
        for name in &names {
            let known = ["user", "database", "application_name", "client_encoding", "datestyle", "timezone"];
            assert!(known.contains(&name.as_str()), "{words:?}");
        }
        opening.abort();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lock_is_not_waited_for_for_long_and_its_holder_is_named() {
        let Some(scratch) = Scratch::postgres().await.unwrap() else { return };
        let (database, writer) = open(scratch.settings()).await;
        insert_number(&writer, 1).await.unwrap();
        let reader = Reader::open(&database, vec![model()]).await;
        let mut holder = connect(&scratch).await;
        execute(&mut holder, "SET application_name = 'somebody'").await;
        execute(&mut holder, "BEGIN; LOCK TABLE scratch_things_1.things").await;
        let (pid,): (i32,) = sqlx::query_as("SELECT pg_backend_pid()").fetch_one(&mut holder).await.unwrap();

        // More than there are connections; other tables are read meanwhile.
        let locked = (0..40).map(|_| reader.fetch::<(i64,)>("SELECT number FROM things", &[]));
        let others = reader.fetch::<(i64,)>("SELECT COUNT(*) FROM checkpoints", &[]);
        let (locked, others) =
            in_time("a query", futures_util::future::join(futures_util::future::join_all(locked), others)).await;
        others.unwrap();
        let write = in_time("a batch", insert_number(&writer, 2)).await.unwrap_err();
        let read = locked.into_iter().map(Result::unwrap_err);
        for error in read.chain([write]) {
            assert!(error.is_transient() && !error.is_away(), "{error}");
            let StoreError::Locked(holder) = &error else {
                // Those that waited for a connection meanwhile.
                continue;
            };
            let named = ["scratch_things_1.things", &pid.to_string(), "somebody", "AccessExclusiveLock"];
            assert!(named.iter().all(|name| holder.contains(name)), "{holder}");
        }
        assert!(matches!(insert_number(&writer, 2).await, Err(StoreError::Locked(_))));

        execute(&mut holder, "ROLLBACK").await;
        insert_number(&writer, 2).await.unwrap();
        assert_eq!(reader.fetch::<(i64,)>("SELECT COUNT(*) FROM things", &[]).await.unwrap(), [(2,)]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_that_lets_nobody_in_or_only_reads_is_away_and_comes_back() {
        let Some(scratch) = Scratch::postgres().await.unwrap() else { return };
        let (database, writer) = open(scratch.settings()).await;
        let reader = Reader::open(&database, vec![model()]).await;
        let (_, name) = scratch.url().unwrap().rsplit_once('/').unwrap();
        let mut administrator = PgConnection::connect(&std::env::var("DATABASE_URL").unwrap()).await.unwrap();
        let end_sessions = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        let changes = [
            (
                format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"),
                format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"),
            ),
            (
                format!("ALTER DATABASE {name} RENAME TO gone_{name}"),
                format!("ALTER DATABASE gone_{name} RENAME TO {name}"),
            ),
            (
                format!("ALTER DATABASE {name} SET default_transaction_read_only = on"),
                format!("ALTER DATABASE {name} RESET default_transaction_read_only"),
            ),
        ];
        for (number, (away, back)) in (1..).zip(changes) {
            // A database is only renamed while nobody is connected.
            let rename = away.contains("RENAME");
            if rename {
                execute(&mut administrator, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
                execute(&mut administrator, &end_sessions).await;
            }
            execute(&mut administrator, &away).await;
            execute(&mut administrator, &end_sessions).await;
            let error = in_time("a batch", insert_number(&writer, number)).await.unwrap_err();
            assert!(error.is_transient() && error.is_away(), "{away}: {error}");
            if let Err(error) = in_time("a query", reader.fetch::<(i64,)>("SELECT number FROM things", &[])).await {
                assert!(error.is_transient(), "{away}: {error}");
            }
            execute(&mut administrator, &back).await;
            if rename {
                execute(&mut administrator, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
            }
            execute(&mut administrator, &end_sessions).await;
            in_time("coming back", async { while insert_number(&writer, number).await.is_err() {} }).await;
        }
        let _: Database = database;
    }
}
