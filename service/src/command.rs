//! The commands that every program has.

use balcony_projector::{Application, operations};

use crate::settings::Settings;
use crate::token::TokenOptions;

/// The commands that every program has, to be mounted as its own, or in them with `#[command(flatten)]`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Prints a token for this installation.
    Token(TokenOptions),
    /// What operators do.
    #[command(flatten)]
    Operations(operations::Command),
}

impl Command {
    /// Does it, on this process's standard input, output and error.
    ///
    /// # Errors
    /// What is wrong and what to do, in one line when it is written with `{:#}`.
    pub async fn run(self, application: &Application, settings: &Settings) -> anyhow::Result<()> {
        match self {
            Self::Token(options) => options.run(application, settings),
            Self::Operations(command) => command.run(application, &settings.installation).await,
        }
    }
}
