//! What somebody looks for.

pub(crate) mod needs;
mod parse;
mod plan;

use std::time::{Duration, Instant};

pub(crate) use needs::{Characters, Need, Needs};
pub(crate) use plan::plan;
use uuid::Uuid;

use crate::snippet::Snippets;

/// How long a search goes on when nothing else is said.
const TIME_LIMIT: Duration = Duration::from_millis(500);

/// Hits on a page when nothing else is said.
const LIMIT: usize = 20;

/// What somebody typed, and filters.
///
/// The language: a comment has to contain **every word**, in any order, in its title or its body. English words
/// are found in their other forms too (`films` finds "film"), which count less. `"words in quotes"` have to
/// follow each other; `-word` and `-"these words"` must not be there; `wor*` is any word that begins so. Words that
/// punctuation ties together (`foo_bar()`, `www.example.com`) have to follow each other. In scripts that do not put
/// spaces between words, every word that a dictionary finds in the query has to be there, be it as part of a longer
/// word; between quotes it is the characters that have to follow each other. Where both kinds of script meet between
/// quotes, each part has to be there.
///
/// Case, accents and width do not count. **No text is an error**: a quote that is never closed, a star alone and
/// other operators without operands are passed over. A query without a word that has to be there finds nothing. What
/// goes beyond 500 characters or 32 words is not looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What was typed.
    pub(crate) needs: Needs,
    /// Only comments on this movie.
    pub movie: Option<Uuid>,
    /// Only comments by this user.
    pub author: Option<Uuid>,
    /// Only comments posted then or later, in milliseconds since 1970-01-01T00:00:00Z.
    pub since: Option<i64>,
    /// Only comments posted before, in milliseconds since 1970-01-01T00:00:00Z.
    pub until: Option<i64>,
    /// The order of hits.
    pub sort: Sort,
    /// Hits on a page, at most 100.
    pub limit: usize,
    /// The end of the page before.
    pub after: Option<Cursor>,
    /// The search ends about then with what it has found. It is looked at after every few comments and between
    /// segments; one step through one segment (a million comments at most) is not interrupted.
    pub time_limit: Duration,
}

/// The order of hits. Equal ones are ordered by id, the greater first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// The best first.
    #[default]
    Relevance,
    /// The newest first.
    Newest,
}

/// Where a page ends: the next one begins after it.
///
/// By [`Sort::Newest`] no comment is on two pages, and none that is there all the time is on no page, whatever is
/// written in between. By [`Sort::Relevance`] the same holds as long as the index remembers the state that the first
/// page was found in: for the last 32 states that have further pages, and for a minute after their last use. Then
/// scores are compared with those of the state of now, where they differ a little, so that hits with almost
/// the same score as the end of the page may be repeated or passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The last hit by the order: the bits of its score, or its time in milliseconds.
    pub key: i64,
    /// The last hit.
    pub id: Uuid,
    /// The state of the index that it was found in.
    pub snapshot: u64,
}

impl Query {
    /// Reads what somebody typed; no filters, the best 20 first.
    pub fn new(text: &str) -> Self {
        Self {
            needs: parse::parse(text),
            movie: None,
            author: None,
            since: None,
            until: None,
            sort: Sort::default(),
            limit: LIMIT,
            after: None,
            time_limit: TIME_LIMIT,
        }
    }

    /// Whether nothing can be found, because there is no word that has to be there.
    pub fn is_empty(&self) -> bool {
        self.needs.wanted.is_empty()
    }

    /// What makes snippets of texts that were found; with marks for as long as it is not later than `until`.
    pub fn snippets(&self, until: Option<Instant>) -> Snippets<'_> {
        Snippets::new(&self.needs, until)
    }

    /// The snippet of one text; see [`Snippets::of`].
    pub fn snippet(&self, text: &str) -> String {
        self.snippets(None).of(text)
    }
}
