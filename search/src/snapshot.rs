use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use balcony_event_log::Positions;
use tantivy::columnar::ColumnValues;
use tantivy::index::SegmentReader;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocId, DocSet, InvertedIndexReader, Searcher, TERMINATED, Term};
use uuid::Uuid;

use crate::Error;
use crate::document::{AUTHOR_HALVES, DELETED, Fields, ID_HALVES, POSTED_AT};

/// What the index knows of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// There is such a comment.
    Comment {
        /// Who wrote it.
        author: Uuid,
    },
    /// The comment was deleted, for ever.
    Deleted,
}

/// The index as of one commit.
pub(crate) struct Snapshot {
    pub(crate) searcher: Searcher,
    pub(crate) segments: Vec<Segment>,
    /// How far in the log its comments come from.
    pub(crate) positions: Positions,
    /// The same for the same files, in any process; scores are equal only then.
    pub(crate) id: u64,
}

/// What is read of a segment besides its postings.
pub(crate) struct Segment {
    ids: Arc<InvertedIndexReader>,
    pub(crate) posted_at: Arc<dyn ColumnValues<i64>>,
    id_halves: [Arc<dyn ColumnValues<u64>>; 2],
    author_halves: [Arc<dyn ColumnValues<u64>>; 2],
}

impl Snapshot {
    pub(crate) fn new(searcher: Searcher, fields: &Fields, positions: Positions) -> Result<Self, Error> {
        let readers = searcher.segment_readers();
        let segments = readers.iter().map(|reader| Segment::open(reader, fields)).collect::<Result<_, _>>()?;
        let mut hasher = DefaultHasher::new();
        searcher.generation().segments().hash(&mut hasher);
        Ok(Self { segments, positions, id: hasher.finish(), searcher })
    }

    /// What is known of `id`.
    pub(crate) fn find(&self, id: Uuid, fields: &Fields) -> Result<Option<Kept>, Error> {
        let term = Term::from_field_bytes(fields.id, id.as_bytes());
        for (segment, reader) in self.segments.iter().zip(self.searcher.segment_readers()) {
            let Some(mut postings) = segment.ids.read_postings(&term, IndexRecordOption::Basic)? else { continue };
            while postings.doc() != TERMINATED {
                if !reader.is_deleted(postings.doc()) {
                    return Ok(Some(segment.kept(postings.doc())));
                }
                postings.advance();
            }
        }
        Ok(None)
    }
}

impl Segment {
    fn open(reader: &SegmentReader, fields: &Fields) -> Result<Self, Error> {
        let columns = reader.fast_fields();
        let column = |name| columns.column_first_or_default::<u64>(name);
        let segment = Self {
            ids: reader.inverted_index(fields.id)?,
            posted_at: columns.column_first_or_default(POSTED_AT)?,
            id_halves: [column(ID_HALVES[0])?, column(ID_HALVES[1])?],
            author_halves: [column(AUTHOR_HALVES[0])?, column(AUTHOR_HALVES[1])?],
        };
        // The counts stand in the one file that has no checksum.
        let alive = reader.alive_bitset().map_or(reader.max_doc(), |alive| alive.num_alive_docs() as u32);
        if segment.posted_at.num_vals() != reader.max_doc() || alive != reader.num_docs() {
            return Err(Error::Damaged(format!("segment {} has another size", reader.segment_id())));
        }
        Ok(segment)
    }

    /// The comment that `document` is.
    pub(crate) fn id(&self, document: DocId) -> u128 {
        whole(&self.id_halves, document).as_u128()
    }

    fn kept(&self, document: DocId) -> Kept {
        if self.posted_at.get_val(document) == DELETED {
            return Kept::Deleted;
        }
        Kept::Comment { author: whole(&self.author_halves, document) }
    }
}

fn whole(halves: &[Arc<dyn ColumnValues<u64>>; 2], document: DocId) -> Uuid {
    Uuid::from_u64_pair(halves[0].get_val(document), halves[1].get_val(document))
}
