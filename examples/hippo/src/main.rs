//! Hippo: steps from a file. A message starts a command in any language, and its end starts the next.

mod config;
mod frontier;
mod jobs;
mod room;
mod step;
mod tags;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use balcony_files::configuration::Placed;
use balcony_projector::cloud_event::is_of_one_of;
use balcony_projector::{Application, Catalogue, Deployment, Haul, Intake, IntakeError, TopicSpec, Topics};
use balcony_projector::{log_of_another, operations};
use balcony_service::{Command, Service, Settings, Surface};

use crate::config::{Config, Source};
use crate::frontier::Frontier;
use crate::jobs::Jobs;
use crate::step::{Opened, Step, tractor};
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
    Tractor(Haul),
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
        Some(Action::Tractor(haul)) => {
            let tractor = tractor(&settings.installation.topics(&hippo)?);
            let hauled = tractor.run(&haul, &hippo, &settings.installation).await?;
            println!("{hauled} messages are started again for {}", haul.step());
            Ok(())
        }
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
    let topics = installation.topics.clone();
    let (newest, notes) = (installation.newest().await, installation.data_dir().join("jobs"));
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
        let (topics, intake, name) = (topics.clone(), intake.clone(), source.topic.clone());
        let theirs = match &source.data_dir {
            Some(theirs) => Deployment::Embedded { data_dir: folder.join(theirs) },
            None => settings.installation.deployment(hippo)?,
        };
        projector.start_intake(name, move || copy(source.clone(), theirs.clone(), topics.clone(), intake.clone()));
    }
    let tractor = tractor(&topics);
    projector.start_intake("tractor", move || tractor.clone().serve(installation.clone()));

    let routes = room::routes(config.clone(), reader.clone());
    let gateway = config.gateway.iter().map(|gateway| tags::routes(reader.clone(), &gateway.balcony));
    service.serve(Surface::new(gateway.fold(routes, axum::Router::merge), Default::default()), projector).await
}

/// Copies what a topic of another program has, and what comes, to one of the same name here, until something fails.
async fn copy(source: Placed<Source>, theirs: Deployment, topics: Topics, intake: Intake) -> Result<(), IntakeError> {
    let name: Arc<str> = source.topic.as_str().into();
    let log = log_of_another(&theirs, &name).await?;
    intake.copy(log.as_ref(), &name, topics.get(&name), |record| is_of_one_of(record, &source.types)).await
}
