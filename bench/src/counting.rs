//! Processor time of the statistics for an event, in a short log and in a long one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use balcony_domain::Topics;
use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::{EventLog, Topic};
use balcony_projector::{Projection as _, Projector};
use balcony_read_models::Statistics;
use balcony_store::{Database, DatabasePlace, Settings};
use tokio::time::{Instant, sleep};

use crate::bench::Bench;
use crate::consumption::{Consumers, microseconds_each};
use crate::events;
use crate::report::{Line, Report, Section};

/// How many events are counted at the beginning of the log, and at its end.
const FEW: u32 = 100_000;
/// How long each may take.
const PATIENCE: Duration = Duration::from_secs(900);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) async fn run(bench: Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let Bench { options, scratch, progress } = bench;
    let most = options.counted().max(3 * FEW);
    let topics = Topics::with_prefix("balcony.");
    let of_each = |name: &Arc<str>| Topic { name: name.clone(), partitions: 1, replication: 1, retention: None };
    let log = EmbeddedLog::open(&scratch.path("counted.db"), &[of_each(&topics.facts), of_each(&topics.views)])?;
    let log: Arc<dyn EventLog> = Arc::new(log);
    let place = DatabasePlace::Sqlite { directory: scratch.path("counts") };
    let database = Database::open(&Settings { namespace: "balcony".parse()?, place }).await?;
    let consumers = Consumers::default().and("client", std::process::id());

    let mut section = Section::new(format!("counting page views, embedded, {most} events"), "µs/event");
    let middle = most - 2 * FEW;
    let parts = [("the first 100,000", FEW), ("those between", middle), ("the last 100,000", FEW)];
    let mut first = 0;
    for (what, count) in parts {
        progress.step(format!("counting: appending {count} views"));
        events::append_views(&log, &topics.views, first..first + count).await?;
        first += count;
        progress.step(format!("counting: {what}"));
        let statistics = Statistics::new(&topics);
        database.live_or_new(statistics.read_model()).await?;
        let (before, started) = (consumers.seconds(), Instant::now());
        let mut projector = Projector::new(log.clone(), database.clone(), "counting");
        projector.start(statistics);
        while projector.states()[0].events < u64::from(count) {
            ensure!(started.elapsed() < PATIENCE, "it takes too long");
            sleep(LOOK_EVERY).await;
        }
        let took = started.elapsed();
        projector.stop().await;
        let mut line = Line::new(what);
        line.figures.extend(microseconds_each(&before, &consumers.seconds(), count.into()).values());
        line.detail("events/s", f64::from(count) / took.as_secs_f64());
        section.lines.push(line);
    }
    section.compare(2, 0);
    report.add(section);
    Ok(())
}
