//! The rows of the comments projection, made without Balcony: the least that whoever fills that table has to do.

use std::borrow::Cow;

use anyhow::Context as _;
use balcony_domain::event::CommentPosted;
use balcony_domain::{Event, Recorded, Timestamp};
use serde::Deserialize;
use uuid::Uuid;

/// What is in a comment's event.
#[derive(Deserialize)]
struct Posted<'a> {
    comment_id: Uuid,
    movie_id: Uuid,
    author_id: Uuid,
    #[serde(borrow, default)]
    title: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body: Cow<'a, str>,
}

/// A row of `comments`.
pub(crate) struct Row<'a> {
    posted: Posted<'a>,
    posted_at: i64,
}

/// Rows in the form of PostgreSQL's binary COPY.
pub(crate) struct CopyBuffer(Vec<u8>);

const SCHEMA: &str = include_str!("../../migrations/comments.sql");
const INDEX: &str = "CREATE INDEX";
const POSTED: &str = "balcony.comment.posted.v1";
pub(crate) const COPY: &str =
    "COPY comments (id, movie_id, author_id, title, body, posted_at) FROM STDIN (FORMAT binary)";
pub(crate) const INSERT: &str =
    "INSERT INTO comments (id, movie_id, author_id, title, body, posted_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// The projection's tables, with or without its indexes beside the primary keys.
pub(crate) fn schema(indexes: bool) -> String {
    let statements = SCHEMA.split_inclusive(';');
    statements.filter(|statement| indexes || !statement.contains(INDEX)).collect()
}

/// The indexes alone.
pub(crate) fn indexes() -> String {
    SCHEMA.split_inclusive(';').filter(|statement| statement.contains(INDEX)).collect()
}

impl<'a> Row<'a> {
    /// The row of a comment that never was a record; `None` when the event is none.
    pub(crate) fn of(recorded: &'a Recorded) -> Option<Self> {
        let Event::CommentPosted(posted) = &recorded.event else { return None };
        let CommentPosted { comment_id, movie_id, author_id, title, body } = posted;
        let posted = Posted {
            comment_id: comment_id.0,
            movie_id: movie_id.0,
            author_id: author_id.0,
            title: title.as_deref().map(Cow::Borrowed),
            body: Cow::Borrowed(body),
        };
        Some(Self { posted, posted_at: recorded.time.milliseconds() })
    }

    /// Reads a record; `None` when it is no comment.
    pub(crate) fn parse(
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        payload: &'a [u8],
    ) -> anyhow::Result<Option<Self>> {
        let (mut event_type, mut time) = (None, None);
        for (name, value) in headers {
            match name {
                "ce_type" => event_type = Some(value),
                "ce_time" => time = Some(value),
                _ => {}
            }
        }
        if event_type != Some(POSTED.as_bytes()) {
            return Ok(None);
        }
        let time: Timestamp = std::str::from_utf8(time.context("no ce_time")?)?.parse()?;
        Ok(Some(Self { posted: serde_json::from_slice(payload)?, posted_at: time.milliseconds() }))
    }

    /// Runs [`INSERT`].
    pub(crate) fn insert(&self, statement: &mut rusqlite::CachedStatement<'_>) -> rusqlite::Result<usize> {
        let Posted { comment_id, movie_id, author_id, title, body } = &self.posted;
        let (id, movie, author) = (comment_id.as_bytes(), movie_id.as_bytes(), author_id.as_bytes());
        statement.execute(rusqlite::params![id, movie, author, title.as_deref(), body.as_ref(), self.posted_at])
    }
}

impl CopyBuffer {
    pub(crate) fn new() -> Self {
        Self(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec())
    }

    pub(crate) fn push(&mut self, row: &Row<'_>) {
        let Posted { comment_id, movie_id, author_id, title, body } = &row.posted;
        self.0.extend_from_slice(&6_i16.to_be_bytes());
        for id in [comment_id, movie_id, author_id] {
            self.field(id.as_bytes());
        }
        match title {
            Some(title) => self.field(title.as_bytes()),
            None => self.0.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
        self.field(body.as_bytes());
        self.field(&row.posted_at.to_be_bytes());
    }

    /// The whole of it.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&(-1_i16).to_be_bytes());
        self.0
    }

    fn field(&mut self, bytes: &[u8]) {
        let length = i32::try_from(bytes.len()).expect("a field is far below 2 GiB");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events;

    #[test]
    fn a_record_of_a_comment_becomes_a_row() {
        let message = events::message(5, events::body());
        let row = Row::parse(message.headers.iter(), &message.payload).expect("an event").expect("a comment");
        assert_eq!(row.posted.comment_id.to_string().as_bytes(), message.key);
        assert_eq!(row.posted.body, events::body());
        let recorded = events::comment(5, events::body());
        let same = Row::of(&recorded).expect("a comment");
        assert_eq!((same.posted.movie_id, same.posted_at), (row.posted.movie_id, row.posted_at));
        assert!(Row::parse(std::iter::empty(), &message.payload).expect("no error").is_none());
    }

    #[test]
    fn secondary_indexes_can_be_left_out() {
        let count = |text: &str, what| text.matches(what).count();
        assert_eq!(count(&schema(true), "CREATE INDEX"), 3);
        assert_eq!(count(&schema(false), "CREATE INDEX"), 0);
        assert_eq!(count(&indexes(), "CREATE"), 3);
        assert_eq!(count(&schema(false), "CREATE TABLE"), count(&schema(true), "CREATE TABLE"));
    }
}
