//! Balcony: an event-sourced comment service.
//!
//! Without an argument everything runs in this process; the subcommands run one service of it, or serve operators.

mod application;
mod demo;
mod greeting;
mod healthcheck;
mod serve;
mod settings;

use std::process::ExitCode;

use balcony_projector::operations;
use balcony_service::TokenOptions;
use clap::{Parser, Subcommand};

use crate::application::balcony;
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
    Token(TokenOptions),
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
    balcony_service::main(&balcony(None), |cli: &Cli| &cli.settings.service, run)
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let mut settings = cli.settings;
    settings.check()?;
    settings.open_post_office()?;
    match cli.action {
        None => serve::all_in_one(&settings).await,
        Some(Action::CommandApi) => serve::command_api(&settings).await,
        Some(Action::QueryApi) => serve::query_api(&settings).await,
        Some(Action::Projector { only }) => serve::projector(&settings, &only).await,
        Some(Action::Token(options)) => options.run(&settings.application, &settings.service),
        Some(Action::Demo(options)) => demo::run(&settings, &options).await,
        Some(Action::Operations(command)) => command.run(&settings.application, &settings.service.installation).await,
        Some(Action::Healthcheck { url }) => healthcheck::ask(&url).await,
    }
}
