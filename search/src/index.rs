use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use balcony_event_log::Positions;
use tantivy::directory::MmapDirectory;
use tantivy::directory::error::OpenReadError;
use tantivy::{IndexReader, IndexSettings, ReloadPolicy, TantivyError};

use crate::analysis::SplitTokenizer;
use crate::document::{Fields, TOKENIZER};
use crate::snapshot::Snapshot;
use crate::{Error, checkpoint};

/// The file that names the files of the last commit.
const META: &str = "meta.json";

/// How many earlier states of the index are kept for searches that go on to a further page, and how long after their
/// last use. Meanwhile the files of segments that were merged stay on the disk.
const PINNED_MAX: usize = 32;
const PINNED_FOR: Duration = Duration::from_secs(60);

/// How closely an index is looked at when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Every file is there, ends where it should and belongs to the others. Takes milliseconds.
    Structure,
    /// Every byte is read and compared with checksums. For a start after a crash: what is wrong inside a file shows
    /// only here, and would otherwise break searches.
    Checksums,
}

/// An index of comments in a directory. Clones are the same index.
#[derive(Clone)]
pub struct Index {
    shared: Arc<Shared>,
}

struct Shared {
    directory: PathBuf,
    index: tantivy::Index,
    fields: Fields,
    reader: IndexReader,
    current: RwLock<Arc<Snapshot>>,
    /// Held by who replaces `current`, so that it is never replaced by an older one.
    reloading: Mutex<()>,
    pinned: Mutex<VecDeque<(Instant, Arc<Snapshot>)>>,
}

impl Index {
    /// Makes an empty index in `directory`, which is made if it is missing. Its positions are empty.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is an index; [`Error::Unavailable`].
    pub fn create(directory: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(directory)?;
        if directory.join(META).exists() {
            return Err(Error::Exists(directory.to_owned()));
        }
        let (fields, schema) = Fields::schema();
        let settings = IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() };
        let index = tantivy::Index::create(open_directory(directory)?, schema, settings)?;
        Self::with(directory, index, fields, Positions::new())
    }

    /// Opens the index in `directory`.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Damaged`] or [`Error::OtherForm`] when it has to be built (again), in a directory
    /// that was emptied; [`Error::Unavailable`].
    pub fn open(directory: &Path, check: Check) -> Result<Self, Error> {
        // Files of a few bytes make tantivy panic, where longer ones that are wrong give an error.
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_as_it_is(directory, check)));
        opened.unwrap_or_else(|_| Err(Error::Damaged("it cannot be read at all".to_owned())))
    }

    fn open_as_it_is(directory: &Path, check: Check) -> Result<Self, Error> {
        if !directory.join(META).exists() {
            return Err(Error::Missing(directory.to_owned()));
        }
        let index = tantivy::Index::open(open_directory(directory)?)?;
        let positions = committed(&index)?;
        let (fields, schema) = Fields::schema();
        if index.schema() != schema {
            return Err(Error::Damaged("its fields are not what they were".to_owned()));
        }
        if check == Check::Checksums {
            verify(&index)?;
        }
        Self::with(directory, index, fields, positions)
    }

    fn with(directory: &Path, index: tantivy::Index, fields: Fields, positions: Positions) -> Result<Self, Error> {
        index.tokenizers().register(TOKENIZER, SplitTokenizer::default());
        let reader: IndexReader =
            index.reader_builder().reload_policy(ReloadPolicy::Manual).doc_store_cache_num_blocks(0).try_into()?;
        let snapshot = Snapshot::new(reader.searcher(), &fields, positions)?;
        let (current, reloading, pinned) = (RwLock::new(Arc::new(snapshot)), Mutex::default(), Mutex::default());
        let shared = Shared { directory: directory.to_owned(), index, fields, reader, current, reloading, pinned };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Compares every byte of the last commit with its checksum.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the index has to be built again; [`Error::Unavailable`].
    pub fn verify(&self) -> Result<(), Error> {
        committed(&self.shared.index)?;
        verify(&self.shared.index)
    }

    /// Lets searches see the last commit of a writer in another process. A writer of this process does it by itself.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Unavailable`]; searches go on seeing what they saw.
    pub fn reload(&self) -> Result<(), Error> {
        self.load_current().map(|_| ())
    }

    /// Reloads, and returns what was loaded.
    pub(crate) fn load_current(&self) -> Result<Arc<Snapshot>, Error> {
        let shared = &self.shared;
        let _reloading = shared.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        // Read first: what is searched may then be ahead of its positions, never behind.
        let positions = committed(&shared.index)?;
        shared.reader.reload()?;
        let snapshot = Arc::new(Snapshot::new(shared.reader.searcher(), &shared.fields, positions)?);
        *shared.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&snapshot);
        self.forget_pinned(Instant::now());
        Ok(snapshot)
    }

    /// How far in the log the comments that searches see come from.
    pub fn positions(&self) -> Positions {
        self.current().positions.clone()
    }

    /// Whether the two are clones of one.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The directory of the index.
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    pub(crate) fn tantivy(&self) -> &tantivy::Index {
        &self.shared.index
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.shared.fields
    }

    pub(crate) fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The state of the index that `id` names, if it is still known.
    pub(crate) fn snapshot(&self, id: u64) -> Option<Arc<Snapshot>> {
        let current = self.current();
        if current.id == id {
            return Some(current);
        }
        let pinned = self.shared.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.iter().find(|(_, snapshot)| snapshot.id == id).map(|(_, snapshot)| Arc::clone(snapshot))
    }

    /// Keeps `snapshot` for the next page of a search.
    pub(crate) fn pin(&self, snapshot: &Arc<Snapshot>) {
        let now = Instant::now();
        self.forget_pinned(now);
        let mut pinned = self.shared.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.retain(|(_, other)| other.id != snapshot.id);
        if pinned.len() == PINNED_MAX {
            pinned.pop_front();
        }
        pinned.push_back((now, Arc::clone(snapshot)));
    }

    fn forget_pinned(&self, now: Instant) {
        let mut pinned = self.shared.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.retain(|(used, _)| now.duration_since(*used) < PINNED_FOR);
    }
}

fn open_directory(directory: &Path) -> Result<MmapDirectory, Error> {
    MmapDirectory::open(directory).map_err(|error| Error::Unavailable(error.to_string()))
}

/// The positions of the last commit.
fn committed(index: &tantivy::Index) -> Result<Positions, Error> {
    let meta = index.load_metas()?;
    match &meta.payload {
        Some(payload) => checkpoint::decode(payload),
        None if meta.segments.is_empty() => Ok(Positions::new()),
        None => Err(Error::Damaged("its positions are missing".to_owned())),
    }
}

fn verify(index: &tantivy::Index) -> Result<(), Error> {
    for file in index.load_metas()?.list_segment_files() {
        match index.directory().validate_checksum(&file) {
            Ok(true) => {}
            Ok(false) => return Err(Error::Damaged(format!("{} does not have its checksum", file.display()))),
            // Not every segment has every file, and a writer may merge meanwhile. What has to be there is missed
            // when its segment is opened.
            Err(OpenReadError::FileDoesNotExist(_)) => {}
            Err(error) => return Err(TantivyError::from(error).into()),
        }
    }
    Ok(())
}
