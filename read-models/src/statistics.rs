use std::collections::BTreeMap;

use balcony_domain::{Event, Topics};
use balcony_event_log::TopicPartition;
use balcony_projector::{Projection, Received};
use balcony_store::{ReadModel, StoreError, Tx, Value};
use uuid::Uuid;

use crate::Logged;

/// How many rows are inherited at a time.
const PAGE: i64 = 5_000;

/// How often each movie's page was viewed.
pub struct Statistics {
    model: ReadModel,
}

impl Statistics {
    /// The name of the read model.
    pub const NAME: &'static str = "statistics";

    /// The projection of the views in `topics`.
    pub fn new(topics: &Topics) -> Self {
        Self {
            model: ReadModel::new(
                Self::NAME,
                1,
                [topics.views.clone()],
                include_str!("../../migrations/statistics.sql"),
            ),
        }
    }
}

impl Projection for Statistics {
    type Event = Logged;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    async fn apply(&self, events: &[Received<Logged>], tx: &mut Tx) -> Result<(), StoreError> {
        let mut views: BTreeMap<(Uuid, i32), i64> = BTreeMap::new();
        for received in events {
            if let Event::MovieViewed(view) = &received.event {
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

    fn inherits(&self) -> bool {
        true
    }

    /// Views are kept for some days, and their counts for ever.
    async fn inherit(
        &self,
        partition: &TopicPartition,
        _version: u32,
        before: &mut Tx,
        tx: &mut Tx,
    ) -> Result<(), StoreError> {
        let mut after = Uuid::nil();
        loop {
            let page: Vec<(Uuid, i64)> = before
                .fetch(
                    "SELECT movie_id, views FROM view_counts WHERE partition = $1 AND movie_id > $2
                     ORDER BY movie_id LIMIT $3",
                    &[partition.partition.into(), after.into(), PAGE.into()],
                )
                .await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            let rows: Vec<[Value<'_>; 3]> = page
                .iter()
                .map(|(movie, views)| [(*movie).into(), partition.partition.into(), (*views).into()])
                .collect();
            tx.execute_rows("INSERT INTO view_counts (movie_id, partition, views) VALUES $rows", &rows).await?;
        }
    }
}
