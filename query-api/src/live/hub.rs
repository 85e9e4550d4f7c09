//! What those who watch are sent.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use balcony_event_log::Positions;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::history::{Entry, History, Missed, TooMuch, Wanted, What};
use super::watchers::{Audience, Target, Watchers};

/// All streams of a node, and the history that they go back to.
#[derive(Debug)]
pub(super) struct Hub {
    state: Mutex<State>,
    /// How far everything was handed out; `None` while nothing is read.
    handed_out: watch::Sender<Option<Arc<Positions>>>,
}

/// A stream's end of the hub.
#[derive(Debug)]
pub(super) struct Subscription {
    hub: Arc<Hub>,
    audience: Audience,
    stream: u64,
    /// What it was to be sent before it subscribed, with where it begins.
    pub(super) backlog: VecDeque<Arc<Entry>>,
    /// How many entries were looked at for that.
    pub(super) looked_at: usize,
    pub(super) from: Positions,
    /// What it is sent from then on. It ends when the stream is to end.
    pub(super) queue: mpsc::Receiver<Bytes>,
}

/// Something for some streams.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) entry: Arc<Entry>,
    /// How far the node has come with it.
    pub(super) reached: Arc<Positions>,
    targets: Vec<Target>,
}

/// Why a stream cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The history does not go back so far, or there is too much since.
    TooOld,
    /// Nothing is read now.
    Closed,
}

/// The favourites of a user, and how many entries had been taken in before they were looked up.
#[derive(Debug, Clone)]
pub(crate) struct Favorites {
    pub(crate) of: HashSet<Uuid>,
    pub(crate) taken_in: u64,
}

#[derive(Debug, Default)]
struct State {
    /// `None` while nothing is read.
    history: Option<History>,
    watchers: Watchers,
}

/// How many entries the history keeps: some ten megabytes.
const HISTORY: usize = 50_000;
/// How many events may wait for one stream's reader. One that is further behind is dropped.
const QUEUE: usize = 256;
/// How many entries are looked at for one stream that goes on where it was. Whoever has missed more reads the list again.
pub(super) const MOST_MISSED: usize = 1_000;
/// How many of what has come since the log's end was seen. It is what is being handed out, and no client says where it begins.
pub(super) const ALL_SINCE: usize = HISTORY;

impl Hub {
    /// Nothing is read yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), handed_out: watch::Sender::new(None) })
    }

    /// Begins at these positions. Streams that were open end.
    pub(super) fn begin(&self, at: Positions) {
        let mut state = self.state();
        state.watchers.end_all();
        state.history = Some(History::new(at.clone(), HISTORY));
        self.handed_out.send_replace(Some(Arc::new(at)));
    }

    /// Ends every stream, and lets none begin.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.watchers.end_all();
        state.history = None;
        self.handed_out.send_replace(None);
    }

    /// How far everything was handed out; changes with every batch.
    pub(super) fn handed_out(&self) -> watch::Receiver<Option<Arc<Positions>>> {
        self.handed_out.subscribe()
    }

    /// How many entries were taken in, and everything below which positions with them; `None` while nothing is read.
    pub(super) fn taken_in(&self) -> Option<(u64, Arc<Positions>)> {
        let state = self.state();
        state.history.as_ref().map(|history| (history.taken_in(), history.reached().clone()))
    }

    /// Whether anybody watches.
    pub(super) fn has_streams(&self) -> bool {
        self.state().watchers.open() > 0
    }

    pub(super) fn has_timelines(&self) -> bool {
        self.state().watchers.has_timelines()
    }

    /// Ends every timeline, whose clients come again.
    pub(super) fn end_timelines(&self) {
        self.state().watchers.end_timelines();
    }

    /// Lets a stream begin with everything for `audience` at `from` and above, for which `most` entries are looked at. A
    /// timeline comes with its user's `favorites`.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        audience: Audience,
        from: Positions,
        favorites: Option<Favorites>,
        most: usize,
    ) -> Result<Subscription, Refused> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let mut state = self.state();
        let state = &mut *state;
        let history = state.history.as_ref().ok_or(Refused::Closed)?;
        if !history.goes_back_to(&from) {
            return Err(Refused::TooOld);
        }
        let favorites = match audience {
            Audience::Timeline(user) if state.watchers.favorites(user).is_none() => {
                let favorites = favorites.ok_or(Refused::Closed)?;
                Some((user, favorites.with_what_came_since(user, history).ok_or(Refused::TooOld)?))
            }
            _ => None,
        };
        let missed = match (audience, &favorites) {
            (Audience::Movie(movie), _) => history.since(&from, Wanted::Movie(movie), most)?,
            (Audience::Timeline(user), Some((_, favorites))) => missed_of(history, user, &from, favorites, most)?,
            (Audience::Timeline(user), None) => match state.watchers.favorites(user) {
                Some(favorites) => missed_of(history, user, &from, favorites, most)?,
                None => Missed::default(),
            },
        };
        if let Some((user, favorites)) = favorites {
            state.watchers.begin_timeline(user, favorites);
        }
        if let Audience::Timeline(user) = audience {
            state.watchers.add_former(user, history.former_favorites(&from, user));
        }
        let beyond = (!history.reached().covers(&from)).then(|| Box::new(from.clone()));
        let stream = state.watchers.join(audience, sender, beyond);
        let Missed { entries, looked_at } = missed;
        Ok(Subscription { hub: self.clone(), audience, stream, backlog: entries.into(), looked_at, from, queue })
    }

    /// Takes in what was read, and gives what of it is for somebody. Favourites count before comments do.
    pub(super) fn take_in(&self, entries: Vec<Entry>, reached: &Positions) -> Vec<Outgoing> {
        let mut state = self.state();
        for entry in &entries {
            state.watchers.change_favorites(entry);
        }
        let mut deliveries = Vec::new();
        for entry in entries {
            let Some(history) = &mut state.history else { return Vec::new() };
            let entry = Arc::new(entry);
            history.push(entry.clone());
            let reached = history.reached().clone();
            let targets = state.watchers.targets(&entry, &reached);
            if !targets.is_empty() {
                deliveries.push(Outgoing { entry, reached, targets });
            }
        }
        if let Some(history) = &mut state.history {
            history.reach(reached);
        }
        deliveries
    }

    /// Hands out `data` as the event of what goes out; `frame` makes the event, given its positions. Streams whose readers
    /// are too slow end.
    pub(super) fn hand_out(&self, delivery: &Outgoing, frame: impl Fn(&Positions) -> Bytes) {
        let mut shared = None;
        let mut slow = Vec::new();
        for target in &delivery.targets {
            let bytes = match &target.from {
                // It has this already.
                Some(from) if !delivery.entry.is_from(from) => continue,
                Some(from) => {
                    let mut positions = Positions::clone(&delivery.reached);
                    positions.merge(from);
                    frame(&positions)
                }
                None => shared.get_or_insert_with(|| frame(&delivery.reached)).clone(),
            };
            if matches!(target.queue.try_send(bytes), Err(mpsc::error::TrySendError::Full(_))) {
                slow.push((target.audience, target.stream));
            }
        }
        if !slow.is_empty() {
            tracing::info!(streams = slow.len(), "drops streams whose readers are too slow");
            let mut state = self.state();
            slow.into_iter().for_each(|(audience, stream)| state.watchers.leave(audience, stream));
        }
    }

    /// Notes that everything below these positions was handed out.
    pub(super) fn handed_out_to(&self, positions: &Positions) {
        self.handed_out.send_modify(|handed_out| {
            if let Some(handed_out) = handed_out {
                Arc::make_mut(handed_out).merge(positions);
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Favorites {
    /// The favourites as `history` leaves them; `None` when it does not remember all that has changed.
    fn with_what_came_since(self, user: Uuid, history: &History) -> Option<HashSet<Uuid>> {
        let mut favorites = self.of;
        let mut changed = HashSet::new();
        for entry in history.favorites_after(self.taken_in, user)? {
            let What::Favorite { followee, stands, .. } = entry.what else { continue };
            // The newest change of each stands.
            if changed.insert(followee) {
                if stands {
                    favorites.insert(followee)
                } else {
                    favorites.remove(&followee)
                };
            }
        }
        Some(favorites)
    }
}

/// What a timeline has missed: what its `favorites` posted and deleted, and what was deleted of those who were favourites
/// at `from` or later and are none any more, by whom the client has comments.
fn missed_of(
    history: &History,
    user: Uuid,
    from: &Positions,
    favorites: &HashSet<Uuid>,
    most: usize,
) -> Result<Missed, TooMuch> {
    let former = history.former_favorites(from, user);
    if former.is_subset(favorites) {
        return history.since(from, Wanted::Authors(favorites), most);
    }
    let mut missed = history.since(from, Wanted::Authors(&favorites.union(&former).copied().collect()), most)?;
    missed.entries.retain(|entry| match entry.what {
        What::Posted(comment) => favorites.contains(&comment.author),
        What::Deleted(_) | What::Favorite { .. } => true,
    });
    Ok(missed)
}

impl From<TooMuch> for Refused {
    fn from(_: TooMuch) -> Self {
        Self::TooOld
    }
}

impl Subscription {
    /// How far everything was handed out, in this stream and in all others.
    pub(super) fn handed_out(&self) -> Option<Positions> {
        let handed_out = self.hub.handed_out.borrow().clone()?;
        let mut positions = Positions::clone(&handed_out);
        positions.merge(&self.from);
        Some(positions)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.state().watchers.leave(self.audience, self.stream);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use balcony_event_log::TopicPartition;
    use proptest::prelude::*;

    use super::super::history::Comment;
    use super::*;

    const PARTITIONS: i32 = 3;
    const MOVIE: Uuid = Uuid::from_u128(1);
    const READER: Uuid = Uuid::from_u128(2);
    const AUTHOR: Uuid = Uuid::from_u128(3);

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("t", number)
    }

    fn beginning() -> Positions {
        (0..PARTITIONS).map(|number| (partition(number), 0)).collect()
    }

    fn post(number: i32, offset: i64, movie: Uuid, author: Uuid) -> Entry {
        let id = Uuid::from_u128((number as u128) << 64 | offset as u128);
        Entry { partition: partition(number), offset, at: 0, what: What::Posted(Comment { id, movie, author }) }
    }

    fn favorite(number: i32, offset: i64, stands: bool) -> Entry {
        let what = What::Favorite { follower: READER, followee: AUTHOR, stands };
        Entry { partition: partition(number), offset, at: 0, what }
    }

    fn delete(number: i32, offset: i64, posted: &Entry) -> Entry {
        let comment = posted.comment().expect("a comment");
        Entry { partition: partition(number), offset, at: 0, what: What::Deleted(comment) }
    }

    fn no_favorites(hub: &Hub) -> Favorites {
        Favorites { of: HashSet::new(), taken_in: hub.taken_in().expect("it has begun").0 }
    }

    /// A node, which reads the partitions of a log in an order of its own.
    struct Node {
        hub: Arc<Hub>,
        read: Positions,
    }

    impl Node {
        fn new() -> Self {
            let hub = Hub::new();
            hub.begin(beginning());
            Self { hub, read: beginning() }
        }

        /// Reads one record of a partition, which may be none of the entries.
        fn read(&mut self, log: &[Vec<Entry>], number: i32) {
            let at = partition(number);
            let next = self.read.next_offset(&at);
            let records = &log[number as usize];
            if next as usize >= records.len() {
                return;
            }
            self.read.set(at.clone(), next + 1);
            self.take_in(vec![records[next as usize].clone()], &[(at, next + 1)].into_iter().collect());
        }

        fn read_to(&mut self, log: &[Vec<Entry>], positions: &Positions) {
            while !self.read.covers(positions) {
                for number in 0..PARTITIONS {
                    if self.read.next_offset(&partition(number)) < positions.next_offset(&partition(number)) {
                        self.read(log, number);
                    }
                }
            }
        }

        fn take_in(&self, entries: Vec<Entry>, reached: &Positions) {
            for delivery in self.hub.take_in(entries, reached) {
                let comment = delivery.entry.comment().expect("only comments are delivered").id;
                self.hub.hand_out(&delivery, |positions| format!("{comment} {}", positions.to_json()).into());
            }
            self.hub.handed_out_to(reached);
        }
    }

    /// What a client has: comments, and the id of the last.
    struct Client {
        has: Vec<Uuid>,
        last: Positions,
        stream: Subscription,
    }

    impl Client {
        fn open(node: &Node, audience: Audience, last: Positions) -> Self {
            let favorites = no_favorites(&node.hub);
            let stream = node.hub.subscribe(audience, last.clone(), Some(favorites), MOST_MISSED);
            let stream = stream.expect("it goes back so far");
            Self { has: Vec::new(), last, stream }
        }

        /// Takes the next event, if it is there.
        fn take(&mut self) -> bool {
            if let Some(entry) = self.stream.backlog.pop_front() {
                self.last.advance(&entry.partition, entry.offset + 1);
                self.has.push(entry.comment().expect("only comments are sent").id);
                return true;
            }
            let Ok(event) = self.stream.queue.try_recv() else { return false };
            let event = String::from_utf8(event.to_vec()).expect("text");
            let (comment, id) = event.split_once(' ').expect("a comment and an id");
            self.has.push(comment.parse().expect("a comment"));
            self.last = Positions::from_json(id).expect("positions");
            true
        }

        fn go_to(self, node: &Node, audience: Audience) -> Self {
            Self { has: self.has, ..Self::open(node, audience, self.last) }
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Read(usize, i32),
        Take(u8),
        Go(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..2_usize, 0..PARTITIONS).prop_map(|(node, number)| Step::Read(node, number)),
            2 => (0..4_u8).prop_map(Step::Take),
            1 => (0..2_usize).prop_map(Step::Go),
        ]
    }

    proptest! {
        #[test]
        fn whoever_goes_from_node_to_node_gets_everything_once(
            posts in proptest::collection::vec((0..PARTITIONS, any::<bool>()), 0..40),
            begins in proptest::collection::vec(0..PARTITIONS, 0..20),
            steps in proptest::collection::vec(step(), 0..80),
        ) {
            let mut log = vec![Vec::new(); PARTITIONS as usize];
            for (number, is_on_it) in posts {
                let records = &mut log[number as usize];
                let movie = if is_on_it { MOVIE } else { Uuid::nil() };
                records.push(post(number, records.len() as i64, movie, AUTHOR));
            }
            let mut nodes = [Node::new(), Node::new()];
            // The stream may begin beyond what the node has read.
            let mut from = beginning();
            for number in begins {
                let next = from.next_offset(&partition(number)) + 1;
                from.set(partition(number), next.min(log[number as usize].len() as i64));
            }
            let audience = Audience::Movie(MOVIE);
            let mut client = Client::open(&nodes[0], audience, from.clone());
            let mut at = 0;
            for step in steps {
                match step {
                    Step::Read(node, number) => nodes[node].read(&log, number),
                    Step::Take(count) => for _ in 0..count { client.take(); },
                    Step::Go(node) => {
                        let last = client.last.clone();
                        nodes[node].read_to(&log, &last);
                        client = client.go_to(&nodes[node], audience);
                        at = node;
                    }
                }
            }
            let ends = (0..PARTITIONS).map(|number| (partition(number), log[number as usize].len() as i64)).collect();
            nodes[at].read_to(&log, &ends);
            while client.take() {}
            let wanted: Vec<Uuid> = log.iter().flatten()
                .filter(|entry| entry.is_from(&from) && entry.comment().expect("a post").movie == MOVIE)
                .map(|entry| entry.comment().expect("a post").id)
                .collect();
            let has: BTreeSet<Uuid> = client.has.iter().copied().collect();
            prop_assert_eq!(has.len(), client.has.len(), "nothing is repeated");
            prop_assert_eq!(has, wanted.into_iter().collect::<BTreeSet<_>>());
        }
    }

    #[test]
    fn a_favourite_counts_for_what_was_read_with_it() {
        let node = Node::new();
        let mut client = Client::open(&node, Audience::Timeline(READER), beginning());
        let all = |offset| (0..PARTITIONS).map(|number| (partition(number), offset)).collect();
        // The favourite stands in a partition that is read later.
        node.take_in(vec![post(0, 0, MOVIE, AUTHOR), favorite(1, 0, true)], &all(1));
        assert!(client.take());
        node.take_in(vec![post(0, 1, MOVIE, AUTHOR), favorite(1, 1, false)], &all(2));
        assert!(!client.take());
    }

    /// Applies what `client` is sent to the comments that it shows.
    fn show(client: &mut Client, log: &[Vec<Entry>], shown: &mut BTreeSet<Uuid>) {
        let before = client.has.len();
        while client.take() {}
        for id in &client.has[before..] {
            // Of a comment the post comes first.
            let is_told = |entry: &&Entry| entry.comment().is_some_and(|comment| comment.id == *id);
            let told = log.iter().flatten().filter(is_told).count();
            assert!(told > 0, "it is in the log");
            if !shown.remove(id) {
                shown.insert(*id);
            }
        }
    }

    proptest! {
        /// In the first partition are posts, in the second what deletes them, in the third a favourite ends, and may begin again.
        #[test]
        fn whoever_comes_again_is_told_what_was_deleted_of_former_favourites(
            posts in proptest::collection::vec(any::<bool>(), 1..12),
            deleted in proptest::collection::vec(any::<bool>(), 12),
            ends in proptest::collection::vec(any::<bool>(), 0..3),
            meanwhile in proptest::collection::vec(0..PARTITIONS, 0..30),
            other_node in any::<bool>(),
            watched in any::<bool>(),
        ) {
            let other = Uuid::from_u128(4);
            let by = |(at, is_other): (usize, &bool)| post(0, at as i64, MOVIE, if *is_other { other } else { AUTHOR });
            let posts: Vec<Entry> = posts.iter().enumerate().map(by).collect();
            let gone = posts.iter().zip(&deleted).filter(|(_, deleted)| **deleted).map(|(post, _)| post);
            let deletions: Vec<Entry> = gone.enumerate().map(|(at, post)| delete(1, at as i64, post)).collect();
            let ends: Vec<Entry> = ends.iter().enumerate().map(|(at, stands)| favorite(2, at as i64, *stands)).collect();
            let kept: BTreeSet<Uuid> = posts.iter().zip(&deleted).filter(|(_, deleted)| !**deleted)
                .map(|(post, _)| post.comment().expect("a post").id).collect();
            let log = vec![posts, deletions, ends];
            let audience = Audience::Timeline(READER);
            let favorites = |node: &Node| {
                let read = node.read.next_offset(&partition(2)) as usize;
                let mut of: HashSet<Uuid> = [AUTHOR, other].into();
                for entry in &log[2][..read] {
                    match entry.what {
                        What::Favorite { stands: false, .. } => of.remove(&AUTHOR),
                        _ => of.insert(AUTHOR),
                    };
                }
                Favorites { of, ..no_favorites(&node.hub) }
            };
            let open = |node: &Node, last: Positions| {
                let stream = node.hub.subscribe(audience, last.clone(), Some(favorites(node)), MOST_MISSED);
                Client { has: Vec::new(), last, stream: stream.expect("it goes back so far") }
            };
            let (mut nodes, mut shown) = ([Node::new(), Node::new()], BTreeSet::new());
            let mut client = open(&nodes[0], beginning());
            // All posts come while both are favourites.
            let posted = [(partition(0), log[0].len() as i64)].into_iter().collect();
            nodes[0].read_to(&log, &posted);
            show(&mut client, &log, &mut shown);
            prop_assert_eq!(shown.len(), log[0].len());
            let last = client.last.clone();
            let at = usize::from(other_node);
            // Another stream of the reader may be open, or what was known of the favourites goes with the last.
            let stays = watched.then_some(client);
            nodes[at].read_to(&log, &last);
            for number in meanwhile {
                nodes[at].read(&log, number);
            }
            let mut client = open(&nodes[at], last);
            show(&mut client, &log, &mut shown);
            let ends = (0..PARTITIONS).map(|number| (partition(number), log[number as usize].len() as i64)).collect();
            nodes[at].read_to(&log, &ends);
            show(&mut client, &log, &mut shown);
            prop_assert_eq!(shown, kept);
            drop((client, stays));
            let watchers = &nodes[at].hub.state().watchers;
            prop_assert!(watchers.timelines.is_empty() && watchers.followers.is_empty());
            prop_assert_eq!(watchers.open(), 0);
        }
    }

    #[test]
    fn a_former_favourite_is_told_of_by_deletions_alone() {
        let node = Node::new();
        let mut client = Client::open(&node, Audience::Timeline(READER), beginning());
        let all = |offset| (0..PARTITIONS).map(|number| (partition(number), offset)).collect();
        let first = post(0, 0, MOVIE, AUTHOR);
        node.take_in(vec![favorite(1, 0, true), first.clone()], &all(1));
        assert!(client.take());
        node.take_in(vec![favorite(1, 1, false), post(0, 1, MOVIE, AUTHOR)], &all(2));
        assert!(!client.take());
        node.take_in(vec![delete(0, 2, &first)], &all(3));
        assert!(client.take());
        assert_eq!(client.has, [first.comment().expect("a post").id; 2]);
    }

    #[test]
    fn favourites_that_changed_while_they_were_looked_up_count() {
        let node = Node::new();
        let looked_up = no_favorites(&node.hub);
        node.take_in(vec![favorite(1, 0, true)], &[(partition(1), 1)].into_iter().collect());
        let stream = node.hub.subscribe(Audience::Timeline(READER), beginning(), Some(looked_up), MOST_MISSED);
        let stream = stream.expect("a stream");
        node.take_in(vec![post(0, 0, MOVIE, AUTHOR)], &[(partition(0), 1)].into_iter().collect());
        assert_eq!(stream.queue.len(), 1);
    }

    #[test]
    fn what_is_too_old_or_names_too_few_partitions_is_refused() {
        let hub = Hub::new();
        let begins: Positions = (0..PARTITIONS).map(|number| (partition(number), 5)).collect();
        hub.begin(begins.clone());
        let subscribe = |from: Positions| hub.subscribe(Audience::Movie(MOVIE), from, None, MOST_MISSED).map(drop);
        assert_eq!(subscribe(begins.clone()), Ok(()));
        let mut older = begins.clone();
        older.set(partition(1), 4);
        assert_eq!(subscribe(older), Err(Refused::TooOld));
        let mut fewer = begins.clone();
        fewer.retain(|other| *other != partition(2));
        assert_eq!(subscribe(fewer), Err(Refused::TooOld));
        hub.end();
        assert_eq!(subscribe(begins), Err(Refused::Closed));
    }

    #[test]
    fn what_was_let_go_is_too_old() {
        let hub = Hub::new();
        hub.begin(beginning());
        let movie = |offset| if offset < MOST_MISSED as i64 { MOVIE } else { Uuid::nil() };
        let entries = (0..HISTORY as i64 + 1).map(|offset| post(0, offset, movie(offset), AUTHOR)).collect();
        hub.take_in(entries, &Positions::new());
        let subscribe = |from: Positions| hub.subscribe(Audience::Movie(MOVIE), from, None, MOST_MISSED);
        assert_eq!(subscribe(beginning()).map(drop), Err(Refused::TooOld));
        let mut from = beginning();
        from.set(partition(0), 1);
        assert_eq!(subscribe(from).expect("it goes back so far").backlog.len(), MOST_MISSED - 1);
    }

    /// A history that is full, on 500 movies and by 500 authors in turn.
    fn full() -> Arc<Hub> {
        let hub = Hub::new();
        hub.begin(beginning());
        let post = |at: i64| {
            let number = at % i64::from(PARTITIONS);
            let (movie, author) =
                (Uuid::from_u128(1_000 + at as u128 % 500), Uuid::from_u128(5_000 + at as u128 % 500));
            post(number as i32, at / i64::from(PARTITIONS), movie, author)
        };
        hub.take_in((0..HISTORY as i64).map(post).collect(), &Positions::new());
        hub
    }

    #[test]
    fn a_crowd_that_comes_again_looks_at_what_it_watches_and_at_nothing_else() {
        let hub = full();
        let crowd = 1_000;
        let looked_at = |audience: &dyn Fn(u128) -> (Audience, Favorites)| -> (usize, usize) {
            let mut work = (0, 0);
            for watcher in 0..crowd {
                let (audience, favorites) = audience(watcher);
                let stream = hub.subscribe(audience, beginning(), Some(favorites), MOST_MISSED).expect("a stream");
                work = (work.0 + stream.looked_at, work.1 + stream.backlog.len());
            }
            work
        };
        // Each of 500 subjects has a hundred entries.
        let each = HISTORY / 500;
        let movies = |watcher: u128| (Audience::Movie(Uuid::from_u128(1_000 + watcher % 500)), no_favorites(&hub));
        assert_eq!(looked_at(&movies), (crowd as usize * each, crowd as usize * each));
        let timelines = |watcher: u128| {
            let of = [Uuid::from_u128(5_000 + watcher % 500), AUTHOR].into();
            (Audience::Timeline(Uuid::from_u128(9_000 + watcher)), Favorites { of, ..no_favorites(&hub) })
        };
        assert_eq!(looked_at(&timelines), (crowd as usize * each, crowd as usize * each));
    }

    #[test]
    fn what_was_missed_is_shared_and_whoever_missed_too_much_is_told_so() {
        let hub = full();
        let movie = Audience::Movie(Uuid::from_u128(1_000));
        let streams = [0; 2].map(|_| hub.subscribe(movie, beginning(), None, MOST_MISSED).expect("a stream"));
        let mut pairs = streams[0].backlog.iter().zip(&streams[1].backlog);
        assert!(pairs.all(|(one, other)| Arc::ptr_eq(one, other)));

        let more = (0..MOST_MISSED as i64 + 1).map(|offset| post(0, HISTORY as i64 + offset, MOVIE, AUTHOR));
        hub.take_in(more.collect(), &Positions::new());
        let mut from = Positions::clone(&hub.taken_in().expect("it has begun").1);
        from.set(partition(0), HISTORY as i64);
        let subscribe =
            |from, most| hub.subscribe(Audience::Movie(MOVIE), from, None, most).map(|stream| stream.backlog.len());
        assert_eq!(subscribe(from.clone(), MOST_MISSED), Err(Refused::TooOld));
        assert_eq!(subscribe(from.clone(), ALL_SINCE), Ok(MOST_MISSED + 1));
        from.set(partition(0), HISTORY as i64 + 1);
        assert_eq!(subscribe(from, MOST_MISSED), Ok(MOST_MISSED));
    }

    #[test]
    fn a_stream_that_is_not_read_ends_and_no_other() {
        let node = Node::new();
        let mut slow = Client::open(&node, Audience::Movie(MOVIE), beginning());
        let mut quick = Client::open(&node, Audience::Movie(MOVIE), beginning());
        for offset in 0..QUEUE as i64 + 1 {
            node.take_in(vec![post(0, offset, MOVIE, AUTHOR)], &[(partition(0), offset + 1)].into_iter().collect());
            assert!(quick.take());
        }
        while slow.take() {}
        assert_eq!(slow.has.len(), QUEUE);
        assert!(matches!(slow.stream.queue.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
        assert!(matches!(quick.stream.queue.try_recv(), Err(mpsc::error::TryRecvError::Empty)));
    }

    #[test]
    fn nothing_is_left_of_streams_that_are_gone() {
        let node = Node::new();
        for audience in [Audience::Movie(MOVIE), Audience::Timeline(READER)] {
            let streams = [0; 3].map(|_| Client::open(&node, audience, beginning()));
            node.take_in(vec![favorite(1, 0, true)], &Positions::new());
            drop(streams);
        }
        let watchers = &node.hub.state().watchers;
        assert!(watchers.movies.is_empty() && watchers.timelines.is_empty() && watchers.followers.is_empty());
        assert_eq!(watchers.open(), 0);
    }
}
