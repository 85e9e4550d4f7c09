use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use balcony_domain::event::MovieViewed;
use balcony_domain::{CommentId, DERIVED, Deed, Event, Recorded, Topics, UserId, id_of_deletion};
use balcony_event_log::{Record, TopicPartition};
use balcony_projector::{Projection, Received};
use balcony_store::{ReadModel, StoreError, Tx, Value};
use uuid::Uuid;

use crate::Logged;
use crate::repetitions::first_times;

/// What each user did, in time order, with the pages that the user viewed while signed in, which are for that user alone.
pub struct Journeys {
    model: ReadModel,
    views: Arc<str>,
}

/// How many rows are inherited at a time.
const PAGE: i64 = 5_000;

impl Journeys {
    /// The name of the read model.
    pub const NAME: &'static str = "journeys";

    /// The projection of all events in `topics`.
    pub fn new(topics: &Topics) -> Self {
        let (views, read) = (topics.views.clone(), [topics.facts.clone(), topics.views.clone()]);
        Self { model: ReadModel::new(Self::NAME, 4, read, include_str!("../../migrations/journeys.sql")), views }
    }
}

impl Projection for Journeys {
    type Event = Logged;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    /// Most views are of nobody who is known, and are not worth decoding.
    fn wants(&self, record: &Record) -> bool {
        let names_viewer = || record.payload.windows(VIEWER.len()).any(|part| part == VIEWER);
        record.partition.topic != self.views || names_viewer()
    }

    async fn apply(&self, events: &[Received<Logged>], tx: &mut Tx) -> Result<(), StoreError> {
        let changes = changed_favorites(events, tx).await?;
        let is_step = |recorded: &Recorded| pair(recorded).is_none() || changes.contains(&recorded.id);
        let rows: Vec<_> = events.iter().filter(|received| is_step(received)).filter_map(|it| entry(it)).collect();
        let columns = ["id", "user_id", "at", "kind", "movie_id", "comment_id", "other_id"];
        tx.insert_new("journey_entries", &["id"], columns, &rows).await?;
        let views: Vec<_> = events.iter().filter_map(view).collect();
        insert_views(&views, tx).await
    }

    /// Views are kept for some days in the log. All else is of facts, which are kept for ever.
    fn inherits(&self, topic: &str, _version: u32) -> bool {
        *topic == *self.views
    }

    /// Version 1 had no views.
    async fn inherit(
        &self,
        partition: &TopicPartition,
        version: u32,
        before: &mut Tx,
        tx: &mut Tx,
    ) -> Result<(), StoreError> {
        if partition.topic != self.views || version == 1 {
            return Ok(());
        }
        let mut after = Uuid::nil();
        loop {
            let page: Vec<(Uuid, Uuid, i64, Uuid)> = before
                .fetch(
                    "SELECT id, user_id, at, movie_id FROM journey_views WHERE partition = $1 AND id > $2
                     ORDER BY id LIMIT $3",
                    &[partition.partition.into(), after.into(), PAGE.into()],
                )
                .await?;
            let Some((last, ..)) = page.last() else { return Ok(()) };
            after = *last;
            let rows: Vec<_> = page
                .into_iter()
                .map(|(id, user, at, movie)| {
                    [id.into(), partition.partition.into(), user.into(), at.into(), movie.into()]
                })
                .collect();
            insert_views(&rows, tx).await?;
        }
    }
}

/// What stands in the data of a view by somebody who is known.
const VIEWER: &[u8] = b"\"viewer_id\"";

async fn insert_views(rows: &[[Value<'_>; 5]], tx: &mut Tx) -> Result<(), StoreError> {
    let columns = ["id", "partition", "user_id", "at", "movie_id"];
    tx.insert_new("journey_views", &["id", "partition"], columns, rows).await.map(drop)
}

/// The event as a view by somebody who is known, if it is one.
fn view(received: &Received<Logged>) -> Option<[Value<'static>; 5]> {
    let Event::MovieViewed(MovieViewed { movie_id, viewer_id: Some(viewer) }) = &received.event else { return None };
    let (at, partition) = (received.time.milliseconds(), received.partition.partition);
    Some([received.id.into(), partition.into(), viewer.0.into(), at.into(), movie_id.0.into()])
}

/// Whose favourite somebody becomes or ceases to be, and whether it is one then.
fn pair(recorded: &Recorded) -> Option<((Uuid, Uuid), bool)> {
    match &recorded.event {
        Event::UserFavorited(pair) => Some(((pair.follower_id.0, pair.followee_id.0), true)),
        Event::UserUnfavorited(pair) => Some(((pair.follower_id.0, pair.followee_id.0), false)),
        _ => None,
    }
}

/// The ids of those events that make somebody a favourite who was none, or none who was one. What one follower did
/// comes in order. A repeated wish is no step: it changes nothing.
async fn changed_favorites(events: &[Received<Logged>], tx: &mut Tx) -> Result<HashSet<Uuid>, StoreError> {
    let wishes = events.iter().filter(|received| pair(received).is_some());
    let wishes = first_times(wishes, "journey_wishes", tx).await?;
    let pairs: BTreeSet<(Uuid, Uuid)> = wishes.iter().filter_map(|wish| Some(pair(wish)?.0)).collect();
    let standing = "SELECT user_id, other_id FROM journey_favorites WHERE (user_id, other_id) IN (VALUES $rows)";
    let before = tx.fetch_rows::<(Uuid, Uuid), 2>(standing, &rows_of(&pairs)).await?;
    let before: BTreeSet<(Uuid, Uuid)> = before.into_iter().collect();

    let mut after = before.clone();
    let mut changes = HashSet::new();
    for wish in wishes {
        let Some((pair, is_wanted)) = pair(wish) else { continue };
        if if is_wanted { after.insert(pair) } else { after.remove(&pair) } {
            changes.insert(wish.id);
        }
    }
    let gone = rows_of(before.difference(&after));
    tx.execute_rows("DELETE FROM journey_favorites WHERE (user_id, other_id) IN (VALUES $rows)", &gone).await?;
    let new = rows_of(after.difference(&before));
    tx.execute_rows("INSERT INTO journey_favorites (user_id, other_id) VALUES $rows", &new).await?;
    Ok(changes)
}

fn rows_of<'p>(pairs: impl IntoIterator<Item = &'p (Uuid, Uuid)>) -> Vec<[Value<'static>; 2]> {
    pairs.into_iter().map(|&(user, other)| [user.into(), other.into()]).collect()
}

/// The id of the first step of whoever is introduced by a command. A user who sends two first commands at once is introduced twice and has the step once. Its first
/// 48 bits are the time in other ids, and zero here: of what was done in the same millisecond the step comes first.
fn registration_of(user: UserId) -> Uuid {
    let derived = Uuid::new_v5(&DERIVED, format!("registration\0{user}").as_bytes());
    Uuid::from_u128(derived.as_u128() & (u128::MAX >> 48))
}

/// The id of the step of who deletes a comment: to delete it again is no step. Its first 48 bits come after every time, so
/// that of what was done in the same millisecond it comes last.
fn deletion_of(comment: CommentId, user: UserId) -> Uuid {
    Uuid::from_u128(id_of_deletion(comment, user).as_u128() | (u128::MAX << 80))
}

/// The event as a step of somebody's journey, if it is one.
fn entry(recorded: &Recorded) -> Option<[Value<'_>; 7]> {
    let (user, deed, movie, comment, other) = match &recorded.event {
        Event::ProfileChanged(change) if change.initial => (change.user_id, Deed::Registered, None, None, None),
        Event::ProfileChanged(change) => (change.user_id, Deed::ChangedProfile, None, None, None),
        Event::CommentPosted(post) => {
            (post.author_id, Deed::PostedComment, Some(post.movie_id.0), Some(post.comment_id.0), None)
        }
        Event::CommentDeleted(deletion) => {
            (deletion.deleted_by, Deed::DeletedComment, None, Some(deletion.comment_id.0), None)
        }
        Event::UserFavorited(pair) => (pair.follower_id, Deed::MadeFavorite, None, None, Some(pair.followee_id.0)),
        Event::UserUnfavorited(pair) => (pair.follower_id, Deed::UnmadeFavorite, None, None, Some(pair.followee_id.0)),
        Event::CompanyRegistered(_)
        | Event::CompanyUnsubscribed(_)
        | Event::MovieRegistered(_)
        | Event::MovieViewed(_) => return None,
    };
    let id = match &recorded.event {
        Event::CommentDeleted(deletion) => deletion_of(deletion.comment_id, user),
        _ if deed == Deed::Registered => registration_of(user),
        _ => recorded.id,
    };
    Some([
        id.into(),
        user.0.into(),
        recorded.time.milliseconds().into(),
        deed.name().into(),
        movie.into(),
        comment.into(),
        other.into(),
    ])
}
