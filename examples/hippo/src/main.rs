//! Hippo: steps from a file. A message starts a command in any language, and its end starts the next.

mod config;
mod frontier;
mod jobs;
mod room;
mod source;
mod step;
mod tags;
mod tractor;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use balcony_projector::{Application, Catalogue, Intake, TopicSpec, Topics, operations};
use balcony_service::{Command, Service, Settings, Surface};

use crate::config::Config;
use crate::frontier::Frontier;
use crate::jobs::Jobs;
use crate::step::{Opened, Step};
use crate::tags::Tags;

/// Steps from a file: a message starts a command in any language, and its end starts the next.
#[derive(clap::Parser)]
#[command(name = "hippo", version)]
struct Cli {
    /// The steps.
    #[arg(long, env = "HIPPO_CONFIG", global = true, default_value = "hippo.toml", value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Hauls what a step has had to it again, under new job ids.
    Tractor(tractor::Options),
    #[command(flatten)]
    Operate(Command),
}

fn main() -> ExitCode {
    let unconfigured = Application::new("hippo", [], |_| Catalogue::new());
    balcony_service::main(&unconfigured, |cli: &Cli| &cli.settings, run)
}

async fn run(Cli { config, settings, action }: Cli) -> anyhow::Result<()> {
    let config = Arc::new(Config::load(&config)?);
    let opened = Arc::default();
    let hippo = application(&config, &opened);
    match action {
        None => serve(&config, &hippo, &settings, &opened).await,
        Some(Action::Tractor(options)) => tractor::run(&options, &config, &hippo, &settings.installation).await,
        Some(Action::Operate(Command::Operations(operations::Command::Doctor(options)))) => {
            operations::Command::Doctor(options.restarting()).run(&hippo, &settings.installation).await
        }
        Some(Action::Operate(command)) => command.run(&hippo, &settings).await,
    }
}

/// What hippo is with this configuration.
fn application(config: &Arc<Config>, opened: &Arc<OnceLock<Opened>>) -> Application {
    let topics: Vec<TopicSpec> = config.topics().into_iter().map(TopicSpec::forever).collect();
    let (config, opened) = (config.clone(), opened.clone());
    let steps = move |topics: &Topics| {
        let catalogue = Catalogue::new().with_projection(Jobs::new(topics)).with_projection(config.taken(topics));
        let tags = config.gateway.iter().map(|gateway| Tags::new(topics.get(&gateway.tags).clone()));
        let catalogue = tags.fold(catalogue, Catalogue::with_projection);
        config.steps.iter().fold(catalogue, |all, step| all.with_reactor(Step::new(step, &config, topics, &opened)))
    };
    Application::new("hippo", topics, steps)
}

async fn serve(
    config: &Arc<Config>,
    hippo: &Application,
    settings: &Settings,
    opened: &OnceLock<Opened>,
) -> anyhow::Result<()> {
    let service = Service::open(hippo, settings, "127.0.0.1:8090").await?;
    let (installation, folder) = (service.installation().clone(), Arc::<Path>::from(config.folder.as_path()));
    let (data_dir, topics) = (settings.installation.data_dir(hippo)?, installation.topics.clone());
    let (newest, notes) = (installation.newest().await, data_dir.join("jobs"));
    std::fs::create_dir_all(&notes).with_context(|| format!("DATA_DIR: {} cannot be made", notes.display()))?;
    let (reader, intake) = (newest.reader().clone(), Intake::new(newest.clone(), &config.taken(&topics)));
    // It is opened once.
    let _ = opened.set(Opened { newest, notes });

    let mut projector = installation.start()?;
    for frontier in config.frontiers.clone() {
        let (topic, name) = (topics.get(&frontier.publish).clone(), frontier.name.clone());
        let frontier = Frontier { config: frontier, folder: folder.clone(), topic, intake: intake.clone() };
        projector.start_intake(name, move || frontier.clone().run());
    }
    for source in config.sources.clone() {
        let (topic, name) = (topics.get(&source.topic).clone(), source.topic.clone());
        let (folder, intake, deployment) = (folder.clone(), intake.clone(), settings.installation.deployment(hippo)?);
        let copy =
            move || source::copy(source.clone(), folder.clone(), deployment.clone(), topic.clone(), intake.clone());
        projector.start_intake(name, copy);
    }
    let (log, steps) = (installation.log.clone(), config.clone());
    let haul = move || tractor::serve(data_dir.clone(), steps.clone(), log.clone(), topics.clone());
    projector.start_intake(tractor::NAME, haul);

    let routes = room::routes(config.clone(), reader.clone());
    let gateway = config.gateway.iter().map(|gateway| tags::routes(reader.clone(), &gateway.balcony));
    service.serve(Surface::new(gateway.fold(routes, axum::Router::merge), Default::default()), projector).await
}
