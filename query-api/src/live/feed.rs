//! One reading of the log for all streams of a node.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use balcony_domain::{Event, Recorded};
use balcony_event_log::{Batch, EventLog, Incoming, LogError, Positions, Record, TopicPartition};
use balcony_http::events::EventIds;
use balcony_projector::Decode as _;
use balcony_read_models::{Comments, Favorites, Logged, Registry};
use balcony_store::{ReadModel, Reader, StoreError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::frame;
use super::history::{Comment, Entry, What};
use super::hub::{Hub, Outgoing};
use crate::conditions::Conditions;
use crate::hot::Hot;

/// Reads the log from a little before its end, and hands out what streams show **once queries show it too**.
pub(super) struct Feed {
    pub(super) log: Arc<dyn EventLog>,
    /// The topic of the facts.
    pub(super) facts: Arc<str>,
    pub(super) reader: Reader,
    pub(super) hub: Arc<Hub>,
    pub(super) ids: EventIds,
    /// The pages that are forgotten by the same reading.
    pub(super) hot: Option<Hot>,
}

/// What one step of the reading gave, and how far it came.
type Step = Result<(Vec<Entry>, Positions), LogError>;

/// The comments whose posts, and those whose deletions, were read last.
#[derive(Default)]
struct Told {
    posts: Recent,
    deletions: Recent,
}

/// Comments that something was read of lately.
#[derive(Default)]
struct Recent {
    known: HashSet<Uuid>,
    in_order: VecDeque<Uuid>,
}

/// Why a reading ends.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("more was read than there is room for")]
    TooFarBehind,
    #[error("the reading ended")]
    Ended,
}

/// How many comments are remembered of each kind.
const REMEMBERED: usize = 10_000;
/// How many records before the end of the log the history goes back when a node starts.
const LOOKED_BACK: i64 = 50_000;
/// How many steps the log is read ahead of what is handed out.
const STEPS_AHEAD: usize = 8;
/// How many records one step takes at the most.
const STEP_RECORDS: usize = 2_000;
/// How many entries may wait to be handed out.
const MOST_WAITING: usize = 50_000;
/// How many comments are read from the database at once.
pub(super) const CHUNK: usize = 100;
/// How long the favourites are waited for before the timelines end.
const FAVORITES_PATIENCE: Duration = Duration::from_secs(5);
/// How long a read model is waited for before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The pause before a reading begins anew, or the database is asked again.
const PAUSE: Duration = Duration::from_secs(1);

impl Recent {
    /// Whether nothing was read of the comment `id` lately.
    fn is_first_of(&mut self, id: Uuid) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        self.in_order.push_back(id);
        if self.in_order.len() > REMEMBERED
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

impl Feed {
    /// Reads until it is dropped. When a reading breaks, every stream ends and a new one begins.
    pub(super) async fn run(self) {
        loop {
            let Err(error) = self.read().await;
            tracing::warn!(%error, "live streams begin anew");
            self.hub.end();
            if let Some(hot) = &self.hot {
                hot.end();
            }
            sleep(PAUSE).await;
        }
    }

    async fn read(&self) -> Result<Infallible, Broken> {
        let facts = std::slice::from_ref(&self.facts);
        let (ends, starts) = (self.ends().await?, self.log.starts(facts).await?);
        let each = LOOKED_BACK / i64::try_from(ends.len().max(1)).unwrap_or(LOOKED_BACK);
        let begin = |(partition, end): (&TopicPartition, i64)| {
            (partition.clone(), (end - each).max(starts.next_offset(partition)))
        };
        let from: Positions = ends.into_iter().map(begin).collect();
        self.hub.begin(from.clone());
        // Pages are forgotten as soon as the log is read, streams wait for the read models.
        if let Some(hot) = &self.hot {
            hot.begin(from.clone());
        }
        let (sender, mut steps) = mpsc::channel(STEPS_AHEAD);
        let mut reading = JoinSet::new();
        reading.spawn(read_ahead(self.log.read(from.clone()), self.hot.clone(), sender));
        let mut read = from;
        let mut told = Told::default();
        loop {
            let (mut entries, mut reached) = next(&mut steps, &mut read).await?;
            // A favourite that was made before a comment may stand in another partition and come after it. Everything
            // that was there when the comment was read is read before the comment is handed out.
            let has_posts = entries.iter().any(|entry| matches!(entry.what, What::Posted(_)));
            if has_posts && self.hub.has_timelines() {
                let ends = self.ends().await?;
                while !read.covers(&ends) {
                    let (more, further) = next(&mut steps, &mut read).await?;
                    entries.extend(more);
                    reached.merge(&further);
                    if entries.len() > MOST_WAITING {
                        return Err(Broken::TooFarBehind);
                    }
                }
            }
            self.wait_for_queries(&reached).await;
            let entries = self.that_count(entries, &reached, &mut told).await;
            let deliveries = self.hub.take_in(entries, &reached);
            self.hand_out(&deliveries, &reached).await?;
            self.hub.handed_out_to(&reached);
        }
    }

    /// Where the log ends, as soon as it says so: streams stay open while it is away.
    async fn ends(&self) -> Result<Positions, LogError> {
        loop {
            match self.log.ends(std::slice::from_ref(&self.facts)).await {
                Err(error @ LogError::Unavailable(_)) => tracing::debug!(%error, "live streams wait for the log"),
                ends => return ends,
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until queries show everything below `reached`. Timelines whose favourites do not come in time end; whoever
    /// opens them again is told what is missing.
    async fn wait_for_queries(&self, reached: &Positions) {
        for name in [Registry::NAME, Comments::NAME] {
            while !self.has_come(name, reached, LOOK_AGAIN).await {}
        }
        if self.hub.has_timelines() && !self.has_come(Favorites::NAME, reached, FAVORITES_PATIENCE).await {
            tracing::warn!("timelines end: the favourites are behind");
            self.hub.end_timelines();
        }
    }

    /// What `read` gives from read models that have come to `reached`, as soon as the database answers.
    async fn as_of<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        reached: &Positions,
        read: impl Fn() -> F,
    ) -> T {
        loop {
            let since = self.reader.standing();
            self.wait_for_queries(reached).await;
            // A crash of the database, or another generation, may not have what was waited for.
            match read().await.and_then(|found| self.reader.stayed_on(&since).map(|()| found)) {
                Ok(found) => return found,
                Err(error) => tracing::debug!(%error, "live streams wait for the database"),
            }
            sleep(PAUSE).await;
        }
    }

    async fn has_come(&self, name: &str, reached: &Positions, patience: Duration) -> bool {
        let model = model(&self.reader, name);
        let deadline = Instant::now() + patience;
        // While nobody watches, it is soon enough when the read models come so far by themselves.
        let waited = match self.hub.has_streams() {
            true => self.reader.wait_for(model, reached, deadline).await,
            false => self.reader.wait_patiently_for(model, reached, deadline).await,
        };
        match waited {
            Ok(has_come) => has_come,
            Err(error) => {
                tracing::debug!(%error, "live streams wait for a read model");
                sleep(PAUSE).await;
                false
            }
        }
    }

    /// The entries that changed something, each deletion with the comment that it is about.
    async fn that_count(&self, entries: Vec<Entry>, reached: &Positions, told: &mut Told) -> Vec<Entry> {
        let deletions = entries.iter().filter(|entry| matches!(entry.what, What::Deleted(_)));
        let ids: Vec<Uuid> = deletions.filter_map(Entry::comment).map(|comment| comment.id).collect();
        let mut gone = Vec::new();
        for ids in ids.chunks(CHUNK) {
            gone.extend(self.as_of(reached, || deleted_comments(&self.reader, ids)).await);
        }
        let gone: HashMap<Uuid, (Comment, i64)> =
            gone.into_iter().map(|(id, movie, author, at)| (id, (Comment { id, movie, author }, at))).collect();
        let complete = |mut entry: Entry| {
            match entry.what {
                // Of two posts that raced under one key the first counts. Those of other milliseconds than the comment's
                // are left out when it is read.
                What::Posted(Comment { id, .. }) => told.posts.is_first_of(id).then_some(entry),
                What::Deleted(Comment { id, .. }) => {
                    let (comment, at) = gone.get(&id).copied()?;
                    entry.what = What::Deleted(comment);
                    // A deletion that was refused, or that came after another, is not the one that the comment was deleted
                    // by. Two in one millisecond are told apart by their order.
                    (at == entry.at && told.deletions.is_first_of(id)).then_some(entry)
                }
                What::Favorite { .. } => Some(entry),
            }
        };
        entries.into_iter().filter_map(complete).collect()
    }

    async fn hand_out(&self, deliveries: &[Outgoing], reached: &Positions) -> Result<(), Broken> {
        for deliveries in deliveries.chunks(CHUNK) {
            let entries: Vec<&Entry> = deliveries.iter().map(|delivery| &*delivery.entry).collect();
            let read = || frame::of(&self.reader, &entries);
            let mut frames = self.as_of(reached, read).await;
            if frames.lack_names {
                let ends = self.ends().await?;
                let read_at_the_end = || async {
                    while !self.has_come(Registry::NAME, &ends, LOOK_AGAIN).await {}
                    read().await
                };
                frames = self.as_of(reached, read_at_the_end).await;
            }
            for (delivery, frame) in deliveries.iter().zip(frames.of_each) {
                let Some(frame) = frame else { continue };
                self.hub.hand_out(delivery, |positions| Bytes::from(frame.with_id(&self.ids.text(positions))));
                self.hub.handed_out_to(&delivery.reached);
            }
        }
        Ok(())
    }
}

/// Reads `log` ahead of who takes the steps, until it cannot be read any more.
async fn read_ahead(mut log: balcony_event_log::Reader, hot: Option<Hot>, steps: mpsc::Sender<Step>) {
    loop {
        let step = match log.next().await {
            Ok(Incoming::Records(mut batch)) => {
                log.fill(&mut batch, STEP_RECORDS);
                let Batch { records, reached } = batch;
                let events: Vec<_> = records.iter().filter_map(event).collect();
                if let Some(hot) = &hot {
                    let places = events.iter().map(|(record, event)| (&record.partition, record.offset, event));
                    hot.read(places, &reached);
                }
                Ok((events.into_iter().filter_map(|(record, event)| entry(record, event)).collect(), reached))
            }
            Ok(Incoming::Assigned(_) | Incoming::Revoked(_)) => continue,
            Err(error @ LogError::Unavailable(_)) => {
                tracing::debug!(%error, "live streams wait for the log");
                continue;
            }
            Err(error) => Err(error),
        };
        let is_last = step.is_err();
        if steps.send(step).await.is_err() || is_last {
            return;
        }
    }
}

/// Waits for the next step.
async fn next(steps: &mut mpsc::Receiver<Step>, read: &mut Positions) -> Result<(Vec<Entry>, Positions), Broken> {
    let (entries, reached) = steps.recv().await.ok_or(Broken::Ended)??;
    read.merge(&reached);
    Ok((entries, reached))
}

/// The read model of `reader` called `name`.
pub(super) fn model<'a>(reader: &'a Reader, name: &str) -> &'a ReadModel {
    let model = reader.models().iter().find(|model| &*model.name == name);
    model.expect("streams show what the catalogue has")
}

/// The event of a record. One that is broken is parked by others and says nothing here.
fn event(record: &Record) -> Option<(&Record, Recorded)> {
    let Logged(recorded) = Logged::decode(record).ok()??;
    Some((record, recorded))
}

/// What an event says to streams.
fn entry(record: &Record, recorded: Recorded) -> Option<Entry> {
    let what = match recorded.event {
        Event::CommentPosted(post) => {
            What::Posted(Comment { id: post.comment_id.0, movie: post.movie_id.0, author: post.author_id.0 })
        }
        // Of which movie, and by whom, the database knows.
        Event::CommentDeleted(deletion) => {
            What::Deleted(Comment { id: deletion.comment_id.0, movie: Uuid::nil(), author: Uuid::nil() })
        }
        Event::UserFavorited(pair) if balcony_domain::may_favorite(pair.follower_id, pair.followee_id) => {
            What::Favorite { follower: pair.follower_id.0, followee: pair.followee_id.0, stands: true }
        }
        Event::UserUnfavorited(pair) => {
            What::Favorite { follower: pair.follower_id.0, followee: pair.followee_id.0, stands: false }
        }
        _ => return None,
    };
    let (partition, offset) = (record.partition.clone(), record.offset);
    Some(Entry { partition, offset, at: recorded.time.milliseconds(), what })
}

/// Of the comments called `ids` those that are deleted: comment, movie, author, and when.
async fn deleted_comments(reader: &Reader, ids: &[Uuid]) -> Result<Vec<(Uuid, Uuid, Uuid, i64)>, StoreError> {
    let mut conditions = Conditions::new("deleted_at IS NOT NULL");
    conditions.is_one_of("id", ids);
    let sql = format!("SELECT id, movie_id, author_id, deleted_at FROM comments WHERE {}", conditions.text());
    reader.fetch(sql, conditions.params()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_the_first_is_told_and_few_are_remembered() {
        let mut recent = Recent::default();
        let id = |number: usize| Uuid::from_u128(number as u128);
        assert!(recent.is_first_of(id(0)) && !recent.is_first_of(id(0)));
        for number in 1..=REMEMBERED {
            assert!(recent.is_first_of(id(number)));
        }
        assert_eq!((recent.known.len(), recent.in_order.len()), (REMEMBERED, REMEMBERED));
        assert!(!recent.is_first_of(id(1)));
    }
}
