//! Builds a read model anew beside the live one, and goes back to the one before.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use balcony_store::{BuildOptions, Database, Generation, GenerationState, ListedGeneration, ReadModel, Writer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::terminal::Terminal;
use crate::application::Application;
use crate::builder::build;
use crate::catalogue::{Step, UnknownStep};
use crate::heartbeat::DEAD_AFTER;
use crate::installation::Installation;
use crate::projector::Projector;
use crate::replica::ReplicaFolder;
use crate::settings::{Deployment, Settings};

/// What is built, and how.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The step.
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

/// What is rolled back.
#[derive(Debug, clap::Args)]
pub struct RollbackOptions {
    /// The step.
    name: String,
}

/// How often it is looked how far the build has come.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long nobody may follow the log with a generation that waits for its switch. Whoever has just been started has told
/// of itself by then.
const ALONE: Duration = Duration::from_secs(5);

/// Builds a generation, or watches another process that does, until it is live.
pub(super) async fn rebuild(
    application: &Application,
    settings: &Settings,
    options: &Options,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<()> {
    let installation = Installation::beside(application, settings).await?;
    let (step, model) = rebuildable(&installation, &options.name)?;
    let database = &installation.database;
    if options.cancel {
        let given_up = database.cancel_build(&model.name, model.version).await?;
        let given_up = given_up.with_context(|| format!("no rebuild of {} is under way", options.name))?;
        let (name, number) = (&options.name, given_up.number);
        terminal.tell(format_args!("{name}: the rebuild of generation {number} is given up"))?;
        let has_live = |listed: &ListedGeneration| {
            listed.generation.version == given_up.version && listed.state == GenerationState::Live
        };
        if !listed(database, name).await?.iter().any(has_live) {
            let (program, version) = (application.name(), given_up.version);
            writeln!(
                terminal.messages,
                "it was the first of version {version}, which stays without one until {program} rebuild {name} is run \
                 in that version"
            )?;
        }
        return Ok(());
    }

    let options = BuildOptions {
        keep_old: options.keep_old,
        park_failures: options.park,
        allow_differences: options.allow_differences,
    };
    let is_embedded = matches!(settings.deployment(application)?, Deployment::Embedded { .. });
    let keeper = keep(&installation, step, is_embedded).await?;
    let generation = database.begin_build(model, options).await?;
    let started = Instant::now();
    let building = match step {
        Step::Projection(projection) => {
            let (log, database) = (installation.log.clone(), database.clone());
            Some(tokio::spawn(build(projection.clone(), log, database, generation.clone())))
        }
        Step::Replica { .. } | Step::Reactor(_) => None,
    };
    let watched = watch(application, &installation, step, &generation, terminal).await;
    if let Some(building) = building {
        building.abort();
    }
    if let Some(keeper) = keeper {
        keeper.stop().await;
    }
    let events = watched?;

    let seconds = started.elapsed().as_secs_f64();
    let Generation { projection, number, version, .. } = &generation;
    terminal.tell(format_args!(
        "{projection}: generation {number} is live (version {version}, {events} events in {seconds:.1} s)"
    ))?;
    let retired = listed(database, &generation.projection).await?;
    if let Some(before) = retired.iter().rfind(|listed| listed.state == GenerationState::Retired) {
        let (kept, program) = (before.generation.number, application.name());
        terminal.tell(format_args!("generation {kept} is kept; {program} rollback {projection} goes back to it"))?;
    }
    Ok(())
}

/// The step called `name`, and what it writes.
fn rebuildable<'i>(installation: &'i Installation, name: &str) -> anyhow::Result<(&'i Step, &'i ReadModel)> {
    let steps = installation.catalogue.steps();
    match installation.catalogue.find(name) {
        Ok(step @ Step::Projection(projection)) => Ok((step, projection.read_model())),
        Ok(step @ Step::Replica { replica, .. }) => Ok((step, replica.read_model())),
        Ok(Step::Reactor(_)) | Err(UnknownStep { off: Some(_), .. }) => {
            bail!("{name} is a reactor: what it did cannot be done again, so it has no generations")
        }
        Err(unknown) => {
            let rebuildable = steps.iter().filter(|step| !matches!(step, Step::Reactor(_)));
            let names: Vec<&str> = rebuildable.map(|step| &**step.name()).collect();
            bail!("{name:?} is not a projection of {}; there are {}", unknown.program, names.join(", "))
        }
    }
}

/// Sees to it that somebody builds a replica's stores: those who read them do, wherever they are. An embedded
/// installation that does not run is given what it would have, until it is stopped.
async fn keep(installation: &Installation, step: &Step, is_embedded: bool) -> anyhow::Result<Option<Projector>> {
    let Step::Replica { replica, kept_by } = step else { return Ok(None) };
    let name = replica.name();
    if is_embedded {
        let Some(folder) = ReplicaFolder::hold_first(&installation.replica_directory(name))? else { return Ok(None) };
        let mut projector = installation.projector();
        projector.start_replica(replica.clone(), folder);
        return Ok(Some(projector));
    }
    let workers = installation.database.workers().await?;
    let is_kept = workers.iter().any(|worker| worker.name == **name && worker.seen_ago < DEAD_AFTER);
    ensure!(is_kept, "no {kept_by} is running, and those build {name}; start one and try again");
    Ok(None)
}

/// Makes the generation before live again.
pub(super) async fn roll_back(
    application: &Application,
    settings: &Settings,
    options: &RollbackOptions,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<()> {
    let installation = Installation::beside(application, settings).await?;
    let name = &options.name;
    let (_, model) = rebuildable(&installation, name)?;
    let (to, from) = installation.database.roll_back(&model.name, model.version).await?;
    let retired = from.map(|from| format!(", and {} is retired", from.number)).unwrap_or_default();
    terminal.tell(format_args!("{name}: generation {} is live again{retired}", to.number))?;
    let version = i64::from(model.version);
    if to.version != version {
        writeln!(
            terminal.messages,
            "it is of version {} and this program has version {version}: run the program that made it, which lets it \
             catch up",
            to.version
        )?;
    }
    Ok(())
}

/// Shows how the build goes on until the generation is live; gives how many events it holds.
async fn watch(
    application: &Application,
    installation: &Installation,
    step: &Step,
    generation: &Generation,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<i64> {
    let total = installation.log.ends(step.topics()).await?.sum();
    let mut alone_since = None;
    let mut attempts = 0;
    let bar = progress(total);
    let writer = installation.database.writer(generation);
    loop {
        let listed = listed(&installation.database, &generation.projection).await?;
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
        if let Some(error) = current.error.filter(|_| current.attempts > attempts) {
            let state = current.state;
            bar.suspend(|| {
                let attempts = current.attempts;
                writeln!(terminal.messages, "{state} was tried in vain ({attempts}) and is tried again: {error}")
            })?;
        }
        attempts = current.attempts;
        if current.state != GenerationState::Following || is_followed(&installation.database, generation).await? {
            alone_since = None;
        } else if alone_since.get_or_insert_with(Instant::now).elapsed() >= ALONE {
            bar.abandon();
            let (program, kept_by) = (application.name(), step.kept_by());
            let Generation { projection, number, version, .. } = generation;
            bail!(
                "generation {number} of {projection} is built and falls behind, because no {kept_by} of version {version} \
                 is running to keep it up to date: start one, which switches to it; {program} rebuild {projection} then \
                 waits for that, and {program} rebuild {projection} --cancel gives it up"
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether anybody is alive who keeps a generation up to date that follows.
async fn is_followed(database: &Database, generation: &Generation) -> anyhow::Result<bool> {
    let version = |report: &str| serde_json::from_str::<serde_json::Value>(report).ok()?.get("version")?.as_i64();
    let workers = database.workers().await?;
    Ok(workers.iter().any(|worker| {
        worker.name == generation.projection
            && worker.seen_ago < DEAD_AFTER
            && version(&worker.report) == Some(generation.version)
    }))
}

async fn listed(database: &Database, projection: &str) -> anyhow::Result<Vec<ListedGeneration>> {
    Ok(database.generations(Some(projection)).await?)
}

async fn reached(writer: &Writer) -> anyhow::Result<i64> {
    Ok(writer.snapshot().await?.checkpoints().await?.sum())
}

fn progress(total: i64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:9} {wide_bar} {human_pos}/{human_len} events {per_sec} {eta} left");
    let bar = ProgressBar::with_draw_target(Some(total.unsigned_abs()), ProgressDrawTarget::stderr());
    bar.with_style(style.expect("the template is well-formed")).with_message("copying")
}
