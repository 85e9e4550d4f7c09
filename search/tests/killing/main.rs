//! A writer is killed again and again while it commits and merges. Whatever is found afterwards has to be exactly what
//! was in the log up to the positions that are found with it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use balcony_event_log::{Positions, TopicPartition};
use balcony_search::{Check, Comment, Index, Query, Sort, Writer};
use tempfile::TempDir;
use uuid::Uuid;

const DIRECTORY: &str = "BALCONY_SEARCH_WRITE_INTO";
const KILLS: u64 = 20;

/// The log: at every offset a post, and at some the deletion of an earlier one.
fn apply(writer: &mut Writer, offset: i64) {
    let number = offset as u128;
    if offset % 5 == 4 {
        writer.delete(id(number / 2)).expect("deleted");
        return;
    }
    let comment = Comment {
        id: id(number),
        movie: Uuid::nil(),
        author: Uuid::nil(),
        posted_at: offset,
        title: None,
        body: "film",
    };
    writer.add(&comment).expect("added");
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn at(next_offset: i64) -> Positions {
    [(partition(), next_offset)].into_iter().collect()
}

fn partition() -> TopicPartition {
    TopicPartition::new("balcony.events", 0)
}

/// The comments that are there when everything below `end` was applied.
fn expected(end: i64) -> Vec<u128> {
    let mut there = BTreeSet::new();
    for offset in 0..end {
        if offset % 5 == 4 {
            there.remove(&(offset as u128 / 2));
        } else {
            there.insert(offset as u128);
        }
    }
    there.into_iter().rev().collect()
}

/// Writes into the directory it is told, for ever; does nothing when it is told none.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let index = Index::open(Path::new(&directory), Check::Checksums).expect("an index");
    let mut writer = index.writer().expect("a writer");
    let mut offset = writer.positions().next_offset(&partition());
    loop {
        for _ in 0..7 + offset % 31 {
            apply(&mut writer, offset);
            offset += 1;
        }
        println!("\napplied");
        writer.commit(&at(offset)).expect("committed");
        println!("\ncommitted");
    }
}

fn start(directory: &Path) -> Child {
    let this: PathBuf = std::env::current_exe().expect("this test");
    Command::new(this)
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a child")
}

fn all(index: &Index) -> Vec<u128> {
    let mut query = Query::new("film");
    (query.sort, query.limit) = (Sort::Newest, 100);
    let mut found = Vec::new();
    loop {
        let page = index.search(&query).expect("searched");
        found.extend(page.hits.iter().map(|hit| hit.id.as_u128()));
        match page.next {
            None => return found,
            next => query.after = next,
        }
    }
}

#[test]
fn a_killed_writer_leaves_its_last_commit() {
    let directory = TempDir::new().expect("a directory");
    Index::create(directory.path()).expect("an index");
    let mut reached = 0;
    for kill in 0..KILLS {
        let mut child = start(directory.path());
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let wanted = ["applied", "committed"][kill as usize % 2];
        let mut left = 2 + kill * 7 % 23;
        for line in output.lines() {
            if line.expect("a line") == wanted {
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        assert_eq!(left, 0, "the child ended by itself");
        child.kill().expect("killed");
        child.wait().expect("ended");

        let index = Index::open(directory.path(), Check::Checksums).expect("an index");
        let end = index.positions().next_offset(&partition());
        assert!(end > reached, "{end} after {reached}");
        assert_eq!(all(&index), expected(end), "after {kill} kills, at {end}");
        reached = end;
    }
    let index = Index::open(directory.path(), Check::Checksums).expect("an index");
    index.writer().expect("a writer").close().expect("closed");
    let files = std::fs::read_dir(directory.path()).expect("a directory").count();
    assert!(files < 200, "{files} files, although there are few segments");
}
