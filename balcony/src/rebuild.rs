//! Builds a read model anew beside the live one, and goes back to the one before.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use balcony_event_log::Positions;
use balcony_projector::{AnyProjection, Folder, Projector, SEARCH, build, projections};
use balcony_search::Serving;
use balcony_store::{BuildOptions, Database, Generation, GenerationState, ListedGeneration, Writer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use crate::beside::Beside;
use crate::doctor::DEAD_AFTER;
use crate::installation::search_folder;
use crate::serve::projection_called;
use crate::settings::{Deployment, Settings};

/// What is built, and how.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The projection, such as comments.
    name: String,
    /// Keep retired generations; otherwise only the one that is live now is kept.
    #[arg(long)]
    keep_old: bool,
    /// Park records that cannot be applied; otherwise the first one that was never parked stops the rebuild.
    #[arg(long)]
    park: bool,
    /// Switch although the new generation differs from the live one at the same positions.
    #[arg(long)]
    allow_differences: bool,
    /// Give up the rebuild that is under way or has failed.
    #[arg(long, conflicts_with_all = ["keep_old", "park", "allow_differences"])]
    cancel: bool,
}

/// How often it is looked how far the build has come.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Builds a generation, or watches another process that does, until it is live.
pub(crate) async fn rebuild(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let beside = Beside::open(settings).await?;
    let projection = projection_called(&options.name, &projections::known(&beside.topics))?;
    let database = &beside.database;
    if options.cancel {
        let given_up = database.cancel_build(projection.name()).await?;
        let given_up = given_up.with_context(|| format!("no rebuild of {} is under way", options.name))?;
        println!("{}: the rebuild of generation {} is given up", options.name, given_up.number);
        return Ok(());
    }

    let options = BuildOptions {
        keep_old: options.keep_old,
        park_failures: options.park,
        allow_differences: options.allow_differences,
    };
    let search = if projection.name() == SEARCH { Some(search(settings, &beside).await?) } else { None };
    let generation = database.begin_build(&projection.read_model(), options).await?;
    let started = Instant::now();
    let watched = match search {
        None => {
            let building = build(projection.clone(), beside.log.clone(), database.clone(), generation.clone());
            let building = tokio::spawn(building);
            let watched = watch(&beside, &projection, &generation).await;
            building.abort();
            watched
        }
        Some(replica) => {
            let watched = watch(&beside, &projection, &generation).await;
            if let Some(replica) = replica {
                replica.stop().await;
            }
            watched
        }
    };
    let events = watched?;

    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{}: generation {} is live (version {}, {events} events in {seconds:.1} s)",
        generation.projection, generation.number, generation.version
    );
    let retired = listed(database, &generation.projection).await?;
    if let Some(before) = retired.iter().rfind(|listed| listed.state == GenerationState::Retired) {
        println!(
            "generation {} is kept; balcony rollback {} goes back to it",
            before.generation.number, generation.projection
        );
    }
    Ok(())
}

/// Sees to it that somebody builds the search index: those who search do, wherever they are. An embedded installation
/// that does not run is given what it would have, until it is stopped.
async fn search(settings: &Settings, beside: &Beside) -> anyhow::Result<Option<Projector>> {
    if let Deployment::Embedded { data_dir } = settings.deployment()? {
        let directory = search_folder(&data_dir, &beside.log.identity().await?);
        if let Some(folder) = Folder::hold_first(&directory)? {
            let mut replica = Projector::new(beside.log.clone(), beside.database.clone(), "");
            replica.start_search(beside.topics.facts.clone(), folder, Serving::default());
            return Ok(Some(replica));
        }
        return Ok(None);
    }
    let workers = beside.database.workers().await?;
    let is_kept = workers.iter().any(|worker| worker.name == SEARCH && worker.seen_ago < DEAD_AFTER);
    ensure!(is_kept, "no query API is running, and those build it; start balcony query-api and try again");
    Ok(None)
}

/// Makes the generation before live again.
pub(crate) async fn roll_back(settings: &Settings, name: &str) -> anyhow::Result<()> {
    let beside = Beside::open(settings).await?;
    let projection = projection_called(name, &projections::known(&beside.topics))?;
    let (to, from) = beside.database.roll_back(projection.name()).await?;
    println!("{name}: generation {} is live again, and {} is retired", to.number, from.number);
    let version = i64::from(projection.read_model().version);
    if to.version != version {
        eprintln!(
            "it is of version {} and this program has version {version}: run the program that made it, which lets it \
             catch up",
            to.version
        );
    }
    Ok(())
}

/// Shows how the build goes on until the generation is live; gives how many events it holds.
async fn watch(beside: &Beside, projection: &AnyProjection, generation: &Generation) -> anyhow::Result<i64> {
    let total = sum(&beside.log.ends(projection.topics()).await?);
    let bar = progress(total);
    let writer = beside.database.writer(generation);
    loop {
        let listed = listed(&beside.database, &generation.projection).await?;
        let Some(current) = listed.into_iter().find(|listed| listed.generation == *generation) else {
            bail!("the rebuild of {} was given up by somebody else", generation.projection);
        };
        let reached = reached(&writer).await?;
        bar.set_length(total.max(reached).unsigned_abs());
        bar.set_position(reached.unsigned_abs());
        match current.state {
            GenerationState::Live => {
                bar.finish_and_clear();
                return Ok(reached);
            }
            GenerationState::Failed => {
                bar.abandon();
                bail!("{}: {}", generation.projection, current.error.unwrap_or_default());
            }
            GenerationState::Retired => bail!("{} was rolled back meanwhile", generation.projection),
            state => bar.set_message(state.as_str()),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn listed(database: &Database, projection: &str) -> anyhow::Result<Vec<ListedGeneration>> {
    Ok(database.generations(Some(projection)).await?)
}

async fn reached(writer: &Writer) -> anyhow::Result<i64> {
    Ok(sum(&writer.snapshot().await?.checkpoints().await?))
}

fn sum(positions: &Positions) -> i64 {
    positions.into_iter().map(|(_, next)| next).sum()
}

fn progress(total: i64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:9} {wide_bar} {human_pos}/{human_len} events {per_sec} {eta} left");
    let bar = ProgressBar::with_draw_target(Some(total.unsigned_abs()), ProgressDrawTarget::stderr());
    bar.with_style(style.expect("the template is well-formed")).with_message("copying")
}
