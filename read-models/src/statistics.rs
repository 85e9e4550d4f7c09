use std::sync::Arc;

use balcony_domain::{Event, Topics};
use balcony_event_log::TopicPartition;
use balcony_projector::{Projection, Received};
use balcony_statistics::{Occurrence, Series, Shapes, Stream, Tally, Windows};
use balcony_store::{ReadModel, StoreError, Tx};
use uuid::Uuid;

use crate::Logged;

/// How many rows are inherited at a time.
const PAGE: i64 = 5_000;

/// How many events there were by type, comments by movie and by author, and page views by movie, in windows of time and
/// since ever. A comment that is deleted was posted all the same.
pub struct Statistics {
    counts: balcony_statistics::Statistics<Logged>,
    views: Arc<str>,
}

impl Statistics {
    /// The name of the read model.
    pub const NAME: &'static str = "statistics";

    /// The projection of all events in `topics`.
    pub fn new(topics: &Topics) -> Self {
        let (views, read) = (topics.views.clone(), [topics.facts.clone(), topics.views.clone()]);
        Self { counts: balcony_statistics::Statistics::new(Self::NAME, 2, read, streams()), views }
    }

    /// What is counted, by what.
    pub fn shapes() -> Shapes {
        Shapes::of(&streams(), Windows::default())
    }

    /// Views by movie.
    pub fn views() -> Series {
        Self::shapes().series("views", Some("movie")).expect("views are counted by movie")
    }
}

fn streams() -> [Stream<Logged>; 3] {
    let comment_on = |logged: &Logged| match &logged.event {
        Event::CommentPosted(post) => Some(post.movie_id.0),
        _ => None,
    };
    let comment_by = |logged: &Logged| match &logged.event {
        Event::CommentPosted(post) => Some(post.author_id.0),
        _ => None,
    };
    let view_of = |logged: &Logged| match &logged.event {
        Event::MovieViewed(view) => Some(view.movie_id.0),
        _ => None,
    };
    [
        Stream::named("events").by("type", |logged: &Logged| Some(logged.event.type_name().to_owned())),
        Stream::named("comments").by_id("movie", comment_on).by_id("author", comment_by),
        Stream::named("views").by_id("movie", view_of),
    ]
}

impl Occurrence for Logged {
    fn at(&self) -> i64 {
        self.time.milliseconds()
    }

    fn id(&self) -> Option<Uuid> {
        Some(self.id)
    }
}

impl Projection for Statistics {
    type Event = Logged;

    fn read_model(&self) -> &ReadModel {
        self.counts.read_model()
    }

    async fn apply(&self, events: &[Received<Logged>], tx: &mut Tx) -> Result<(), StoreError> {
        self.counts.apply(events, tx).await
    }

    /// Views are kept for some days, and their counts for ever. Version 1 counted nothing else.
    fn inherits(&self, topic: &str, version: u32) -> bool {
        version > 1 || *topic == *self.views
    }

    async fn inherit(
        &self,
        partition: &TopicPartition,
        version: u32,
        before: &mut Tx,
        tx: &mut Tx,
    ) -> Result<(), StoreError> {
        match version {
            1 => self.inherit_totals(partition, before, tx).await,
            _ => self.counts.inherit(partition, version, before, tx).await,
        }
    }
}

impl Statistics {
    /// Takes over from version 1, which counted views of all time.
    async fn inherit_totals(&self, partition: &TopicPartition, before: &mut Tx, tx: &mut Tx) -> Result<(), StoreError> {
        let types = Self::shapes().series("events", None).expect("events are counted");
        let mut of_type = Tally::default();
        let mut after = Uuid::nil();
        loop {
            let page: Vec<(Uuid, i64)> = before
                .fetch(
                    "SELECT movie_id, views FROM view_counts WHERE partition = $1 AND movie_id > $2
                     ORDER BY movie_id LIMIT $3",
                    &[partition.partition.into(), after.into(), PAGE.into()],
                )
                .await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            of_type.count += page.iter().map(|(_, views)| views).sum::<i64>();
            let tallies: Vec<_> =
                page.into_iter().map(|(movie, views)| (movie.to_string(), Tally::of(views))).collect();
            self.counts.add_to_all_time(partition, &Self::views(), &tallies, tx).await?;
        }
        let viewed = "balcony.movie.viewed.v1".to_owned();
        match of_type.count {
            0 => Ok(()),
            _ => self.counts.add_to_all_time(partition, &types, &[(viewed, of_type)], tx).await,
        }
    }
}
