use std::fs;
use std::path::{Path, PathBuf};

use balcony_search::{Check, Error, Index, Query};
use tempfile::TempDir;

use crate::{Fixture, at, comment, id, numbers};

/// An index of two segments with a deletion, closed.
fn written() -> TempDir {
    let fixture = Fixture::empty();
    let mut writer = fixture.index.writer().expect("a writer");
    for round in 0..2 {
        for number in round * 50..round * 50 + 50 {
            writer.add(&comment(number, "a film 映画 of words")).expect("added");
        }
        writer.delete(id(3 + round)).expect("deleted");
        writer.commit(&at(round as i64 + 1)).expect("committed");
    }
    writer.close().expect("closed");
    fixture.directory
}

fn index_of(directory: &TempDir) -> PathBuf {
    directory.path().join("index")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).expect("a directory").map(|file| file.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_none_or(|extension| extension != "lock"));
    files.sort();
    files
}

/// Everything that the index says.
fn content(index: &Index) -> (Vec<u128>, balcony_event_log::Positions) {
    let mut query = Query::new("film 映画");
    query.limit = 100;
    (numbers(&index.search(&query).expect("searched")), index.positions())
}

#[test]
fn a_missing_index_is_said_to_be_missing_and_an_existing_one_is_not_written_over() {
    let directory = TempDir::new().expect("a directory");
    assert!(matches!(Index::open(directory.path(), Check::Structure), Err(Error::Missing(_))));
    assert!(matches!(Index::open(&directory.path().join("x"), Check::Checksums), Err(Error::Missing(_))));
    Index::create(directory.path()).expect("an index");
    assert!(matches!(Index::create(directory.path()), Err(Error::Exists(_))));
    assert!(Index::open(directory.path(), Check::Checksums).expect("an index").positions().is_empty());
}

#[test]
fn a_file_that_is_missing_or_cut_short_is_found_when_the_index_is_opened() {
    let directory = written();
    let index = index_of(&directory);
    for file in files(&index).iter().filter(|file| !file.ends_with(".managed.json")) {
        let whole = fs::read(file).expect("a file");
        for length in [0, 1, 5, 8, whole.len() / 2, whole.len() - 2].map(|length| length.min(whole.len() - 1)) {
            fs::write(file, &whole[..length]).expect("cut");
            let opened = Index::open(&index, Check::Structure).err();
            let is_told = matches!(opened, Some(Error::Damaged(_) | Error::OtherForm(_)));
            assert!(is_told, "{} to {length}: {opened:?}", file.display());
        }
        fs::remove_file(file).expect("removed");
        assert!(Index::open(&index, Check::Structure).is_err(), "{}", file.display());
        fs::write(file, &whole).expect("restored");
    }
    Index::open(&index, Check::Checksums).expect("whole again");
}

#[test]
fn a_changed_byte_is_found_or_changes_nothing() {
    let directory = written();
    let index = index_of(&directory);
    let expected = content(&Index::open(&index, Check::Checksums).expect("an index"));
    assert_eq!(expected.0.len(), 98);
    let (mut found, mut harmless) = (0, 0);
    for file in files(&index) {
        let whole = fs::read(&file).expect("a file");
        for place in (0..whole.len()).step_by(1 + whole.len() / 150) {
            let mut changed = whole.clone();
            changed[place] ^= 1 << (place % 7);
            fs::write(&file, &changed).expect("changed");
            match Index::open(&index, Check::Checksums) {
                Err(Error::Damaged(_) | Error::OtherForm(_)) => found += 1,
                Err(other) => panic!("{} at {place}: {other}", file.display()),
                Ok(index) => {
                    assert_eq!(content(&index), expected, "{} at {place}", file.display());
                    harmless += 1;
                }
            }
        }
        fs::write(&file, &whole).expect("restored");
    }
    assert!(found > harmless, "{found} found, {harmless} harmless");
}

#[test]
fn an_index_in_use_can_be_verified() {
    let directory = written();
    let index = Index::open(&index_of(&directory), Check::Structure).expect("an index");
    index.verify().expect("whole");
    let postings =
        files(index.directory()).into_iter().find(|file| file.extension().is_some_and(|extension| extension == "idx"));
    let postings = postings.expect("postings");
    let mut bytes = fs::read(&postings).expect("a file");
    bytes[10] ^= 1;
    fs::write(&postings, bytes).expect("changed");
    assert!(matches!(index.verify(), Err(Error::Damaged(_))));
}
