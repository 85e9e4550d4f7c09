//! The newest of what streams show, as a node keeps it in memory.

use std::collections::VecDeque;

use balcony_event_log::{Positions, TopicPartition};
use uuid::Uuid;

/// Something that concerns streams, and where it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
    /// When it happened, in milliseconds since 1970.
    pub(super) at: i64,
    pub(super) what: What,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Posted(Comment),
    Deleted(Comment),
    /// Somebody became somebody's favourite, or is it no more.
    Favorite {
        follower: Uuid,
        followee: Uuid,
        stands: bool,
    },
}

/// A comment and whom it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Comment {
    pub(super) id: Uuid,
    pub(super) movie: Uuid,
    pub(super) author: Uuid,
}

/// What was read of the log, in the order in which it was read, back to some positions.
#[derive(Debug)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    /// How many entries it keeps.
    most: usize,
    /// Every entry from here on is there.
    begins: Positions,
    /// Everything below was taken in.
    reached: Positions,
    /// How many entries were taken in and let go.
    let_go: u64,
}

impl Entry {
    /// Whether it stands at `positions` or above.
    pub(super) fn is_from(&self, positions: &Positions) -> bool {
        self.offset >= positions.next_offset(&self.partition)
    }

    /// The comment that it is about.
    pub(super) fn comment(&self) -> Option<Comment> {
        match self.what {
            What::Posted(comment) | What::Deleted(comment) => Some(comment),
            What::Favorite { .. } => None,
        }
    }
}

impl History {
    /// A history that begins at `begins` and keeps the newest `most` entries.
    pub(super) fn new(begins: Positions, most: usize) -> Self {
        Self { entries: VecDeque::new(), most, reached: begins.clone(), begins, let_go: 0 }
    }

    /// Takes in an entry, the next of its partition.
    pub(super) fn push(&mut self, entry: Entry) {
        self.reached.advance(&entry.partition, entry.offset + 1);
        self.entries.push_back(entry);
        if self.entries.len() > self.most
            && let Some(oldest) = self.entries.pop_front()
        {
            self.begins.advance(&oldest.partition, oldest.offset + 1);
            self.let_go += 1;
        }
    }

    /// Notes that all entries below `reached` were taken in.
    pub(super) fn reach(&mut self, reached: &Positions) {
        self.reached.merge(reached);
    }

    pub(super) fn reached(&self) -> &Positions {
        &self.reached
    }

    /// Whether every entry at `from` and above is there. Each partition has to be named: a position that a stream was
    /// given names all there were.
    pub(super) fn goes_back_to(&self, from: &Positions) -> bool {
        from.covers(&self.begins) && self.reached.partitions().all(|partition| from.names(partition))
    }

    /// The entries at `from` and above.
    pub(super) fn since<'a>(&'a self, from: &'a Positions) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(|entry| entry.is_from(from))
    }

    /// How many entries were ever taken in.
    pub(super) fn taken_in(&self) -> u64 {
        self.let_go + self.entries.len() as u64
    }

    /// The entries that were taken in after the first `count`; `None` when some of them are gone.
    pub(super) fn after(&self, count: u64) -> Option<impl Iterator<Item = &Entry>> {
        let skip = usize::try_from(count.checked_sub(self.let_go)?).ok()?;
        Some(self.entries.iter().skip(skip))
    }
}
