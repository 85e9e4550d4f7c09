use balcony_domain::{Event, Recorded, Topics};
use balcony_projector::{Projection, Received};
use balcony_store::{ReadModel, StoreError, Tx, Value};

use crate::Logged;

/// What each user did, in time order. Page views are not part of it: they are forgotten, and a journey is not.
pub struct Journeys {
    model: ReadModel,
}

impl Journeys {
    /// The name of the read model.
    pub const NAME: &'static str = "journeys";

    /// The projection of the facts in `topics`.
    pub fn new(topics: &Topics) -> Self {
        Self {
            model: ReadModel::new(Self::NAME, 1, [topics.facts.clone()], include_str!("../../migrations/journeys.sql")),
        }
    }
}

impl Projection for Journeys {
    type Event = Logged;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    async fn apply(&self, events: &[Received<Logged>], tx: &mut Tx) -> Result<(), StoreError> {
        let rows: Vec<_> = events.iter().filter_map(|received| entry(received)).collect();
        let columns = ["id", "user_id", "at", "kind", "movie_id", "comment_id", "other_id"];
        tx.insert_new("journey_entries", &["id"], columns, &rows).await?;
        Ok(())
    }
}

/// The event as a step of somebody's journey, if it is one.
fn entry(recorded: &Recorded) -> Option<[Value<'_>; 7]> {
    let (user, kind, movie, comment, other) = match &recorded.event {
        Event::ProfileChanged(change) if change.initial => (change.user_id, "registered", None, None, None),
        Event::ProfileChanged(change) => (change.user_id, "profile.changed", None, None, None),
        Event::CommentPosted(post) => {
            (post.author_id, "comment.posted", Some(post.movie_id.0), Some(post.comment_id.0), None)
        }
        Event::CommentDeleted(deletion) => {
            (deletion.deleted_by, "comment.deleted", None, Some(deletion.comment_id.0), None)
        }
        Event::UserFavorited(pair) => (pair.follower_id, "user.favorited", None, None, Some(pair.followee_id.0)),
        Event::UserUnfavorited(pair) => (pair.follower_id, "user.unfavorited", None, None, Some(pair.followee_id.0)),
        Event::CompanyRegistered(_) | Event::MovieRegistered(_) | Event::MovieViewed(_) => return None,
    };
    Some([
        recorded.id.into(),
        user.0.into(),
        recorded.time.milliseconds().into(),
        kind.into(),
        movie.into(),
        comment.into(),
        other.into(),
    ])
}
