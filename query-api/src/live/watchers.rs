//! Who watches what.

use std::collections::{HashMap, HashSet};

use axum::body::Bytes;
use balcony_event_log::Positions;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::history::{Entry, What};

/// What a stream shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The comments on a movie.
    Movie(Uuid),
    /// The comments by the favourites of a user.
    Timeline(Uuid),
}

/// A stream that something is for.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) audience: Audience,
    pub(super) stream: u64,
    /// What it has beyond what the node has.
    pub(super) from: Option<Box<Positions>>,
    pub(super) queue: mpsc::Sender<Bytes>,
}

/// The streams that are open, by what they show.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    pub(super) movies: HashMap<Uuid, Streams>,
    pub(super) timelines: HashMap<Uuid, Timeline>,
    /// By author, the users with a timeline whose favourite that is, or was while somebody watched.
    pub(super) followers: HashMap<Uuid, HashSet<Uuid>>,
    next_stream: u64,
    open: usize,
}

pub(super) type Streams = HashMap<u64, Stream>;

#[derive(Debug)]
pub(super) struct Stream {
    queue: mpsc::Sender<Bytes>,
    /// Where it begins, until the node has come so far.
    from: Option<Box<Positions>>,
}

#[derive(Debug, Default)]
pub(super) struct Timeline {
    favorites: HashSet<Uuid>,
    /// Those who were favourites when one of the streams began, or since. Who watches has comments by them, so they are told
    /// which of these are deleted.
    former: HashSet<Uuid>,
    streams: Streams,
}

/// How many former favourites a timeline knows. One with more ends, and its clients come again.
const MOST_FORMER: usize = 1_000;

impl Timeline {
    /// Those whose comments may concern it.
    fn authors(self) -> impl Iterator<Item = Uuid> {
        self.favorites.into_iter().chain(self.former)
    }
}

impl Watchers {
    /// How many streams are open.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    pub(super) fn has_timelines(&self) -> bool {
        !self.timelines.is_empty()
    }

    /// The favourites of a user whose timeline somebody watches.
    pub(super) fn favorites(&self, user: Uuid) -> Option<&HashSet<Uuid>> {
        self.timelines.get(&user).map(|timeline| &timeline.favorites)
    }

    /// Lets the timeline of `user` begin with these `favorites`.
    pub(super) fn begin_timeline(&mut self, user: Uuid, favorites: HashSet<Uuid>) {
        for author in &favorites {
            self.followers.entry(*author).or_default().insert(user);
        }
        self.timelines.insert(user, Timeline { favorites, ..Timeline::default() });
    }

    /// Adds a stream, whose number it gives.
    pub(super) fn join(&mut self, audience: Audience, queue: mpsc::Sender<Bytes>, from: Option<Box<Positions>>) -> u64 {
        let stream = self.next_stream;
        let opened = Stream { queue, from };
        match audience {
            Audience::Movie(movie) => self.movies.entry(movie).or_default().insert(stream, opened),
            Audience::Timeline(user) => self.timelines.entry(user).or_default().streams.insert(stream, opened),
        };
        self.next_stream += 1;
        self.open += 1;
        stream
    }

    /// Ends every stream. Those that come later have other numbers.
    pub(super) fn end_all(&mut self) {
        *self = Self { next_stream: self.next_stream, ..Self::default() };
    }

    /// Ends every timeline.
    pub(super) fn end_timelines(&mut self) {
        let ended: usize = self.timelines.values().map(|timeline| timeline.streams.len()).sum();
        self.open -= ended;
        self.timelines.clear();
        self.followers.clear();
    }

    /// Changes the favourites of timelines that are open.
    pub(super) fn change_favorites(&mut self, entry: &Entry) {
        let What::Favorite { follower, followee, stands } = entry.what else { return };
        let Some(timeline) = self.timelines.get_mut(&follower) else { return };
        if stands {
            timeline.former.remove(&followee);
            timeline.favorites.insert(followee);
            self.followers.entry(followee).or_default().insert(follower);
        } else if timeline.favorites.remove(&followee) {
            timeline.former.insert(followee);
            if timeline.former.len() > MOST_FORMER {
                self.end_timeline(follower);
            }
        }
    }

    /// Lets the timeline of `user`, which has begun, go on telling of deletions of comments by `former` favourites.
    pub(super) fn add_former(&mut self, user: Uuid, former: HashSet<Uuid>) {
        let Some(timeline) = self.timelines.get_mut(&user) else { return };
        for author in former {
            if !timeline.favorites.contains(&author) && timeline.former.insert(author) {
                self.followers.entry(author).or_default().insert(user);
            }
        }
    }

    /// Ends the timeline of `user`.
    fn end_timeline(&mut self, user: Uuid) {
        let Some(timeline) = self.timelines.remove(&user) else { return };
        self.open -= timeline.streams.len();
        timeline.authors().for_each(|author| self.unfollow(author, user));
    }

    fn unfollow(&mut self, author: Uuid, user: Uuid) {
        if let Some(followers) = self.followers.get_mut(&author) {
            followers.remove(&user);
            if followers.is_empty() {
                self.followers.remove(&author);
            }
        }
    }

    /// The streams that show `entry`, with which the node has come to `reached`.
    pub(super) fn targets(&mut self, entry: &Entry, reached: &Positions) -> Vec<Target> {
        let Some(comment) = entry.comment() else { return Vec::new() };
        let mut targets = Vec::new();
        let mut add = |audience, streams: &mut Streams| {
            for (&stream, Stream { queue, from }) in streams {
                if from.as_ref().is_some_and(|from| reached.covers(from)) {
                    // From the next on. This one may still be below where the stream begins.
                    targets.push(Target { audience, stream, from: from.take(), queue: queue.clone() });
                } else {
                    targets.push(Target { audience, stream, from: from.clone(), queue: queue.clone() });
                }
            }
        };
        if let Some(streams) = self.movies.get_mut(&comment.movie) {
            add(Audience::Movie(comment.movie), streams);
        }
        for user in self.followers.get(&comment.author).into_iter().flatten() {
            if let Some(timeline) = self.timelines.get_mut(user)
                && (timeline.favorites.contains(&comment.author) || matches!(entry.what, What::Deleted(_)))
            {
                add(Audience::Timeline(*user), &mut timeline.streams);
            }
        }
        targets
    }

    /// Forgets a stream, and with the last of a timeline its favourites.
    pub(super) fn leave(&mut self, audience: Audience, stream: u64) {
        match audience {
            Audience::Movie(movie) => {
                let Some(streams) = self.movies.get_mut(&movie) else { return };
                if streams.remove(&stream).is_none() {
                    return;
                }
                if streams.is_empty() {
                    self.movies.remove(&movie);
                }
            }
            Audience::Timeline(user) => {
                let Some(timeline) = self.timelines.get_mut(&user) else { return };
                if timeline.streams.remove(&stream).is_none() {
                    return;
                }
                if timeline.streams.is_empty()
                    && let Some(timeline) = self.timelines.remove(&user)
                {
                    timeline.authors().for_each(|author| self.unfollow(author, user));
                }
            }
        }
        self.open -= 1;
    }
}
