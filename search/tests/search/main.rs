//! The index from outside: what is found, in which order and how it is shown; that it is what a plain map of comments
//! would be, through any schedule; and that damage is noticed.

mod damage;
mod model;
mod paging;
mod queries;
mod relevance;
mod snippets;

use balcony_event_log::{Positions, TopicPartition};
use balcony_search::{Comment, Index, Page, Query};
use tempfile::TempDir;
use uuid::Uuid;

/// An index in a directory that goes away with it.
struct Fixture {
    directory: TempDir,
    index: Index,
}

impl Fixture {
    fn empty() -> Self {
        let directory = TempDir::new().expect("a directory");
        let index = Index::create(&directory.path().join("index")).expect("an index");
        Self { directory, index }
    }

    /// With a comment of each body, numbered from 0.
    fn of(bodies: &[&str]) -> Self {
        let fixture = Self::empty();
        let mut writer = fixture.index.writer().expect("a writer");
        for (number, body) in (0..).zip(bodies) {
            assert!(writer.add(&comment(number, body)).expect("added"));
        }
        writer.commit(&at(bodies.len() as i64)).expect("committed");
        writer.close().expect("closed");
        fixture
    }

    /// The numbers of the comments that `text` finds, in order.
    fn find(&self, text: &str) -> Vec<u128> {
        numbers(&self.search(&Query::new(text)))
    }

    fn search(&self, query: &Query) -> Page {
        let page = self.index.search(query).expect("searched");
        assert!(page.hits.len() <= 100);
        page
    }
}

/// Comment `number`, by user and on movie `number % 3`, posted at second `number`.
fn comment(number: u128, body: &str) -> Comment<'_> {
    Comment {
        id: id(number),
        movie: Uuid::from_u128(number % 3),
        author: Uuid::from_u128(number % 3),
        posted_at: second(number as i64),
        title: None,
        body,
    }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn second(second: i64) -> i64 {
    second * 1_000
}

fn numbers(page: &Page) -> Vec<u128> {
    page.hits.iter().map(|hit| hit.id.as_u128()).collect()
}

fn at(next_offset: i64) -> Positions {
    [(TopicPartition::new("balcony.events", 0), next_offset)].into_iter().collect()
}
