//! Hippo: steps from a file. A message starts a command in any language, and its end starts the next.

mod config;
mod frontier;
mod job;
mod jobs;
mod memory;
mod source;
mod step;
mod tractor;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use balcony_projector::{Application, Catalogue, Installation, Settings, TopicSpec, Topics, operations};
use balcony_store::Reader;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::frontier::Frontier;
use crate::jobs::Ends;
use crate::memory::{Announced, Memory};
use crate::step::{Opened, Step};

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
    Operate(operations::Command),
}

/// What hippo is with this configuration.
fn application(config: &Arc<Config>, opened: &Arc<OnceLock<Opened>>) -> Application {
    let topics: Vec<TopicSpec> = config.topics().into_iter().map(TopicSpec::forever).collect();
    let (config, opened) = (config.clone(), opened.clone());
    let steps = move |topics: &Topics| {
        let announced = Announced::model(config.filled().map(|topic| topics.get(topic).clone()).collect());
        let catalogue =
            Catalogue::new().with_projection(Ends(jobs::model(topics))).with_projection(Announced(announced));
        config.steps.iter().fold(catalogue, |all, step| all.with_reactor(Step::new(step, &config, topics, &opened)))
    };
    Application::new("hippo", topics, steps)
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = <Cli as clap::Parser>::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hippo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(Cli { config, settings, action }: Cli) -> anyhow::Result<()> {
    let config = Arc::new(Config::load(&config)?);
    let opened = Arc::default();
    let hippo = application(&config, &opened);
    match action {
        Some(Action::Tractor(options)) => return tractor::run(&options, &config, &hippo, &settings).await,
        Some(Action::Operate(command)) => return command.run(&hippo, &settings).await,
        None => {}
    }
    let installation = Installation::open(&hippo, &settings).await?;
    let (data_dir, topics) = (settings.data_dir(&hippo)?, installation.topics.clone());
    let models =
        installation.catalogue.steps().iter().filter_map(balcony_projector::Step::read_model).cloned().collect();
    let memory = Memory { log: installation.log.clone(), reader: Reader::open(&installation.database, models).await };
    let notes = data_dir.join("jobs");
    std::fs::create_dir_all(&notes)?;
    // It is opened once.
    let _ = opened.set(Opened { memory: memory.clone(), notes });
    let projector = installation.start()?;

    let mut others = JoinSet::new();
    others.spawn(tractor::serve(data_dir, config.clone(), installation.log.clone(), topics.clone()));
    for frontier in &config.frontiers {
        let topic = topics.get(&frontier.publish).clone();
        others.spawn(Frontier::new(frontier.clone(), config.folder.clone(), topic, memory.clone()).run());
    }
    for source in &config.sources {
        let (topic, deployment) = (topics.get(&source.topic).clone(), settings.deployment(&hippo)?);
        others.spawn(source::copy(source.clone(), config.clone(), deployment, topic, memory.clone()));
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    projector.stop().await;
    Ok(())
}
