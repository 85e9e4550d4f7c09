use std::collections::BTreeMap;
use std::time::Duration;

use balcony_search::{Check, Error, Index, Kept, Query, Writer};
use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{at, comment, id, numbers};

const WORDS: [&str; 5] = ["alpha", "beta", "gamma", "映画", "猫"];

#[derive(Debug, Clone)]
enum Step {
    Add(u128, usize),
    Delete(u128),
    Commit,
    /// Without a commit: what came since is lost.
    Reopen,
}

/// What the index should be: the words of each comment, `None` once it was deleted.
type Model = BTreeMap<u128, Option<usize>>;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..24_u128, 1..32_usize).prop_map(|(number, words)| Step::Add(number, words)),
        3 => (0..24_u128).prop_map(Step::Delete),
        2 => Just(Step::Commit),
        1 => Just(Step::Reopen),
    ]
}

fn body(words: usize) -> String {
    let chosen = WORDS.iter().enumerate().filter(|(place, _)| words & (1 << place) != 0);
    chosen.map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
}

fn check_known(writer: &Writer, model: &Model) {
    for number in 0..24 {
        let kept = model.get(&number).map(|words| match words {
            Some(_) => Kept::Comment { author: Uuid::from_u128(number % 3) },
            None => Kept::Deleted,
        });
        assert_eq!(writer.find(id(number)).expect("found"), kept, "{number}");
    }
}

fn check_found(index: &Index, model: &Model) {
    for (place, word) in WORDS.iter().enumerate() {
        let mut query = Query::new(word);
        query.limit = 100;
        let page = index.search(&query).expect("searched");
        let mut found = numbers(&page);
        found.sort_unstable();
        let expected: Vec<u128> = model
            .iter()
            .filter(|(_, words)| words.is_some_and(|words| words & (1 << place) != 0))
            .map(|(number, _)| *number)
            .collect();
        assert_eq!(found, expected, "{word}");
        assert_eq!(page.total, expected.len() as u64);
    }
}

/// How long the merges of the writer before may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The writer, once the merges of the one before have ended.
fn unlocked(index: &Index) -> Writer {
    index.writer_within(PATIENCE).expect("a writer")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_index_is_what_a_map_would_be(steps in prop::collection::vec(step(), 0..80)) {
        let directory = TempDir::new().expect("a directory");
        let mut index = Index::create(directory.path()).expect("an index");
        let mut writer = index.writer().expect("a writer");
        let (mut model, mut committed, mut position) = (Model::new(), Model::new(), 0);
        for step in steps {
            match step {
                Step::Add(number, words) => {
                    let added = writer.add(&comment(number, &body(words))).expect("added");
                    prop_assert_eq!(added, !model.contains_key(&number));
                    model.entry(number).or_insert(Some(words));
                }
                Step::Delete(number) => {
                    let deleted = writer.delete(id(number)).expect("deleted");
                    prop_assert_eq!(deleted, matches!(model.get(&number), Some(Some(_))));
                    model.insert(number, None);
                }
                Step::Commit => {
                    position += 1;
                    writer.commit(&at(position)).expect("committed");
                    committed = model.clone();
                }
                Step::Reopen => {
                    drop((writer, index));
                    index = Index::open(directory.path(), Check::Checksums).expect("an index");
                    writer = unlocked(&index);
                    model = committed.clone();
                }
            }
            check_known(&writer, &model);
        }
        check_found(&index, &committed);
        if position > 0 {
            prop_assert_eq!(index.positions(), at(position));
        }
        writer.commit(&at(position + 1)).expect("committed");
        writer.close().expect("closed");
        check_found(&index, &model);
    }
}

#[test]
fn there_is_one_writer() {
    let directory = TempDir::new().expect("a directory");
    let index = Index::create(directory.path()).expect("an index");
    let writer = index.writer().expect("a writer");
    let other = Index::open(directory.path(), Check::Structure).expect("an index");
    assert!(matches!(other.writer(), Err(Error::Locked)));
    drop(writer);
    unlocked(&other);
}

/// The threads of a writer that is dropped while it merges replace what the index consists of and remove files.
#[test]
fn there_is_no_other_writer_until_the_merges_of_the_one_before_have_ended() {
    let directory = TempDir::new().expect("a directory");
    let index = Index::create(directory.path()).expect("an index");
    let mut added = 0;
    let was_locked = (0..10).any(|_| {
        let mut writer = unlocked(&index);
        for _ in 0..8 {
            for _ in 0..1_000 {
                added += 1;
                writer.add(&comment(added, "alpha")).expect("added");
            }
            writer.commit(&at(i64::try_from(added).expect("few"))).expect("committed");
        }
        drop(writer);
        matches!(index.writer(), Err(Error::Locked))
    });
    assert!(was_locked);
    unlocked(&index).close().expect("closed");
    let found = index.search(&Query::new("alpha")).expect("searched").total;
    assert_eq!(u128::from(found), added);
}

#[test]
fn another_process_sees_a_commit_when_it_reloads() {
    let directory = TempDir::new().expect("a directory");
    let index = Index::create(directory.path()).expect("an index");
    let other = Index::open(directory.path(), Check::Structure).expect("an index");
    let mut writer = index.writer().expect("a writer");
    writer.add(&comment(1, "alpha")).expect("added");
    writer.commit(&at(7)).expect("committed");
    assert_eq!(other.search(&Query::new("alpha")).expect("searched").total, 0);
    assert!(other.positions().is_empty());
    other.reload().expect("reloaded");
    assert_eq!(other.search(&Query::new("alpha")).expect("searched").total, 1);
    assert_eq!(other.positions(), at(7));
}
