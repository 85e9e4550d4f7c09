//! What becomes of a rebuild when the log has forgotten its beginning.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use balcony_event_log::memory::{Clock, MemoryLog};
use balcony_event_log::testing::eventually;
use balcony_event_log::{EventLog as _, Message, Positions, Record, Topic, TopicPartition};
use balcony_projector::{Decode, Projection, Projector, Received};
use balcony_store::{BuildOptions, Database, GenerationState, Lost, ReadModel, Reader, Scratch, StoreError, Tx};
use tokio::time::Instant;

struct Click;

impl Decode for Click {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        if record.payload == b"broken" { Err("it is broken".to_owned()) } else { Ok(Some(Self)) }
    }
}

/// How many clicks there were in each partition.
#[derive(Clone)]
struct Clicks {
    model: ReadModel,
    inherits: bool,
}

impl Clicks {
    fn new(version: u32, inherits: bool) -> Self {
        let schema = "CREATE TABLE clicks (partition BIGINT NOT NULL PRIMARY KEY, clicks BIGINT NOT NULL);";
        Self { model: ReadModel::new("clicks", version, ["clicks"], schema), inherits }
    }
}

impl Projection for Clicks {
    type Event = Click;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    async fn apply(&self, events: &[Received<Click>], tx: &mut Tx) -> Result<(), StoreError> {
        for click in events {
            let sql =
                "INSERT INTO clicks VALUES ($1, 1) ON CONFLICT (partition) DO UPDATE SET clicks = clicks.clicks + 1";
            tx.execute(sql, &[click.partition.partition.into()]).await?;
        }
        Ok(())
    }

    fn inherits(&self, _: &str, _: u32) -> bool {
        self.inherits
    }

    async fn inherit(
        &self,
        partition: &TopicPartition,
        _version: u32,
        before: &mut Tx,
        tx: &mut Tx,
    ) -> Result<(), StoreError> {
        let sql = "SELECT clicks FROM clicks WHERE partition = $1";
        let counts: Vec<(i64,)> = before.fetch(sql, &[partition.partition.into()]).await?;
        for (clicks,) in counts {
            tx.execute("INSERT INTO clicks VALUES ($1, $2)", &[partition.partition.into(), clicks.into()]).await?;
        }
        Ok(())
    }
}

struct World {
    clock: Clock,
    log: Arc<MemoryLog>,
    database: Database,
    _scratch: Scratch,
}

const KEPT: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(30);

impl World {
    async fn open(scratch: Scratch) -> Self {
        let clock = Clock::at(SystemTime::now());
        let topic = Topic { name: "clicks".into(), partitions: 2, replication: 1, retention: Some(KEPT) };
        let log = Arc::new(MemoryLog::new(&[topic], clock.clone()));
        let database = Database::open(scratch.settings()).await.unwrap();
        Self { clock, log, database, _scratch: scratch }
    }

    /// Appends clicks to both partitions.
    async fn click(&self, times: usize) {
        for number in 0..times {
            let message = Message { key: vec![b'a' + (number % 8) as u8], ..Message::default() };
            self.log.append("clicks", message).await.unwrap();
        }
    }

    fn start(&self, clicks: &Clicks) -> Projector {
        let mut projector = Projector::new(self.log.clone(), self.database.clone(), "test.");
        projector.start(clicks.clone());
        projector
    }

    /// How many clicks a reader of this version sees, once all that are in the log have been counted.
    async fn counted(&self, clicks: &Clicks) -> i64 {
        let model = clicks.model.clone();
        let reader = Reader::open(&self.database, vec![model.clone()]).await;
        eventually("this version is live", PATIENCE, async || reader.check(&model).await.ok()).await;
        let ends: Positions = self.log.ends(&model.topics).await.unwrap();
        assert!(reader.wait_for(&model, &ends, Instant::now() + PATIENCE).await.unwrap());
        let sum: Vec<(Option<i64>,)> =
            reader.fetch("SELECT CAST(SUM(clicks) AS BIGINT) FROM clicks", &[]).await.unwrap();
        sum[0].0.unwrap_or(0)
    }

    /// Waits until generation `number` is in this state, and gives its error.
    async fn stands_at(&self, number: i64, state: GenerationState) -> String {
        eventually("the generation comes to its state", PATIENCE, async || {
            let listed = self.database.generations(Some("clicks")).await.unwrap();
            let one = listed.into_iter().find(|listed| listed.generation.number == number)?;
            (one.state == state).then(|| one.error.unwrap_or_default())
        })
        .await
    }

    /// Twenty clicks were counted, of which the log still has five.
    async fn that_has_forgotten(scratch: Scratch, clicks: &Clicks) -> (Self, Projector) {
        let world = Self::open(scratch).await;
        let projector = world.start(clicks);
        world.click(15).await;
        assert_eq!(world.counted(clicks).await, 15);
        world.clock.advance(KEPT * 2);
        world.click(5).await;
        assert_eq!(world.counted(clicks).await, 20);
        let starts = world.log.starts(&clicks.model.topics).await.unwrap();
        assert_eq!(starts.sum(), 15, "the log has forgotten fifteen");
        (world, projector)
    }
}

async fn scratches() -> Vec<Scratch> {
    let mut scratches = vec![Scratch::sqlite().unwrap()];
    scratches.extend(Scratch::postgres().await.unwrap());
    scratches
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_inherits_what_the_log_has_forgotten_whatever_the_versions() {
    for scratch in scratches().await {
        let clicks = Clicks::new(1, true);
        let (world, projector) = World::that_has_forgotten(scratch, &clicks).await;
        world.database.begin_build(&clicks.model, BuildOptions::default()).await.unwrap();
        world.stands_at(2, GenerationState::Live).await;
        assert_eq!(world.counted(&clicks).await, 20);

        let next = Clicks::new(2, true);
        let next_projector = world.start(&next);
        assert_eq!(world.counted(&next).await, 20);
        world.click(3).await;
        assert_eq!((world.counted(&next).await, world.counted(&clicks).await), (23, 23));
        projector.stop().await;
        next_projector.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_would_forget_stops_and_says_so_whatever_the_versions() {
    for scratch in scratches().await {
        let clicks = Clicks::new(1, false);
        let (world, projector) = World::that_has_forgotten(scratch, &clicks).await;
        world.database.begin_build(&clicks.model, BuildOptions::default()).await.unwrap();
        let error = world.stands_at(2, GenerationState::Failed).await;
        assert!(error.contains("clicks/") && error.contains("would lose it"), "{error}");
        assert_eq!(world.counted(&clicks).await, 20);
        world.database.cancel_build("clicks", 1).await.unwrap().unwrap();

        let next = Clicks::new(2, false);
        let next_projector = world.start(&next);
        let error = world.stands_at(3, GenerationState::Failed).await;
        assert!(error.contains("would lose it"), "{error}");
        next_projector.stop().await;
        world.click(2).await;
        assert_eq!(world.counted(&clicks).await, 22);
        world.database.cancel_build("clicks", 1).await.unwrap().unwrap();

        // Whoever says that differences are no matter gets what the log has.
        let options = BuildOptions { allow_differences: true, ..BuildOptions::default() };
        world.database.begin_build(&clicks.model, options).await.unwrap();
        world.stands_at(4, GenerationState::Live).await;
        assert_eq!(world.counted(&clicks).await, 7);
        projector.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_is_inherited_though_the_log_has_nothing_left() {
    for scratch in scratches().await {
        let (world, clicks) = (World::open(scratch).await, Clicks::new(1, true));
        let projector = world.start(&clicks);
        let broken = Message { key: b"z".to_vec(), payload: b"broken".to_vec(), ..Message::default() };
        world.log.append("clicks", broken).await.unwrap();
        world.click(8).await;
        assert_eq!(world.counted(&clicks).await, 8);
        world.clock.advance(KEPT * 2);
        let (starts, ends) = (world.log.starts(&clicks.model.topics).await, world.log.ends(&clicks.model.topics).await);
        assert_eq!(starts.unwrap(), ends.unwrap(), "the log has forgotten all");

        world.database.begin_build(&clicks.model, BuildOptions::default()).await.unwrap();
        world.stands_at(2, GenerationState::Live).await;
        assert_eq!(world.counted(&clicks).await, 8);
        let listed = world.database.generations(Some("clicks")).await.unwrap();
        let live = listed.iter().find(|listed| listed.generation.number == 2).unwrap();
        let parked = world.database.look_at(&live.generation).await.unwrap().parked().await.unwrap();
        assert_eq!(parked.iter().map(|record| record.payload.as_slice()).collect::<Vec<_>>(), [b"broken"]);
        projector.stop().await;
    }
}

/// A topic that is kept for ever, of which an administrator removes records.
async fn facts(scratch: Scratch) -> World {
    let topic = Topic { name: "clicks".into(), partitions: 2, replication: 1, retention: None };
    let clock = Clock::at(SystemTime::now());
    let log = Arc::new(MemoryLog::new(&[topic], clock.clone()));
    let database = Database::open(scratch.settings()).await.unwrap();
    World { clock, log, database, _scratch: scratch }
}

impl World {
    /// Removes the first records of both partitions, and gives how many.
    async fn remove(&self, of_each: i64) -> i64 {
        for (partition, start) in &self.log.starts(&["clicks".into()]).await.unwrap() {
            self.log.remove_below(partition, start + of_each).unwrap();
        }
        of_each * 2
    }

    /// How many records the generation will never read.
    async fn lost(&self, number: i64) -> i64 {
        let listed = self.database.generations(Some("clicks")).await.unwrap();
        let one = listed.into_iter().find(|listed| listed.generation.number == number).unwrap();
        self.database.lost(&one.generation).await.unwrap().iter().map(Lost::count).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_before_the_live_generation_reads_it_is_counted_and_it_goes_on() {
    for scratch in scratches().await {
        let (world, clicks) = (facts(scratch).await, Clicks::new(1, false));
        let projector = world.start(&clicks);
        world.click(8).await;
        assert_eq!(world.counted(&clicks).await, 8);
        projector.stop().await;
        world.click(16).await;
        let read = 4;
        let removed = world.remove(read + 3).await;

        let projector = world.start(&clicks);
        world.click(8).await;
        let lost = removed - 2 * read;
        assert_eq!(world.counted(&clicks).await, 32 - lost);
        assert_eq!(world.lost(1).await, lost);
        projector.stop().await;

        // It is not counted again.
        let projector = world.start(&clicks);
        world.click(8).await;
        assert_eq!(world.counted(&clicks).await, 40 - lost);
        assert_eq!(world.lost(1).await, lost);
        projector.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_generation_is_built_of_what_is_left_and_so_is_the_next() {
    for scratch in scratches().await {
        let (world, clicks) = (facts(scratch).await, Clicks::new(1, false));
        world.click(16).await;
        let lost = world.remove(2).await;
        let projector = world.start(&clicks);
        assert_eq!(world.counted(&clicks).await, 16 - lost);
        assert_eq!(world.lost(1).await, lost);

        // Nothing is lost by the next that the first has read.
        world.database.begin_build(&clicks.model, BuildOptions::default()).await.unwrap();
        world.stands_at(2, GenerationState::Live).await;
        assert_eq!((world.counted(&clicks).await, world.lost(2).await), (16 - lost, lost));

        // But by one after more was removed.
        world.remove(1).await;
        world.database.begin_build(&clicks.model, BuildOptions::default()).await.unwrap();
        let error = world.stands_at(3, GenerationState::Failed).await;
        assert!(error.contains("would lose it"), "{error}");
        projector.stop().await;
    }
}
