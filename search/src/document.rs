use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tantivy::schema::{
    BytesOptions, Document, Field, IndexRecordOption, NumericOptions, Schema, TantivyDocument, TextFieldIndexing,
    TextOptions,
};
use uuid::Uuid;

use crate::analysis::Indexed;

/// The name under which [`SplitTokenizer`](crate::analysis::SplitTokenizer) is known to tantivy.
pub(crate) const TOKENIZER: &str = "split";

/// Instead of the time of a post: the comment was deleted.
pub(crate) const DELETED: i64 = i64::MIN;

/// Bytes of text that may wait for tantivy's thread.
const WAITING_BYTES: usize = 32 << 20;

/// A comment as it is indexed.
#[derive(Debug, Clone, Copy)]
pub struct Comment<'a> {
    /// Its id.
    pub id: Uuid,
    /// The movie it is about.
    pub movie: Uuid,
    /// Who wrote it.
    pub author: Uuid,
    /// When it was posted, in milliseconds since 1970-01-01T00:00:00Z. `i64::MIN` is taken as the millisecond after.
    pub posted_at: i64,
    /// Its title, if it has one.
    pub title: Option<&'a str>,
    /// Its body.
    pub body: &'a str,
}

/// The fields of a document. A deleted comment keeps one that has only an id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) id: Field,
    pub(crate) movie: Field,
    pub(crate) author: Field,
    pub(crate) posted_at: Field,
    pub(crate) words: Field,
    pub(crate) stems: Field,
    pub(crate) grams: Field,
    id_halves: [Field; 2],
    author_halves: [Field; 2],
}

/// Columns that hold an id as two numbers: a column of bytes would be a dictionary.
pub(crate) const ID_HALVES: [&str; 2] = ["id_high", "id_low"];
/// See [`ID_HALVES`].
pub(crate) const AUTHOR_HALVES: [&str; 2] = ["author_high", "author_low"];
/// The column of times.
pub(crate) const POSTED_AT: &str = "posted_at";

impl Fields {
    /// The fields and the schema they make.
    pub(crate) fn schema() -> (Self, Schema) {
        let mut schema = Schema::builder();
        let term = || BytesOptions::default().set_indexed();
        let column = || NumericOptions::default().set_fast();
        let text = |record| {
            let indexing = TextFieldIndexing::default().set_tokenizer(TOKENIZER).set_index_option(record);
            TextOptions::default().set_indexing_options(indexing)
        };
        let fields = Self {
            id: schema.add_bytes_field("id", term()),
            movie: schema.add_bytes_field("movie", term()),
            author: schema.add_bytes_field("author", term()),
            posted_at: schema.add_i64_field(POSTED_AT, column()),
            words: schema.add_text_field("words", text(IndexRecordOption::WithFreqsAndPositions)),
            stems: schema.add_text_field("stems", text(IndexRecordOption::WithFreqs)),
            grams: schema.add_text_field("grams", text(IndexRecordOption::WithFreqsAndPositions)),
            id_halves: ID_HALVES.map(|name| schema.add_u64_field(name, column())),
            author_halves: AUTHOR_HALVES.map(|name| schema.add_u64_field(name, column())),
        };
        (fields, schema.build())
    }

    /// A comment; its texts are [`Prepared::add_text`]ed.
    pub(crate) fn comment(&self, comment: &Comment<'_>) -> TantivyDocument {
        let mut document = TantivyDocument::new();
        document.add_bytes(self.movie, comment.movie.as_bytes());
        document.add_bytes(self.author, comment.author.as_bytes());
        self.add_columns(&mut document, comment.id, comment.author, comment.posted_at.max(DELETED + 1));
        document
    }

    /// What stays of a deleted comment.
    pub(crate) fn deleted(&self, id: Uuid) -> TantivyDocument {
        let mut document = TantivyDocument::with_capacity(128);
        self.add_columns(&mut document, id, Uuid::nil(), DELETED);
        document
    }

    /// One text of a comment, cut.
    pub(crate) fn add_text(&self, document: &mut TantivyDocument, text: &Indexed) {
        for (field, terms) in [(self.words, &text.words), (self.stems, &text.stems), (self.grams, &text.grams)] {
            if !terms.is_empty() {
                document.add_text(field, terms);
            }
        }
    }

    fn add_columns(&self, document: &mut TantivyDocument, id: Uuid, author: Uuid, posted_at: i64) {
        document.add_bytes(self.id, id.as_bytes());
        document.add_i64(self.posted_at, posted_at);
        for (fields, id) in [(self.id_halves, id), (self.author_halves, author)] {
            let (high, low) = id.as_u64_pair();
            document.add_u64(fields[0], high);
            document.add_u64(fields[1], low);
        }
    }
}

/// A document on its way to tantivy's thread.
pub(crate) struct Prepared {
    document: TantivyDocument,
    _waiting: Waiting,
}

impl Document for Prepared {
    type Value<'a> = <TantivyDocument as Document>::Value<'a>;
    type FieldsValuesIter<'a> = <TantivyDocument as Document>::FieldsValuesIter<'a>;

    fn iter_fields_and_values(&self) -> Self::FieldsValuesIter<'_> {
        self.document.iter_fields_and_values()
    }
}

/// Bounds the texts that wait for tantivy's thread: its own queue counts documents, whatever their size.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue(Arc<(Mutex<usize>, Condvar)>);

/// A text that waits, until it is dropped.
struct Waiting {
    queue: Queue,
    bytes: usize,
}

impl Queue {
    /// Waits until `bytes` more may wait, and puts `document` in line.
    pub(crate) fn prepare(&self, document: TantivyDocument, bytes: usize) -> Prepared {
        let (used, freed) = &*self.0;
        let used = used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut used = freed
            .wait_while(used, |used| *used > 0 && *used + bytes > WAITING_BYTES)
            .unwrap_or_else(PoisonError::into_inner);
        *used += bytes;
        Prepared { document, _waiting: Waiting { queue: self.clone(), bytes } }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let (used, freed) = &*self.queue.0;
        *used.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        freed.notify_one();
    }
}
