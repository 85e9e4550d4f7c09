//! The search index of comments.
//!
//! A tantivy index in a directory of its own. How far in the log its comments come from travels in every commit, so
//! the index and its checkpoint are one: whoever opens it reads on from [`Index::positions`]. **This crate knows
//! nothing of how the log is read, of HTTP or of databases**; it is given comments and asked for them.
//!
//! - [`Index`] is opened, verified and searched; any number of threads and processes may search.
//! - [`Writer`] adds and deletes; one at a time. Both may be repeated, in any order: a comment is there once, and
//!   never again after it was deleted.
//! - [`Query`] is what somebody typed, with filters. Its language is described there.
//!
//! [`words`] are what a text is cut into, for other uses.
//!
//! Texts are not kept: a hit is an id and a score, and [`Snippets`] mark the words in texts that the caller
//! has read elsewhere.

mod analysis;
mod checkpoint;
mod document;
mod error;
mod index;
mod merging;
mod query;
mod search;
mod snapshot;
mod snippet;
mod words;
mod writer;

pub use document::Comment;
pub use error::Error;
pub use index::{Check, Index};
pub use query::{Cursor, Query, Sort};
pub use search::{Hit, Page, TOTAL_MAX};
pub use snapshot::Kept;
pub use snippet::Snippets;
pub use words::words;
pub use writer::Writer;
