//! What read models keep of page views that the log has forgotten: over the step from version 1, and over rebuilds.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use balcony_domain::event::{MovieViewed, UserFavorited};
use balcony_domain::{Event, MovieId, Recorded, Timestamp, Topics, UserId};
use balcony_event_log::memory::{Clock, MemoryLog};
use balcony_event_log::testing::eventually;
use balcony_event_log::{EventLog as _, Topic, TopicPartition};
use balcony_projector::{Projection, Projector, Received};
use balcony_read_models::{Journeys, Logged, Statistics};
use balcony_statistics::of_all_time;
use balcony_store::{BuildOptions, Database, GenerationState, ReadModel, Reader, Scratch, StoreError, Tx};
use tokio::time::Instant;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);
const KEPT: Duration = Duration::from_secs(60);

/// The projection as it was in version 1: views of all time.
struct FirstStatistics(ReadModel);

impl Projection for FirstStatistics {
    type Event = Logged;

    fn read_model(&self) -> &ReadModel {
        &self.0
    }

    async fn apply(&self, events: &[Received<Logged>], tx: &mut Tx) -> Result<(), StoreError> {
        for received in events {
            if let Event::MovieViewed(view) = &received.event {
                let sql = "INSERT INTO view_counts (movie_id, partition, views) VALUES ($1, $2, 1)
                           ON CONFLICT (movie_id, partition) DO UPDATE SET views = view_counts.views + 1";
                tx.execute(sql, &[view.movie_id.0.into(), received.partition.partition.into()]).await?;
            }
        }
        Ok(())
    }

    fn inherits(&self, _: &str, _: u32) -> bool {
        true
    }

    async fn inherit(&self, _: &TopicPartition, _: u32, _: &mut Tx, _: &mut Tx) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The projection as it was in version 1: facts alone.
struct FirstJourneys(ReadModel);

impl Projection for FirstJourneys {
    type Event = Logged;

    fn read_model(&self) -> &ReadModel {
        &self.0
    }

    async fn apply(&self, _: &[Received<Logged>], _: &mut Tx) -> Result<(), StoreError> {
        Ok(())
    }
}

struct World {
    topics: Topics,
    clock: Clock,
    log: Arc<MemoryLog>,
    database: Database,
    /// How often each movie was viewed.
    views: BTreeMap<Uuid, i64>,
    /// The ids of views by somebody who was signed in.
    known: Vec<Uuid>,
    ids: u128,
    _scratch: Scratch,
}

impl World {
    async fn open(scratch: Scratch) -> Self {
        let topics = Topics::with_prefix("balcony.");
        let clock = Clock::at(SystemTime::now());
        let topic = |name: &Arc<str>, retention| Topic { name: name.clone(), partitions: 2, replication: 1, retention };
        let all = [topic(&topics.facts, None), topic(&topics.views, Some(KEPT))];
        let log = Arc::new(MemoryLog::new(&all, clock.clone()));
        let database = Database::open(scratch.settings()).await.unwrap();
        let (views, known) = (BTreeMap::new(), Vec::new());
        Self { topics, clock, log, database, views, known, ids: 0, _scratch: scratch }
    }

    fn new_id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::new_v5(&Uuid::NAMESPACE_OID, &self.ids.to_be_bytes())
    }

    /// Views five movies in turn, every other time signed in.
    async fn view(&mut self, times: u128) {
        let user = UserId(Uuid::from_u128(7));
        for number in 0..times {
            let movie = Uuid::new_v5(&Uuid::NAMESPACE_URL, &(number % 5).to_be_bytes());
            let id = self.new_id();
            let viewer_id = number.is_multiple_of(2).then_some(user);
            let event = Event::MovieViewed(MovieViewed { movie_id: MovieId(movie), viewer_id });
            let time = Timestamp::from_milliseconds(1_700_000_000_000).unwrap();
            let recorded = Logged(Recorded { id, time, request_digest: None, traceparent: None, event });
            self.log.append(&self.topics.views, recorded.message()).await.unwrap();
            *self.views.entry(movie).or_default() += 1;
            self.known.extend(viewer_id.map(|_| id));
        }
    }

    /// The log forgets what was viewed so far, but for what is viewed now.
    async fn forget(&mut self) {
        self.clock.advance(KEPT * 2);
        self.view(3).await;
        let starts = self.log.starts(std::slice::from_ref(&self.topics.views)).await.unwrap();
        assert!(starts.sum() > 0, "the log has forgotten some");
    }

    /// A reader of `model` that has come to the log's end.
    async fn reader(&self, model: &ReadModel) -> Reader {
        let reader = Reader::open(&self.database, vec![model.clone()]).await;
        eventually("this version is live", PATIENCE, async || reader.check(model).await.ok()).await;
        let ends = self.log.ends(&model.topics).await.unwrap();
        let came = reader.wait_for(model, &ends, Instant::now() + PATIENCE).await.unwrap();
        assert!(came, "{} {:?} of {ends:?}", model.name, reader.checkpoints(model).await);
        reader
    }

    async fn statistics_count_every_view(&self) {
        let statistics = Statistics::new(&self.topics);
        let reader = self.reader(statistics.read_model()).await;
        let movies: Vec<String> = self.views.keys().map(Uuid::to_string).collect();
        let found = of_all_time(&reader, &Statistics::views(), &movies).await.unwrap();
        let found: BTreeMap<Uuid, i64> =
            found.into_iter().map(|(movie, tally)| (movie.parse().unwrap(), tally.count)).collect();
        assert_eq!(found, self.views);
        let types = Statistics::shapes().series("events", Some("type")).unwrap();
        let viewed = ["balcony.movie.viewed.v1".to_owned()];
        let found = of_all_time(&reader, &types, &viewed).await.unwrap();
        assert_eq!(found[&viewed[0]].count, self.views.values().sum::<i64>());
    }

    /// Journeys have those of the known views that came from `from` on.
    async fn journeys_have_views(&self, from: usize) {
        let journeys = Journeys::new(&self.topics);
        let reader = self.reader(journeys.read_model()).await;
        let found: Vec<(Uuid,)> = reader.fetch("SELECT id FROM journey_views", &[]).await.unwrap();
        let mut found: Vec<Uuid> = found.into_iter().map(|(id,)| id).collect();
        let mut expected = self.known[from..].to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    async fn rebuild(&self, model: &ReadModel) {
        let generation = self.database.begin_build(model, BuildOptions::default()).await.unwrap().number;
        eventually("the generation is live", PATIENCE, async || {
            let listed = self.database.generations(Some(&model.name)).await.unwrap();
            let one = listed.into_iter().find(|listed| listed.generation.number == generation)?;
            (one.state == GenerationState::Live).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_view_is_lost_by_the_step_from_version_1_nor_by_a_rebuild() {
    let mut scratches = vec![Scratch::sqlite().unwrap()];
    scratches.extend(Scratch::postgres().await.unwrap());
    for scratch in scratches {
        let mut world = World::open(scratch).await;
        let views =
            "CREATE TABLE view_counts (movie_id UUID NOT NULL, partition BIGINT NOT NULL, views BIGINT NOT NULL,
                     PRIMARY KEY (movie_id, partition));";
        let first_statistics = ReadModel::new("statistics", 1, [world.topics.views.clone()], views);
        let entries = "CREATE TABLE journey_entries (id UUID NOT NULL PRIMARY KEY);";
        let first_journeys = ReadModel::new("journeys", 1, [world.topics.facts.clone()], entries);
        let mut older = Projector::new(world.log.clone(), world.database.clone(), "test.");
        older.start(FirstStatistics(first_statistics.clone()));
        older.start(FirstJourneys(first_journeys));
        world.view(20).await;
        world.reader(&first_statistics).await;
        world.forget().await;
        world.reader(&first_statistics).await;

        let mut newer = Projector::new(world.log.clone(), world.database.clone(), "test.");
        newer.start(Statistics::new(&world.topics));
        newer.start(Journeys::new(&world.topics));
        world.statistics_count_every_view().await;
        // Version 1 had no views, so those are there that the log still has.
        world.journeys_have_views(10).await;

        world.view(4).await;
        world.statistics_count_every_view().await;
        world.journeys_have_views(10).await;
        world.reader(&first_statistics).await;
        world.forget().await;
        world.statistics_count_every_view().await;
        world.journeys_have_views(10).await;
        world.rebuild(Statistics::new(&world.topics).read_model()).await;
        world.rebuild(Journeys::new(&world.topics).read_model()).await;
        world.statistics_count_every_view().await;
        world.journeys_have_views(10).await;
        older.stop().await;
        newer.stop().await;
    }
}

/// Views are inherited, and facts are not: whoever removed some of them by hand is told before a reader is.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_that_would_lack_removed_facts_stops_and_says_so() {
    let world = World::open(Scratch::sqlite().unwrap()).await;
    let entries = "CREATE TABLE journey_entries (id UUID NOT NULL PRIMARY KEY);";
    let first = ReadModel::new(Journeys::NAME, 1, [world.topics.facts.clone()], entries);
    let mut older = Projector::new(world.log.clone(), world.database.clone(), "test.");
    older.start(FirstJourneys(first.clone()));
    let pair = UserFavorited { follower_id: UserId(Uuid::from_u128(1)), followee_id: UserId(Uuid::from_u128(2)) };
    let (id, time) = (Uuid::from_u128(3), Timestamp::from_milliseconds(1_700_000_000_000).unwrap());
    let event = Event::UserFavorited(pair);
    let recorded = Logged(Recorded { id, time, request_digest: None, traceparent: None, event });
    let position = world.log.append(&world.topics.facts, recorded.message()).await.unwrap();
    world.reader(&first).await;
    world.log.remove_below(&position.partition, position.offset + 1).unwrap();

    let mut newer = Projector::new(world.log.clone(), world.database.clone(), "test.");
    newer.start(Journeys::new(&world.topics));
    let error = eventually("the build fails", PATIENCE, async || {
        let listed = world.database.generations(Some(Journeys::NAME)).await.unwrap();
        let failed = listed.into_iter().find(|listed| listed.state == GenerationState::Failed)?;
        failed.error
    })
    .await;
    assert!(error.contains(&*world.topics.facts) && error.contains("would lose it"), "{error}");
    newer.stop().await;
    older.stop().await;
}
