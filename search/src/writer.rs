use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use balcony_event_log::Positions;
use tantivy::indexer::{IndexWriterOptions, NoMergePolicy};
use tantivy::schema::TantivyDocument;
use tantivy::{IndexWriter, Term};
use uuid::Uuid;

use crate::analysis::{Analyzer, Indexed};
use crate::document::{Prepared, Queue};
use crate::merging::Merging;
use crate::snapshot::Snapshot;
use crate::{Comment, Error, Index, Kept, checkpoint};

/// Memory for postings before they are written as a segment.
const HEAP: usize = 64 << 20;
/// How often the lock of an index is tried for.
const PAUSE: Duration = Duration::from_millis(20);

/// Adds and deletes comments. There is one at a time; what it does is seen and kept from the next [`Writer::commit`]
/// on, all of it or nothing. The ids since the last commit are in memory, so a commit is due every some ten thousand.
///
/// When a call fails the writer is of no use any more: the index stands at its last commit, and another writer goes
/// on from its positions.
pub struct Writer {
    index: Index,
    writer: Merged,
    /// The last commit.
    committed: Arc<Snapshot>,
    /// What has been learned since.
    pending: HashMap<Uuid, Kept>,
    analyzer: Analyzer,
    indexed: Indexed,
    queue: Queue,
    failed: bool,
}

/// Tantivy's writer, whose merges go on in threads of their own when it is dropped, and then replace what the index
/// consists of and remove files. Two of them at a time would remove each other's, so the lock is kept until the merges
/// have ended.
struct Merged(Option<IndexWriter<Prepared>>);

impl Index {
    /// The writer of the index.
    ///
    /// # Errors
    /// [`Error::Locked`] when there is one already, until the merges of one that was dropped have ended, and for a
    /// moment after one was dropped while this process starts another one, which holds its locks until it runs;
    /// [`Error::Damaged`], [`Error::Unavailable`].
    pub fn writer(&self) -> Result<Writer, Error> {
        let options = IndexWriterOptions::builder()
            .memory_budget_per_thread(HEAP)
            .num_worker_threads(1)
            .num_merge_threads(1)
            .build();
        let writer = Merged(Some(self.tantivy().writer_with_options(options)?));
        writer.set_merge_policy(Box::new(Merging::default()));
        // Files of a writer that was killed.
        writer.garbage_collect_files().wait()?;
        let committed = self.load_current()?;
        Ok(Writer {
            index: self.clone(),
            writer,
            committed,
            pending: HashMap::new(),
            analyzer: Analyzer::new(),
            indexed: Indexed::default(),
            queue: Queue::default(),
            failed: false,
        })
    }

    /// The same, once whoever has the lock has let go of it: blocks for `patience` at the most.
    ///
    /// # Errors
    /// As [`Index::writer`].
    pub fn writer_within(&self, patience: Duration) -> Result<Writer, Error> {
        let deadline = Instant::now() + patience;
        loop {
            match self.writer() {
                Err(Error::Locked) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                writer => return writer,
            }
        }
    }
}

impl Writer {
    /// How far in the log the last commit has come.
    pub fn positions(&self) -> &Positions {
        &self.committed.positions
    }

    /// What is known of `id`, commits that have not been made yet included.
    ///
    /// # Errors
    /// [`Error::Failed`], [`Error::Unavailable`].
    pub fn find(&self, id: Uuid) -> Result<Option<Kept>, Error> {
        self.usable()?;
        match self.pending.get(&id) {
            Some(kept) => Ok(Some(*kept)),
            None => self.committed.find(id, self.index.fields()),
        }
    }

    /// Adds `comment`, unless its id is known: comments do not change, and a deleted one stays deleted. Returns
    /// whether it was added.
    ///
    /// # Errors
    /// [`Error::Failed`], [`Error::Unavailable`].
    pub fn add(&mut self, comment: &Comment<'_>) -> Result<bool, Error> {
        if self.find(comment.id)?.is_some() {
            return Ok(false);
        }
        let fields = *self.index.fields();
        let mut document = fields.comment(comment);
        let mut bytes = 0;
        for text in comment.title.into_iter().chain([comment.body]) {
            self.indexed.clear();
            self.analyzer.cut(text, &mut self.indexed);
            fields.add_text(&mut document, &self.indexed);
            bytes += self.indexed.bytes();
        }
        self.send(document, bytes)?;
        self.pending.insert(comment.id, Kept::Comment { author: comment.author });
        Ok(true)
    }

    /// Deletes the comment `id` for ever, also when it is not known yet. Returns whether it was there. Whether that
    /// is allowed is for the caller to know; [`Writer::find`] tells whose it is.
    ///
    /// # Errors
    /// [`Error::Failed`], [`Error::Unavailable`].
    pub fn delete(&mut self, id: Uuid) -> Result<bool, Error> {
        let found = self.find(id)?;
        if found == Some(Kept::Deleted) {
            return Ok(false);
        }
        let fields = *self.index.fields();
        if found.is_some() {
            self.writer.delete_term(Term::from_field_bytes(fields.id, id.as_bytes()));
        }
        self.send(fields.deleted(id), 0)?;
        self.pending.insert(id, Kept::Deleted);
        Ok(found.is_some())
    }

    /// Makes everything since the last commit durable, together with `positions`: everything below them is in the
    /// index. Searches see it when this returns.
    ///
    /// # Errors
    /// [`Error::Failed`], [`Error::Unavailable`].
    pub fn commit(&mut self, positions: &Positions) -> Result<(), Error> {
        self.usable()?;
        self.failed = true;
        let mut commit = self.writer.prepare_commit()?;
        commit.set_payload(&checkpoint::encode(positions));
        commit.commit()?;
        self.committed = self.index.load_current()?;
        self.pending.clear();
        self.failed = false;
        Ok(())
    }

    /// Ends the writer after the merges that are under way. Dropping it lets them end while nobody waits, and begins no
    /// other; what was not committed is lost either way.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn close(mut self) -> Result<(), Error> {
        if let Some(writer) = self.writer.0.take() {
            writer.wait_merging_threads()?;
        }
        self.index.reload()
    }

    fn send(&mut self, document: TantivyDocument, bytes: usize) -> Result<(), Error> {
        let prepared = self.queue.prepare(document, bytes);
        let Err(error) = self.writer.add_document(prepared) else { return Ok(()) };
        self.failed = true;
        // The thread that failed tells why only to who waits for it.
        Err(self.writer.prepare_commit().err().unwrap_or(error).into())
    }

    fn usable(&self) -> Result<(), Error> {
        if self.failed { Err(Error::Failed) } else { Ok(()) }
    }
}

impl Deref for Merged {
    type Target = IndexWriter<Prepared>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("there until it is closed or dropped")
    }
}

impl DerefMut for Merged {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.as_mut().expect("there until it is closed or dropped")
    }
}

impl Drop for Merged {
    fn drop(&mut self) {
        let Some(writer) = self.0.take() else { return };
        writer.set_merge_policy(Box::new(NoMergePolicy));
        // What cannot be merged any more has been logged, and the last commit stands.
        std::thread::spawn(move || drop(writer.wait_merging_threads()));
    }
}
