use std::collections::BTreeMap;
use std::sync::Arc;

use balcony_domain::{Event, Recorded, Topics};
use balcony_store::{ReadModel, StoreError, Tx, Value};
use uuid::Uuid;

use crate::{Projection, Received};

/// How often each movie's page was viewed.
pub struct Statistics {
    topics: [Arc<str>; 1],
}

impl Statistics {
    /// The projection of the views in `topics`.
    pub fn new(topics: &Topics) -> Self {
        Self { topics: [topics.views.clone()] }
    }
}

#[async_trait::async_trait]
impl Projection for Statistics {
    type Event = Recorded;

    fn read_model(&self) -> ReadModel {
        super::read_model("statistics", 1, include_str!("../../../migrations/statistics.sql"))
    }

    fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    async fn apply(&self, events: &[Received<Recorded>], tx: &mut Tx) -> Result<(), StoreError> {
        let mut views: BTreeMap<(Uuid, i32), i64> = BTreeMap::new();
        for received in events {
            if let Event::MovieViewed(view) = &received.event.event {
                *views.entry((view.movie_id.0, received.partition.partition)).or_default() += 1;
            }
        }
        let rows: Vec<[Value<'_>; 3]> = views
            .into_iter()
            .map(|((movie, partition), views)| [movie.into(), partition.into(), views.into()])
            .collect();
        tx.execute_rows(
            "INSERT INTO view_counts (movie_id, partition, views) VALUES $rows
             ON CONFLICT (movie_id, partition) DO UPDATE SET views = view_counts.views + excluded.views",
            &rows,
        )
        .await?;
        Ok(())
    }
}
