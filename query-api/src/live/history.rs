//! The newest of what streams show, as a node keeps it in memory.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

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

/// Whose entries are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// The comments on a movie.
    Movie(Uuid),
    /// The comments by any of these authors.
    Authors(&'a HashSet<Uuid>),
}

/// What entries are found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject {
    /// The comments on a movie.
    Movie(Uuid),
    /// The comments by an author.
    Author(Uuid),
    /// The changes of a user's favourites.
    Follower(Uuid),
}

/// What was read of the log, in the order in which it was read, back to some positions. **What concerns a subject is found
/// without a look at anything else**: each entry knows the one before it of each of its subjects.
#[derive(Debug)]
pub(super) struct History {
    kept: VecDeque<Kept>,
    /// By subject, the newest entry.
    newest: HashMap<Subject, u64>,
    /// By partition, the offsets of the entries and their numbers, both ascending.
    places: HashMap<TopicPartition, VecDeque<(i64, u64)>>,
    /// How many entries it keeps.
    most: usize,
    /// Every entry from here on is there.
    begins: Positions,
    /// Everything below was taken in.
    reached: Arc<Positions>,
    /// How many entries were taken in and let go, which is the number of the oldest that is kept.
    let_go: u64,
}

/// An entry that is kept, and the numbers of those before it of its subjects. They may have been let go.
#[derive(Debug)]
struct Kept {
    entry: Arc<Entry>,
    before: [Option<u64>; 2],
}

/// What a stream has missed.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// In the order in which it was read.
    pub(super) entries: Vec<Arc<Entry>>,
    /// How many entries were looked at to find these.
    pub(super) looked_at: usize,
}

/// There is more than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

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

    fn subjects(&self) -> [Option<Subject>; 2] {
        match self.what {
            What::Posted(comment) | What::Deleted(comment) => {
                [Some(Subject::Movie(comment.movie)), Some(Subject::Author(comment.author))]
            }
            What::Favorite { follower, .. } => [Some(Subject::Follower(follower)), None],
        }
    }

    /// Which of its subjects `subject` is.
    fn place_of(&self, subject: Subject) -> Option<usize> {
        self.subjects().iter().position(|own| *own == Some(subject))
    }
}

impl Missed {
    /// Those of `entries`, which are numbered, that stand at `from` or above; `most` are looked at.
    fn among<'a>(
        entries: impl Iterator<Item = (u64, &'a Arc<Entry>)>,
        from: &Positions,
        most: usize,
    ) -> Result<Self, TooMuch> {
        let mut found = Vec::new();
        let mut looked_at = 0;
        for (number, entry) in entries {
            looked_at += 1;
            if looked_at > most {
                return Err(TooMuch);
            }
            if entry.is_from(from) {
                found.push((number, entry));
            }
        }
        found.sort_unstable_by_key(|(number, _)| *number);
        Ok(Self { entries: found.into_iter().map(|(_, entry)| entry.clone()).collect(), looked_at })
    }
}

impl History {
    /// A history that begins at `begins` and keeps the newest `most` entries.
    pub(super) fn new(begins: Positions, most: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            newest: HashMap::new(),
            places: HashMap::new(),
            most,
            reached: Arc::new(begins.clone()),
            begins,
            let_go: 0,
        }
    }

    /// Takes in an entry, the next of its partition.
    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        let number = self.taken_in();
        Arc::make_mut(&mut self.reached).advance(&entry.partition, entry.offset + 1);
        match self.places.get_mut(&entry.partition) {
            Some(places) => places.push_back((entry.offset, number)),
            None => drop(self.places.insert(entry.partition.clone(), [(entry.offset, number)].into())),
        }
        let before = entry.subjects().map(|subject| self.newest.insert(subject?, number));
        self.kept.push_back(Kept { entry, before });
        if self.kept.len() > self.most {
            self.let_oldest_go();
        }
    }

    fn let_oldest_go(&mut self) {
        let Some(Kept { entry: oldest, .. }) = self.kept.pop_front() else { return };
        self.begins.advance(&oldest.partition, oldest.offset + 1);
        if let Some(places) = self.places.get_mut(&oldest.partition) {
            places.pop_front();
        }
        for subject in oldest.subjects().into_iter().flatten() {
            if let Slot::Occupied(newest) = self.newest.entry(subject)
                && *newest.get() == self.let_go
            {
                newest.remove();
            }
        }
        self.let_go += 1;
    }

    /// Notes that all entries below `reached` were taken in.
    pub(super) fn reach(&mut self, reached: &Positions) {
        Arc::make_mut(&mut self.reached).merge(reached);
    }

    pub(super) fn reached(&self) -> &Arc<Positions> {
        &self.reached
    }

    /// Whether every entry at `from` and above is there. Each partition has to be named: a position that a stream was
    /// given names all there were.
    pub(super) fn goes_back_to(&self, from: &Positions) -> bool {
        from.covers(&self.begins) && self.reached.partitions().all(|partition| from.names(partition))
    }

    /// The entries that are `wanted` at `from` and above, for which `most` are looked at.
    ///
    /// These are the entries of the wanted subjects that are as new as the oldest entry at `from` in any partition. Partitions
    /// are read side by side, so few of them stand below `from`. Where there are more authors than such entries, each entry
    /// is looked at instead of each author.
    pub(super) fn since(&self, from: &Positions, wanted: Wanted<'_>, most: usize) -> Result<Missed, TooMuch> {
        let oldest = self.first_from(from);
        let since = self.taken_in() - oldest;
        match wanted {
            _ if since == 0 => Ok(Missed::default()),
            Wanted::Movie(movie) => Missed::among(self.back_to(oldest, Subject::Movie(movie)), from, most),
            Wanted::Authors(authors) if authors.len() as u64 <= since => {
                let by = authors.iter().flat_map(|author| self.back_to(oldest, Subject::Author(*author)));
                Missed::among(by, from, most)
            }
            Wanted::Authors(authors) => {
                let is_by = |entry: &Entry| entry.comment().is_some_and(|comment| authors.contains(&comment.author));
                Missed::among(self.all_from(oldest).filter(|(_, entry)| is_by(entry)), from, most)
            }
        }
    }

    /// The changes of the favourites of `user` that were taken in after the first `count`, the newest first; `None` when
    /// some of them are gone.
    pub(super) fn favorites_after(&self, count: u64, user: Uuid) -> Option<impl Iterator<Item = &Arc<Entry>>> {
        let changes = || self.back_to(count, Subject::Follower(user)).map(|(_, entry)| entry);
        (count >= self.let_go).then(changes)
    }

    /// Whom `user` has no longer as a favourite by a change at `from` or above.
    pub(super) fn former_favorites(&self, from: &Positions, user: Uuid) -> HashSet<Uuid> {
        let changes = self.back_to(self.first_from(from), Subject::Follower(user)).map(|(_, entry)| entry);
        let mut last = HashMap::new();
        for entry in changes.filter(|entry| entry.is_from(from)) {
            let What::Favorite { followee, stands, .. } = entry.what else { continue };
            last.entry(followee).or_insert(stands);
        }
        last.into_iter().filter(|(_, stands)| !stands).map(|(followee, _)| followee).collect()
    }

    /// How many entries were ever taken in.
    pub(super) fn taken_in(&self) -> u64 {
        self.let_go + self.kept.len() as u64
    }

    /// The number of the first entry at `from` or above.
    fn first_from(&self, from: &Positions) -> u64 {
        let firsts = self.places.iter().filter_map(|(partition, places)| {
            let next = from.next_offset(partition);
            places.get(places.partition_point(|(offset, _)| *offset < next)).map(|(_, number)| *number)
        });
        firsts.min().unwrap_or_else(|| self.taken_in())
    }

    /// Every entry from the number `oldest` on, with its number.
    fn all_from(&self, oldest: u64) -> impl Iterator<Item = (u64, &Arc<Entry>)> {
        let skip = usize::try_from(oldest.saturating_sub(self.let_go)).unwrap_or(usize::MAX);
        (oldest..).zip(self.kept.iter().skip(skip).map(|kept| &kept.entry))
    }

    /// The entries of `subject` with their numbers, the newest first, back to the number `oldest`.
    fn back_to(&self, oldest: u64, subject: Subject) -> impl Iterator<Item = (u64, &Arc<Entry>)> {
        let mut next = self.newest.get(&subject).copied();
        std::iter::from_fn(move || {
            let number = next.filter(|number| *number >= oldest)?;
            let kept = self.kept.get(usize::try_from(number.checked_sub(self.let_go)?).ok()?)?;
            next = kept.entry.place_of(subject).and_then(|place| kept.before[place]);
            Some((number, &kept.entry))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PARTITIONS: i32 = 3;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("t", number)
    }

    fn whom(number: u8) -> Uuid {
        Uuid::from_u128(number.into())
    }

    fn posted(movie: u8, author: u8) -> What {
        What::Posted(Comment { id: Uuid::nil(), movie: whom(movie), author: whom(author) })
    }

    fn what() -> impl Strategy<Value = What> {
        prop_oneof![
            4 => (0..4_u8, 0..4_u8).prop_map(|(movie, author)| posted(movie, author)),
            1 => (0..4_u8, any::<bool>()).prop_map(|(follower, stands)| {
                What::Favorite { follower: whom(follower), followee: whom(9), stands }
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_found_by_its_subject_is_what_a_look_at_everything_finds(
            read in proptest::collection::vec((0..PARTITIONS, 1..3_i64, what()), 0..60),
            from in proptest::collection::vec(0..40_i64, PARTITIONS as usize),
            most in 1..40_usize,
            subjects in proptest::collection::hash_set(0..4_u8, 1..4),
            by_author in any::<bool>(),
        ) {
            let mut history = History::new((0..PARTITIONS).map(|number| (partition(number), 0)).collect(), most);
            let mut kept = VecDeque::new();
            let mut ends = [0; PARTITIONS as usize];
            for (number, step, what) in read {
                ends[number as usize] += step;
                let entry = Entry { partition: partition(number), offset: ends[number as usize], at: 0, what };
                history.push(Arc::new(entry.clone()));
                kept.push_back(entry);
            }
            kept.drain(..kept.len().saturating_sub(most));
            let from: Positions = (0..PARTITIONS).zip(from).map(|(number, next)| (partition(number), next)).collect();
            let wanted: HashSet<Uuid> = subjects.into_iter().map(whom).collect();
            let movie = wanted.iter().next().copied().expect("one at least");
            let is_wanted = |comment: Comment| {
                if by_author { wanted.contains(&comment.author) } else { comment.movie == movie }
            };
            let has = |entry: &&Entry| entry.is_from(&from) && entry.comment().is_some_and(is_wanted);
            let expected: Vec<&Entry> = kept.iter().filter(has).collect();
            let asked = if by_author { Wanted::Authors(&wanted) } else { Wanted::Movie(movie) };
            let found = history.since(&from, asked, usize::MAX).expect("no bound");
            prop_assert_eq!(found.entries.iter().map(|entry| &**entry).collect::<Vec<_>>(), expected);
            // Nothing is remembered of what is gone.
            let subjects: BTreeSet<String> =
                kept.iter().flat_map(|entry| entry.subjects()).flatten().map(|own| format!("{own:?}")).collect();
            prop_assert_eq!(history.newest.len(), subjects.len());
            prop_assert_eq!(history.places.values().map(VecDeque::len).sum::<usize>(), kept.len());
        }
    }
}
