//! Balcony: an event-sourced comment service.
//!
//! Without an argument everything runs in this process; the subcommands run one service of it, or serve operators.

mod application;
mod authority;
mod concealed;
mod demo;
mod greeting;
mod healthcheck;
mod serve;
mod settings;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use balcony_projector::operations;
use clap::{Parser, Subcommand};
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

use crate::settings::Settings;

/// Batches are made and dropped on different threads, which the system's allocator takes much longer for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-sourced comment service for movies. Without a command everything runs in one process.
#[derive(Parser)]
#[command(name = "balcony", version)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Takes commands over HTTP and appends events to the log.
    CommandApi,
    /// Answers queries over HTTP from the read models.
    QueryApi,
    /// Turns the log into read models.
    Projector {
        /// Only these projections, separated by commas.
        #[arg(long, value_delimiter = ',', value_name = "NAME")]
        only: Vec<String>,
    },
    /// Prints a token for this installation.
    Token(serve::TokenOptions),
    /// Fills a running instance with movies, people, comments, favourites and views.
    Demo(demo::Options),
    #[command(flatten)]
    Operations(operations::Command),
    /// Asks a service whether it is well: exit status 0 when the URL answers with success.
    Healthcheck {
        /// Such as http://127.0.0.1:8081/readyz
        url: String,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let begun = begin(&cli.settings).and_then(|()| Ok(Builder::new_multi_thread().enable_all().build()?));
    match begun.and_then(|runtime| runtime.block_on(run(cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Checks the form of every setting before anything is opened or connected to, and starts logging.
fn begin(settings: &Settings) -> anyhow::Result<()> {
    let filter = settings.log_filter()?;
    settings.check()?;
    concealed::conceal(std::env::args_os()).context("the secrets among the arguments cannot be concealed")?;
    start_logging(filter);
    Ok(())
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let mut settings = cli.settings;
    settings.open_post_office()?;
    match cli.action {
        None => serve::all_in_one(&settings).await,
        Some(Action::CommandApi) => serve::command_api(&settings).await,
        Some(Action::QueryApi) => serve::query_api(&settings).await,
        Some(Action::Projector { only }) => serve::projector(&settings, &only).await,
        Some(Action::Token(options)) => serve::token(&settings, &options),
        Some(Action::Demo(options)) => demo::run(&settings, &options).await,
        Some(Action::Operations(command)) => command.run(&settings.application, &settings.installation).await,
        Some(Action::Healthcheck { url }) => healthcheck::ask(&url).await,
    }
}

/// Logs go to standard error: lines for people on a terminal, JSON for everything else.
fn start_logging(filter: EnvFilter) {
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().init();
    }
}

/// One line that says what is wrong; none when standard output's reader has left, as `head` does.
fn fail(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref().is_some_and(|error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        return ExitCode::FAILURE;
    }
    let line = format!("{error:#}").replace('\n', " ");
    // Whoever reads that may have left, too.
    let _ = writeln!(std::io::stderr(), "balcony: {line}");
    ExitCode::FAILURE
}
