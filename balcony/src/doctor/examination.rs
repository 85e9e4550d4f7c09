use std::sync::Arc;

use anyhow::Context as _;
use balcony_event_log::EventLog;
use balcony_projector::{AnyProjection, Kind, Lag, ProjectionState, by_topic, projections};
use balcony_store::{Database, Generation, GenerationState, ListedGeneration, Worker};
use tokio::task::JoinSet;

use super::DEAD_AFTER;
use super::diagnosis::{Diagnosed, Diagnosis, Facts, Seen, Standing};
use crate::beside::Beside;

/// Looks at every projection of this program, and at whatever else has told of itself.
pub(super) async fn examine(beside: &Beside) -> anyhow::Result<Diagnosis> {
    let workers = beside.database.workers().await?;
    let listed = beside.database.generations(None).await?;
    let mut standings = JoinSet::new();
    let all = projections::known(&beside.topics);
    for (place, projection) in all.iter().enumerate() {
        if let Some(live) = live(&listed, projection.name()) {
            let (log, database, live) = (beside.log.clone(), beside.database.clone(), live.clone());
            let topics = projection.topics().to_vec();
            standings.spawn(async move { (place, standing(log, database, live, topics).await) });
        }
    }
    let mut of_each: Vec<Option<Standing>> = all.iter().map(|_| None).collect();
    while let Some(done) = standings.join_next().await {
        let (place, standing) = done.context("the examination broke off")?;
        of_each[place] = Some(standing?);
    }

    let names: Vec<&str> = all.iter().map(AnyProjection::name).collect();
    let mut diagnosed = Vec::new();
    for (name, standing) in names.iter().zip(of_each) {
        let seen = seen(&workers, name);
        diagnosed.push(Diagnosed::of(facts(name, Kind::Projector, &listed, seen, standing)));
    }
    let mut others: Vec<&str> = workers.iter().map(|worker| worker.name.as_str()).collect();
    others.retain(|name| !names.contains(name));
    others.sort_unstable();
    others.dedup();
    for name in others {
        let seen = seen(&workers, name);
        let kind = seen.iter().find_map(|seen| seen.report.as_ref()).map_or(Kind::Projector, |report| report.kind);
        diagnosed.push(Diagnosed::of(facts(name, kind, &listed, seen, None)));
    }
    Ok(Diagnosis { projections: diagnosed })
}

fn facts(name: &str, kind: Kind, listed: &[ListedGeneration], seen: Vec<Seen>, standing: Option<Standing>) -> Facts {
    let of = |listed: &&ListedGeneration| listed.generation.projection == name;
    Facts {
        name: name.to_owned(),
        kind,
        live: live(listed, name).cloned(),
        unfinished: listed.iter().filter(of).find(|listed| listed.state.is_unfinished()).cloned(),
        seen,
        standing,
    }
}

fn live<'l>(listed: &'l [ListedGeneration], name: &str) -> Option<&'l Generation> {
    let live =
        |listed: &&ListedGeneration| listed.generation.projection == name && listed.state == GenerationState::Live;
    listed.iter().find(live).map(|listed| &listed.generation)
}

fn seen(workers: &[Worker], name: &str) -> Vec<Seen> {
    let of = |worker: &&Worker| worker.name == name;
    workers
        .iter()
        .filter(of)
        .map(|worker| Seen {
            id: worker.id,
            is_alive: worker.seen_ago < DEAD_AFTER,
            seen_seconds_ago: worker.seen_ago.as_secs(),
            // Another version may report otherwise; that it is there counts all the same.
            report: serde_json::from_str::<ProjectionState>(&worker.report).ok(),
        })
        .collect()
}

/// What the live generation says of itself.
async fn standing(
    log: Arc<dyn EventLog>,
    database: Database,
    live: Generation,
    topics: Vec<Arc<str>>,
) -> anyhow::Result<Standing> {
    let (parked, positions) = {
        let mut tx = database.look_at(&live).await?;
        (tx.parked_count().await?, by_topic(&tx.checkpoints().await?))
    };
    let lag = Lag::measure(log.as_ref(), &topics, &database, &live).await;
    Ok(Standing { parked, positions, lag: lag.map_err(|error| error.to_string()) })
}
