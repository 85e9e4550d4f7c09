//! What the test kit finds: projections that depend on what they must not, each with its fault.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Mutex;

use balcony_event_log::{Message, Record};
use balcony_projector::testkit::{Given, Scenario};
use balcony_projector::{Decode, Projection, Received};
use balcony_store::{ReadModel, StoreError, Tx, Value};

/// Somebody who says something.
#[derive(Clone)]
struct Word {
    who: String,
    what: i64,
}

impl Decode for Word {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let who = String::from_utf8_lossy(&record.key).into_owned();
        let text = String::from_utf8_lossy(&record.payload);
        text.parse().map(|what| Some(Self { who, what })).map_err(|_| format!("{text:?} is no number"))
    }
}

impl Given for Word {
    fn message(self, number: usize) -> Message {
        (self.who, self.what.to_string()).message(number)
    }
}

/// How a projection goes about it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// Adds up what each says.
    Right,
    /// Counts batches.
    CountsBatches,
    /// Keeps who spoke last, of all.
    LastOfAll,
    /// Adds up in memory.
    Remembers,
    /// Reads the sums once when it starts, and adds up in memory from there.
    ReadsOnce,
    /// Finds what is there by a secondary index.
    RestsOnAnIndex,
    /// Reads a sum that all partitions share, and writes it back.
    ReadsAndWrites,
    /// Touches keys that all partitions share in the order in which they come.
    LocksInAnyOrder,
    /// Wants positive numbers.
    Checks,
    /// Keeps the last that each said.
    LastOfEach,
    /// The same, unless it was said before.
    LastNewOfEach,
}

struct Words {
    way: Way,
    model: ReadModel,
    sums: Mutex<Option<BTreeMap<String, i64>>>,
}

const ADD: &str = "INSERT INTO sums (who, sum) VALUES ($1, $2)
                   ON CONFLICT (who) DO UPDATE SET sum = sums.sum + excluded.sum";
const SET: &str = "INSERT INTO sums (who, sum) VALUES ($1, $2) ON CONFLICT (who) DO UPDATE SET sum = excluded.sum";

impl Words {
    fn that_go(way: Way) -> Self {
        let schema = match way {
            Way::RestsOnAnIndex => {
                "CREATE TABLE sums (who TEXT NOT NULL, sum BIGINT NOT NULL);
                 CREATE UNIQUE INDEX by_who ON sums (who);"
            }
            Way::LastNewOfEach => {
                "CREATE TABLE sums (who TEXT NOT NULL PRIMARY KEY, sum BIGINT NOT NULL);
                 CREATE TABLE said (what BIGINT NOT NULL PRIMARY KEY);"
            }
            Way::Checks => "CREATE TABLE sums (who TEXT NOT NULL PRIMARY KEY, sum BIGINT NOT NULL CHECK (sum > 0))",
            _ => "CREATE TABLE sums (who TEXT NOT NULL PRIMARY KEY, sum BIGINT NOT NULL)",
        };
        Self { way, model: ReadModel::new("words", 1, ["words"], schema), sums: Mutex::default() }
    }
}

impl Projection for Words {
    type Event = Word;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    async fn apply(&self, events: &[Received<Word>], tx: &mut Tx) -> Result<(), StoreError> {
        match self.way {
            Way::CountsBatches => {
                tx.execute(ADD, &["all".into(), 1_i64.into()]).await?;
            }
            Way::LastOfAll => {
                let last = &events[events.len() - 1];
                tx.execute(SET, &["last".into(), last.what.into()]).await?;
            }
            Way::Remembers | Way::ReadsOnce => {
                let known = self.sums.lock().unwrap().take();
                let mut sums = match known {
                    None if self.way == Way::ReadsOnce => {
                        tx.fetch::<(String, i64)>("SELECT who, sum FROM sums", &[]).await?.into_iter().collect()
                    }
                    known => known.unwrap_or_default(),
                };
                for event in events {
                    *sums.entry(event.who.clone()).or_default() += event.what;
                    tx.execute(SET, &[event.who.as_str().into(), sums[&event.who].into()]).await?;
                }
                *self.sums.lock().unwrap() = Some(sums);
            }
            Way::ReadsAndWrites => {
                let before: Vec<(i64,)> = tx.fetch("SELECT sum FROM sums WHERE who = 'all'", &[]).await?;
                let said: i64 = events.iter().map(|received| received.what).sum();
                let sum = before.first().map_or(0, |(sum,)| *sum) + said;
                tx.execute(SET, &["all".into(), sum.into()]).await?;
            }
            Way::LocksInAnyOrder => {
                let mut keys = ["one", "other"];
                keys.rotate_left(usize::from(events[0].who == "b"));
                for key in keys {
                    tx.execute(ADD, &[key.into(), (events.len() as i64).into()]).await?;
                }
            }
            Way::LastOfEach | Way::LastNewOfEach => {
                let mut is_new = vec![true; events.len()];
                if self.way == Way::LastNewOfEach {
                    let said: Vec<[Value<'_>; 1]> = events.iter().map(|event| [event.what.into()]).collect();
                    is_new = tx.insert_new("said", &["what"], ["what"], &said).await?;
                }
                for (event, _) in events.iter().zip(is_new).filter(|(_, is_new)| *is_new) {
                    tx.execute(SET, &[event.who.as_str().into(), event.what.into()]).await?;
                }
            }
            Way::Right | Way::RestsOnAnIndex | Way::Checks => {
                let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
                for event in events {
                    *sums.entry(&event.who).or_default() += event.what;
                }
                let rows: Vec<[Value<'_>; 2]> = sums.into_iter().map(|(who, sum)| [who.into(), sum.into()]).collect();
                tx.execute_rows(&ADD.replace("($1, $2)", "$rows"), &rows).await?;
            }
        }
        Ok(())
    }
}

fn scenario(way: Way) -> Scenario {
    // What workers do to each other takes long to make shorter.
    let events = if matches!(way, Way::ReadsAndWrites | Way::LocksInAnyOrder) { 12 } else { 40 };
    let words = move || Words::that_go(way);
    Scenario::of(words).given((1..=events).map(|what| Word { who: ["a", "b", "c"][what as usize % 3].into(), what }))
}

async fn failure(way: Way) -> String {
    scenario(way).try_every_schedule(20).await.err().map(|failure| failure.to_string()).unwrap_or_default()
}

/// How many events a failure shows.
fn events_in(failure: &str) -> usize {
    let (_, log) = failure.split_once("the log:\n").unwrap();
    log.lines().take_while(|line| !line.is_empty()).count()
}

#[tokio::test]
async fn a_right_projection_leaves_the_same_rows_under_every_schedule() {
    let applied = scenario(Way::Right).every_schedule(40).await;
    let expected = [("a".to_owned(), 273_i64), ("b".to_owned(), 287), ("c".to_owned(), 260)];
    applied.expect_rows("SELECT who, sum FROM sums ORDER BY who", expected).await;
    for reader in applied.readers().await {
        let rows: Vec<(i64,)> = reader.fetch("SELECT COUNT(*) FROM sums", &[]).await.unwrap();
        assert_eq!(rows, [(3,)]);
    }
}

#[tokio::test]
#[should_panic(expected = "found, expected")]
async fn other_rows_than_expected_are_a_failure() {
    let applied = scenario(Way::Right).every_schedule(0).await;
    applied.expect_rows("SELECT who, sum FROM sums ORDER BY who", [("a".to_owned(), 1_i64)]).await;
}

#[tokio::test]
async fn what_depends_on_where_batches_end_is_found() {
    let failure = failure(Way::CountsBatches).await;
    assert_eq!(events_in(&failure), 2, "it is as short as it can be: {failure}");
    assert!(failure.contains("- who = 'all', sum = 2\n  + who = 'all', sum = 1"), "{failure}");
}

#[tokio::test]
async fn what_depends_on_the_order_of_partitions_is_found() {
    let failure = failure(Way::LastOfAll).await;
    assert_eq!(events_in(&failure), 2, "{failure}");
    assert!(failure.contains("- who = 'last'") && failure.contains("+ who = 'last'"), "{failure}");
}

#[tokio::test]
async fn what_does_not_survive_a_restart_is_found() {
    let failure = failure(Way::Remembers).await;
    assert!(failure.contains("leaves other rows"), "{failure}");
}

#[tokio::test]
async fn what_takes_an_event_twice_that_is_applied_again_is_found() {
    let failure = failure(Way::ReadsOnce).await;
    assert_eq!(events_in(&failure), 1, "{failure}");
    assert!(failure.contains("is refused the commit and tries again"), "{failure}");
}

#[tokio::test]
async fn what_rests_on_an_index_that_a_rebuild_makes_last_is_found() {
    let failure = failure(Way::RestsOnAnIndex).await;
    assert!(failure.contains("fails") && failure.contains("secondary indexes are made last"), "{failure}");
}

#[tokio::test]
async fn what_cannot_be_decoded_or_applied_is_named() {
    let broken = scenario(Way::Right).given([("a", "word")]).try_every_schedule(3).await.err().unwrap();
    assert!(broken.to_string().contains("\"word\" is no number"), "{broken}");
    let refused = scenario(Way::Checks).given([("d", "-5")]).try_every_schedule(3).await.err().unwrap();
    assert!(refused.to_string().contains("CHECK"), "{refused}");
}

#[tokio::test]
async fn what_two_workers_do_to_each_other_is_found_where_they_write_at_once() {
    if std::env::var_os("DATABASE_URL").is_none() {
        return;
    }
    let lost = failure(Way::ReadsAndWrites).await;
    assert!(lost.contains("on PostgreSQL") && lost.contains("at once with"), "{lost}");
    let locked = failure(Way::LocksInAnyOrder).await;
    assert!(locked.contains("do not touch their keys in one order"), "{locked}");
}

#[tokio::test]
async fn what_a_repetition_changes_is_found() {
    let twice = scenario(Way::Right).with_repetitions().try_every_schedule(20).await.err().unwrap().to_string();
    assert_eq!(events_in(&twice), 2, "{twice}");
    assert!(twice.contains("than one event at a time and none twice") && twice.contains("  (again "), "{twice}");
    let back = scenario(Way::LastOfEach).with_repetitions().try_every_schedule(20).await.err().unwrap().to_string();
    assert_eq!(events_in(&back), 3, "it takes another in between: {back}");
    let applied = scenario(Way::LastNewOfEach).with_repetitions().every_schedule(20).await;
    let expected = [("a".to_owned(), 39_i64), ("b".to_owned(), 40), ("c".to_owned(), 38)];
    applied.expect_rows("SELECT who, sum FROM sums ORDER BY who", expected).await;
}

#[tokio::test]
async fn the_same_failure_is_found_again() {
    assert_eq!(failure(Way::LastOfAll).await, failure(Way::LastOfAll).await);
}
