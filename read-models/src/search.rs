use std::time::Duration;

use balcony_domain::{Event, Topics, UserId, may_delete_comment};
use balcony_event_log::Positions;
use balcony_projector::{Opened, Received, Replica, ReplicaError, ReplicaPlace, ReplicaStore};
use balcony_search::{Check, Comment, Error, Index, Kept, Writer};
use balcony_store::ReadModel;

use crate::Logged;

/// The index of comments, beside everybody who searches it.
pub struct Search {
    model: ReadModel,
}

/// How long the lock of the index is waited for: a process that was just started may hold this one's for a moment.
const LOCKED_FOR: Duration = Duration::from_secs(5);

/// One generation of the index on this node.
pub struct SearchIndex {
    index: Index,
    writer: Writer,
}

impl Search {
    /// The name of the read model.
    pub const NAME: &'static str = "search";

    /// The index of the facts in `topics`.
    pub fn new(topics: &Topics) -> Self {
        Self { model: ReadModel::new(Self::NAME, 2, [topics.facts.clone()], "") }
    }
}

impl Replica for Search {
    type Event = Logged;
    type Store = SearchIndex;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    /// The index as the last commit left it, or a new one where that is lost.
    fn open(&self, place: &ReplicaPlace<'_>) -> Result<Opened<SearchIndex>, ReplicaError> {
        let directory = place.directory.ok_or_else(|| ReplicaError::new("the search index wants a folder"))?;
        let lost = match Index::open(directory, Check::Checksums) {
            Err(Error::Missing(_)) => None,
            Err(error @ (Error::Damaged(_) | Error::OtherForm(_))) => Some(error.to_string()),
            opened => {
                let store = SearchIndex::of(opened.map_err(ReplicaError::new)?)?;
                return Ok(Opened { store, lost: None });
            }
        };
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(ReplicaError::new(error)),
            _ => {}
        }
        let store = SearchIndex::of(Index::create(directory).map_err(ReplicaError::new)?)?;
        Ok(Opened { store, lost })
    }
}

impl SearchIndex {
    fn of(index: Index) -> Result<Self, ReplicaError> {
        let writer = index.writer_within(LOCKED_FOR).map_err(ReplicaError::new)?;
        Ok(Self { index, writer })
    }

    /// A comment and its deletion have the same key, so the deletion always comes later.
    fn take_in(&mut self, recorded: &Logged) -> Result<(), Error> {
        match &recorded.event {
            Event::CommentPosted(post) => {
                self.writer.add(&Comment {
                    id: post.comment_id.0,
                    movie: post.movie_id.0,
                    author: post.author_id.0,
                    posted_at: recorded.time.milliseconds(),
                    title: post.title.as_deref(),
                    body: &post.body,
                })?;
            }
            Event::CommentDeleted(deletion) => {
                if let Some(Kept::Comment { author }) = self.writer.find(deletion.comment_id.0)?
                    && may_delete_comment(UserId(author), deletion.deleted_by, deletion.role)
                {
                    self.writer.delete(deletion.comment_id.0)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl ReplicaStore for SearchIndex {
    type Event = Logged;
    type View = Index;

    fn positions(&self) -> Positions {
        self.index.positions()
    }

    fn view(&self) -> Index {
        self.index.clone()
    }

    fn apply(&mut self, events: &[Received<Logged>]) -> Result<(), ReplicaError> {
        events.iter().try_for_each(|received| self.take_in(received)).map_err(ReplicaError::new)
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), ReplicaError> {
        self.writer.commit(positions).map_err(ReplicaError::new)
    }

    fn verify(view: &Index) -> Result<(), ReplicaError> {
        view.verify().map_err(ReplicaError::new)
    }
}
