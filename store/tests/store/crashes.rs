//! Crashes of a database that forgets what was committed last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use balcony_store::{Database, Generation, Reader, StoreError, Uuid, Writer};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::private_server::PrivateServer;
use super::{at, model, open, partition, until};

/// What readers ask for and what they were told.
#[derive(Default)]
struct Asked {
    /// Everything below was committed once.
    written: watch::Sender<i64>,
    /// How often a reader was told that it is not there.
    refused: AtomicU64,
    /// How often it was found.
    found: AtomicU64,
    stop: AtomicBool,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_took_back_is_not_read_as_if_it_were_there() {
    let Some(server) = PrivateServer::start().await else { return };
    server.write_late().await;
    let scratch = server.database().await;
    let (database, writer) = open(scratch.settings()).await;
    let generation = database.live_or_new(&model()).await.unwrap();
    // Of other processes, and of the one that writes.
    let elsewhere = Database::open(scratch.settings()).await.unwrap();
    let asked = Arc::new(Asked::default());
    let mut readers = JoinSet::new();
    for of in [&database, &elsewhere, &elsewhere] {
        readers.spawn(read_until_stopped(Reader::open(of, vec![model()]).await, asked.clone()));
    }

    let mut has_forgotten = false;
    for round in 1..=5 {
        let before = database.progress().incarnation();
        let written = write(&database, &generation, &writer, round * 500).await;
        asked.written.send_replace(written);
        let found = asked.found.load(Ordering::SeqCst);
        until("readers find what was written", async || asked.found.load(Ordering::SeqCst) > found + 50).await;
        server.kill();
        server.restart();
        let left = until_it_answers(&writer).await;
        if left == written {
            continue;
        }
        has_forgotten = true;
        // Who wrote it tells of it late.
        database.progress().announce(&generation, &at(0, written), &before);
        let refused = asked.refused.load(Ordering::SeqCst);
        until("readers have looked", async || asked.refused.load(Ordering::SeqCst) > refused + 30).await;
        break;
    }
    assert!(has_forgotten, "no crash has taken anything back");
    asked.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = readers.join_next().await {
        ended.unwrap();
    }
}

/// Reads what was written last, again and again.
async fn read_until_stopped(reader: Reader, asked: Arc<Asked>) {
    let mut written = asked.written.subscribe();
    while !asked.stop.load(Ordering::SeqCst) {
        let wanted = *written.wait_for(|written| *written > 0).await.unwrap();
        let standing = reader.standing();
        let deadline = Instant::now() + Duration::from_millis(100);
        if !matches!(reader.wait_for(&model(), &at(0, wanted), deadline).await, Ok(true)) {
            asked.refused.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        let id = Uuid::from_u128(wanted as u128 - 1);
        let rows: Result<Vec<(i64,)>, StoreError> =
            reader.fetch("SELECT number FROM things WHERE id = $1", &[id.into()]).await;
        let (Ok(rows), Ok(())) = (rows, reader.stayed_on(&standing)) else { continue };
        assert_eq!(rows, [(wanted - 1,)], "a token was honoured without what it stands for");
        asked.found.fetch_add(1, Ordering::SeqCst);
    }
}

/// Reads a log, whose records are numbers, from the checkpoint up to `to`, one in a transaction.
async fn write(database: &Database, generation: &Generation, writer: &Writer, to: i64) -> i64 {
    let mut tx = writer.begin().await.unwrap();
    let mut claim = tx.claim(&[partition(0)]).await.unwrap();
    tx.commit().await.unwrap();
    for number in claim.positions().next_offset(&partition(0))..to {
        let incarnation = database.progress().incarnation();
        let reached = at(0, number + 1);
        let mut tx = writer.begin().await.unwrap();
        tx.advance(&claim, &reached).await.unwrap();
        let row = [Uuid::from_u128(number as u128).into(), "a".into(), number.into()];
        tx.execute("INSERT INTO things (id, name, number) VALUES ($1, $2, $3)", &row).await.unwrap();
        tx.commit().await.unwrap();
        claim.advanced(&reached);
        database.progress().announce(generation, &reached, &incarnation);
    }
    to
}

/// Waits until the database answers, and says how far it has come.
async fn until_it_answers(writer: &Writer) -> i64 {
    loop {
        let Ok(mut tx) = writer.snapshot().await else { continue };
        let Ok(reached) = tx.checkpoints().await else { continue };
        return reached.next_offset(&partition(0));
    }
}
