use std::collections::BTreeMap;

use balcony_domain::{Event, Topics, may_favorite};
use balcony_event_log::Record;
use balcony_projector::{Projection, Received};
use balcony_store::{ReadModel, StoreError, Tx, Value};
use uuid::Uuid;

use crate::Logged;
use crate::repetitions::first_times;

/// Whose favourite is who. Their comments are found at reading, among those of `comments`: see the timeline in the
/// query API for why that is quicker than copying them here.
pub struct Favorites {
    model: ReadModel,
}

impl Favorites {
    /// The name of the read model.
    pub const NAME: &'static str = "favorites";

    /// The projection of the facts in `topics`.
    pub fn new(topics: &Topics) -> Self {
        Self {
            model: ReadModel::new(
                Self::NAME,
                2,
                [topics.facts.clone()],
                include_str!("../../migrations/favorites.sql"),
            ),
        }
    }
}

/// What a batch does to one pair.
#[derive(Default)]
struct Pair {
    taken_back: bool,
    stands_since: Option<i64>,
}

impl Projection for Favorites {
    type Event = Logged;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    fn wants(&self, record: &Record) -> bool {
        // Any version; what names no type is no event, and is for others to park.
        record.headers.get("ce_type").is_some_and(|name| name.starts_with(b"balcony.user."))
    }

    /// What one follower did comes in order. Of each pair in a batch it matters whether the favourite was taken back
    /// in it, and since when it stands at its end.
    async fn apply(&self, events: &[Received<Logged>], tx: &mut Tx) -> Result<(), StoreError> {
        let of_pairs = |received: &&Received<Logged>| {
            matches!(received.event, Event::UserFavorited(_) | Event::UserUnfavorited(_))
        };
        let mut pairs: BTreeMap<(Uuid, Uuid), Pair> = BTreeMap::new();
        for recorded in first_times(events.iter().filter(of_pairs), "favorite_events", tx).await? {
            match &recorded.event {
                Event::UserFavorited(pair) if may_favorite(pair.follower_id, pair.followee_id) => {
                    let pair = pairs.entry((pair.follower_id.0, pair.followee_id.0)).or_default();
                    pair.stands_since.get_or_insert(recorded.time.milliseconds());
                }
                Event::UserUnfavorited(pair) => {
                    let pair = pairs.entry((pair.follower_id.0, pair.followee_id.0)).or_default();
                    *pair = Pair { taken_back: true, stands_since: None };
                }
                _ => {}
            }
        }

        let mut removed: Vec<[Value<'_>; 2]> = Vec::new();
        let mut added: Vec<[Value<'_>; 3]> = Vec::new();
        for ((follower, followee), pair) in pairs {
            if pair.taken_back {
                removed.push([follower.into(), followee.into()]);
            }
            if let Some(since) = pair.stands_since {
                added.push([follower.into(), followee.into(), since.into()]);
            }
        }
        tx.execute_rows("DELETE FROM favorites WHERE (follower_id, followee_id) IN (VALUES $rows)", &removed).await?;
        tx.execute_rows(
            "INSERT INTO favorites (follower_id, followee_id, favorited_at) VALUES $rows ON CONFLICT DO NOTHING",
            &added,
        )
        .await?;
        Ok(())
    }
}
