//! A log that forgets: what was counted stays, over rebuilds and new versions.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use balcony_event_log::memory::{Clock, MemoryLog};
use balcony_event_log::testing::eventually;
use balcony_event_log::{EventLog as _, Topic};
use balcony_projector::{Projection as _, Projector};
use balcony_statistics::{Statistics, Stretch, Window, Windows, points};
use balcony_store::{BuildOptions, Database, GenerationState, ListedGeneration, Reader, Scratch, Uuid};
use tokio::time::Instant;

use crate::sales::{SERIES, Sale, TOPIC, folded, statistics};

const PATIENCE: Duration = Duration::from_secs(30);
const KEPT: Duration = Duration::from_secs(60);

pub(crate) struct World {
    clock: Clock,
    now: SystemTime,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) database: Database,
    sales: Vec<Sale>,
    _scratch: Scratch,
}

impl World {
    pub(crate) async fn open(scratch: Scratch) -> Self {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let clock = Clock::at(now);
        let topic = Topic { name: TOPIC.into(), partitions: 3, replication: 1, retention: Some(KEPT) };
        let log = Arc::new(MemoryLog::new(&[topic], clock.clone()));
        let database = Database::open(scratch.settings()).await.unwrap();
        Self { clock, now, log, database, sales: Vec::new(), _scratch: scratch }
    }

    /// Sells so often, every sale in another partition, each twice in the log.
    async fn sell(&mut self, times: usize) {
        for _ in 0..times {
            let number = self.sales.len() as u128;
            let at = i64::try_from(self.now.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
            let mut id = number.to_be_bytes();
            id[0] = u8::try_from(number % 11).unwrap();
            let shop = format!("shop {}", number % 4);
            let cents = (!number.is_multiple_of(5)).then_some(i64::try_from(number).unwrap() * 10);
            let sale = Sale { id: Uuid::from_bytes(id), at, shop, cents };
            for _ in 0..2 {
                self.log.append(TOPIC, sale.message()).await.unwrap();
            }
            self.sales.push(sale);
        }
    }

    /// Time passes, and the log forgets.
    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.now += time;
    }

    fn start(&self, version: u32) -> Projector {
        let mut projector = Projector::new(self.log.clone(), self.database.clone(), "test.");
        projector.start(statistics(version));
        projector
    }

    async fn equals_the_fold(&self, version: u32) {
        let statistics = statistics(version);
        let model = statistics.read_model();
        let reader = Reader::open(&self.database, vec![model.clone()]).await;
        eventually("this version is live", PATIENCE, async || reader.check(model).await.ok()).await;
        let ends = self.log.ends(&model.topics).await.unwrap();
        assert!(reader.wait_for(model, &ends, Instant::now() + PATIENCE).await.unwrap());
        let shapes = statistics.shapes();
        for (stream, dimension, value_of, is_measured) in SERIES {
            let series = shapes.series(stream, Some(dimension)).unwrap();
            for window in series.windows.lengths() {
                let found = points(&reader, &series, window, &Stretch::default(), 10_000).await.unwrap();
                let expected = folded(&self.sales, (value_of, is_measured), window, i64::MIN);
                assert_eq!(found, expected, "{stream} by {dimension} in version {version}");
            }
        }
    }

    async fn is_live(&self, generation: i64) {
        eventually("the generation is live", PATIENCE, async || {
            let listed = self.database.generations(Some("statistics")).await.unwrap();
            let one = listed.into_iter().find(|listed| listed.generation.number == generation)?;
            (one.state == GenerationState::Live).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_and_a_new_version_lose_no_count() {
    let mut scratches = vec![Scratch::sqlite().unwrap()];
    scratches.extend(Scratch::postgres().await.unwrap());
    for scratch in scratches {
        let mut world = World::open(scratch).await;
        let projector = world.start(1);
        world.sell(40).await;
        world.equals_the_fold(1).await;
        world.pass(KEPT * 2);
        world.sell(7).await;
        world.equals_the_fold(1).await;
        let starts = world.log.starts(&[TOPIC.into()]).await.unwrap();
        assert_eq!(starts.sum(), 80, "the log has forgotten forty sales");

        let model = statistics(1).read_model().clone();
        world.database.begin_build(&model, BuildOptions::default()).await.unwrap();
        world.is_live(2).await;
        world.equals_the_fold(1).await;

        // What was remembered is inherited, too: a sale that is repeated now counts no more.
        let again = world.sales.last().unwrap().message();
        world.log.append(TOPIC, again).await.unwrap();
        let next = world.start(2);
        world.equals_the_fold(2).await;
        world.sell(5).await;
        world.equals_the_fold(2).await;
        world.equals_the_fold(1).await;
        projector.stop().await;
        next.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_takes_over_the_windows_that_it_still_counts() {
    let mut world = World::open(Scratch::sqlite().unwrap()).await;
    let projector = world.start(1);
    world.sell(9).await;
    world.equals_the_fold(1).await;
    world.pass(KEPT * 2);
    world.sell(1).await;
    world.equals_the_fold(1).await;
    projector.stop().await;

    let windows = Windows::of([(Window::MINUTE, Some(KEPT * 60)), (Window::DAY, None)]);
    let mut projector = Projector::new(world.log.clone(), world.database.clone(), "test.");
    let next = || statistics(2).in_windows(windows.clone());
    let model = next().read_model().clone();
    projector.start(next());
    let reader = Reader::open(&world.database, vec![model.clone()]).await;
    eventually("the version is live", PATIENCE, async || reader.check(&model).await.ok()).await;
    let sql = "SELECT span, CAST(SUM(counted) AS BIGINT) FROM window_counts WHERE series = 'sales/shop'
               GROUP BY span ORDER BY span";
    let counted: Vec<(i64, i64)> = reader.fetch(sql, &[]).await.unwrap();
    assert_eq!(counted, [(0, 10), (60_000, 10), (86_400_000, 10)]);
    projector.stop().await;
}

/// Of a clock that was ahead for a moment nothing remains but what it let go of meanwhile, and a rebuild brings that back.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_lets_nothing_go_once_it_is_right() {
    const DAYS: i64 = 4 * 24 * 60 * 60 * 1_000;
    let scratch = Scratch::sqlite().unwrap();
    let database = Database::open(scratch.settings()).await.unwrap();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let topic = Topic { name: TOPIC.into(), partitions: 3, replication: 1, retention: None };
    // As the log's own clock was ahead, too.
    let log = Arc::new(MemoryLog::new(&[topic], Clock::at(SystemTime::now() + KEPT * 60 * 24 * 5)));
    let clock = Arc::new(AtomicI64::new(now));
    let counted = || {
        let clock = clock.clone();
        statistics(1).by_clock(move || clock.load(Ordering::SeqCst))
    };
    let model = counted().read_model().clone();
    let mut projector = Projector::new(log.clone(), database.clone(), "test.");
    projector.start(counted());
    let reader = Reader::open(&database, vec![model.clone()]).await;
    eventually("it is live", PATIENCE, async || reader.check(&model).await.ok()).await;

    let mut sales = Vec::new();
    // In both partitions; the second sees nothing after the clock is right.
    for (ahead, partitions) in [(0, &[0, 1][..]), (DAYS, &[0, 1]), (0, &[0]), (0, &[0])] {
        clock.store(now + ahead, Ordering::SeqCst);
        for partition in partitions {
            let number = u128::try_from(sales.len()).unwrap();
            let id = Uuid::from_u128(*partition << 120 | number);
            let sale = Sale { id, at: now + ahead, shop: "Oslo".into(), cents: Some(100) };
            log.append(TOPIC, sale.message()).await.unwrap();
            sales.push(sale);
        }
        let ends = log.ends(&[TOPIC.into()]).await.unwrap();
        assert!(reader.wait_for(&model, &ends, Instant::now() + PATIENCE).await.unwrap());
    }
    let series = statistics(1).shapes().series("sales", Some("shop")).unwrap();
    let counted_in_minutes = async || {
        let points = points(&reader, &series, Window::MINUTE, &Stretch::default(), 100).await.unwrap();
        points.into_iter().map(|point| (point.window_start, point.tally.count)).collect::<Vec<_>>()
    };
    let (today, then) = (Window::MINUTE.start(now), Window::MINUTE.start(now + DAYS));
    assert_eq!(counted_in_minutes().await, [(then, 2), (today, 2)], "what came once it was right");

    // The live one differs by what it let go of.
    let options = BuildOptions { allow_differences: true, ..BuildOptions::default() };
    database.begin_build(&model, options).await.unwrap();
    eventually("the generation is live", PATIENCE, async || {
        let listed = database.generations(Some("statistics")).await.unwrap();
        let is_live = |of: &ListedGeneration| of.generation.number == 2 && of.state == GenerationState::Live;
        listed.iter().any(is_live).then_some(())
    })
    .await;
    eventually("all is counted", PATIENCE, async || {
        (counted_in_minutes().await == [(then, 2), (today, 4)]).then_some(())
    })
    .await;
    projector.stop().await;
}

#[test]
fn two_streams_of_one_name_are_an_error_of_the_program() {
    let twice = || {
        let streams = [balcony_statistics::Stream::<Sale>::named("a"), balcony_statistics::Stream::named("a")];
        Statistics::new("statistics", 1, [TOPIC], streams)
    };
    assert!(std::panic::catch_unwind(twice).is_err());
}
