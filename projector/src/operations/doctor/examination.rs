use std::sync::Arc;

use anyhow::Context as _;
use balcony_event_log::EventLog;
use balcony_store::{Database, Generation, GenerationState, ListedGeneration, WorkerStatus};
use tokio::task::JoinSet;

use super::diagnosis::{Diagnosed, DiagnosedLog, Diagnosis, Facts, Seen, Standing};
use crate::application::Application;
use crate::catalogue::PROJECTOR;
use crate::heartbeat::DEAD_AFTER;
use crate::installation::Installation;
use crate::lag::Lag;
use crate::report::{Kind, StepState};

/// Looks at every step of this program, and at whatever else has told of itself.
pub(in crate::operations) async fn examine(
    application: &Application,
    installation: &Installation,
) -> anyhow::Result<Diagnosis> {
    let workers = installation.database.workers().await?;
    let listed = installation.database.generations(None).await?;
    let steps = installation.catalogue.steps();
    let mut standings = JoinSet::new();
    for (place, step) in steps.iter().enumerate() {
        if let Some(live) = live(&listed, step.name(), Some(step.version())) {
            let (log, database, live) = (installation.log.clone(), installation.database.clone(), live.clone());
            let topics = step.topics().to_vec();
            standings.spawn(async move { (place, standing(log, database, live, topics).await) });
        }
    }
    let mut of_each: Vec<Option<Result<Standing, String>>> = steps.iter().map(|_| None).collect();
    while let Some(done) = standings.join_next().await {
        let (place, standing) = done.context("the examination broke off")?;
        of_each[place] = Some(standing?);
    }

    let program = application.name().to_owned();
    let facts = |name: &str, kept_by: &str, version, kind, seen, standing: Option<Result<Standing, String>>| {
        let (standing, ruined) = match standing {
            Some(Ok(standing)) => (Some(standing), None),
            Some(Err(ruined)) => (None, Some(ruined)),
            None => (None, None),
        };
        Facts {
            program: program.clone(),
            kept_by: kept_by.to_owned(),
            name: name.to_owned(),
            kind,
            live: live(&listed, name, version).cloned(),
            unfinished: unfinished(&listed, name, version).cloned(),
            seen,
            standing,
            ruined,
        }
    };
    let mut diagnosed = Vec::new();
    for (step, standing) in steps.iter().zip(of_each) {
        let name = step.name();
        let (version, seen) = (Some(step.version()), seen(&workers, name));
        diagnosed.push(Diagnosed::of(facts(name, step.kept_by(), version, step.kind(), seen, standing)));
    }
    let names: Vec<&str> = steps.iter().map(|step| &**step.name()).collect();
    let mut others: Vec<&str> = workers.iter().map(|worker| worker.name.as_str()).collect();
    others.retain(|name| !names.contains(name));
    others.sort_unstable();
    others.dedup();
    for name in others {
        let seen = seen(&workers, name);
        let kind = seen.iter().find_map(|seen| seen.report.as_ref()).map_or(Kind::Projection, |report| report.kind);
        diagnosed.push(Diagnosed::of(facts(name, PROJECTOR, None, kind, seen, None)));
    }
    let is_off = |(name, _): &(&str, &str)| diagnosed.iter().all(|known| known.name != *name);
    let off =
        installation.catalogue.off().filter(is_off).map(|(name, why)| (name.to_owned(), why.to_owned())).collect();
    // Where the log is away, each step says so.
    let log = match installation.log.unused().await {
        Ok(unused) => DiagnosedLog::of(&unused, installation.log.ailments().await.unwrap_or_default()),
        Err(_) => DiagnosedLog::default(),
    };
    Ok(Diagnosis { projections: diagnosed, log, off, program })
}

/// The generation of this version that is built; that of the newest when this one has none.
fn unfinished<'l>(listed: &'l [ListedGeneration], name: &str, version: Option<u32>) -> Option<&'l ListedGeneration> {
    let unfinished =
        listed.iter().filter(|listed| listed.generation.projection == name && listed.state.is_unfinished());
    unfinished
        .max_by_key(|listed| (version.map(i64::from) == Some(listed.generation.version), listed.generation.version))
}

/// The live generation of this version; that of the newest when this one has none.
fn live<'l>(listed: &'l [ListedGeneration], name: &str, version: Option<u32>) -> Option<&'l Generation> {
    let live =
        |listed: &&ListedGeneration| listed.generation.projection == name && listed.state == GenerationState::Live;
    let mut live: Vec<&Generation> = listed.iter().filter(live).map(|listed| &listed.generation).collect();
    live.sort_by_key(|live| (version.map(i64::from) == Some(live.version), live.version));
    live.pop()
}

fn seen(workers: &[WorkerStatus], name: &str) -> Vec<Seen> {
    let of = |worker: &&WorkerStatus| worker.name == name;
    workers
        .iter()
        .filter(of)
        .map(|worker| Seen {
            id: worker.id,
            is_alive: worker.seen_ago < DEAD_AFTER,
            seen_seconds_ago: worker.seen_ago.as_secs(),
            // Another version may report otherwise; that it is there counts all the same.
            report: serde_json::from_str::<StepState>(&worker.report).ok(),
        })
        .collect()
}

/// What the live generation says of itself, or that it cannot say anything any more.
async fn standing(
    log: Arc<dyn EventLog>,
    database: Database,
    live: Generation,
    topics: Vec<Arc<str>>,
) -> anyhow::Result<Result<Standing, String>> {
    if !database.is_there(&live).await? {
        return Ok(Err(format!("the tables of generation {} are lost", live.number)));
    }
    let (parked, positions) = {
        let mut tx = database.look_at(&live).await?;
        (tx.parked_count().await?, tx.checkpoints().await?.by_topic())
    };
    let lost = database.lost(&live).await?;
    let lag = Lag::measure(log.as_ref(), &topics, &database, &live).await;
    Ok(Ok(Standing { parked, lost, positions, lag: lag.map_err(|error| error.to_string()) }))
}
