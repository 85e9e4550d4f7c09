use super::terminal::Terminal;
use super::{doctor, migrate, parked, rebuild, transfer};
use crate::{Application, Settings};

/// The operators' commands, to be mounted in a program's own with `#[command(flatten)]`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Builds a read model anew from the log, beside the live one, and switches to it. Works while everything runs.
    Rebuild(rebuild::Options),
    /// Makes the generation before live again; it catches up by itself.
    Rollback(rebuild::RollbackOptions),
    /// What could not be applied or delivered and was set aside. Works beside a running installation.
    Parked(parked::Options),
    /// Says how every projection and reactor is doing. Works beside a running installation; exit status 1 when something
    /// is ill.
    Doctor(doctor::Options),
    /// Writes the log to standard output, a CloudEvent a line, as it is when this begins. Works beside a running
    /// installation; what was exported is said on standard error.
    Export(transfer::ExportOptions),
    /// Fills the log of a new installation from standard input, with what `export` wrote.
    Import(transfer::ImportOptions),
    /// Brings the database's tables up to this version; every process that is part of the installation does so at its
    /// start, too.
    Migrate,
}

impl Command {
    /// Does it, on this process's standard input, output and error.
    ///
    /// # Errors
    /// What is wrong and what to do, in one line when it is written with `{:#}`. A program ends with a status other
    /// than 0 then.
    pub async fn run(self, application: &Application, settings: &Settings) -> anyhow::Result<()> {
        self.run_on(application, settings, &mut Terminal::standard()).await
    }

    /// The same on another terminal.
    ///
    /// # Errors
    /// As [`Command::run`].
    pub async fn run_on(
        self,
        application: &Application,
        settings: &Settings,
        terminal: &mut Terminal<'_>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Rebuild(options) => rebuild::rebuild(application, settings, &options, terminal).await,
            Self::Rollback(options) => rebuild::roll_back(application, settings, &options, terminal).await,
            Self::Parked(options) => parked::run(application, settings, &options, terminal).await,
            Self::Doctor(options) => doctor::run(application, settings, &options, terminal).await,
            Self::Export(options) => transfer::export(application, settings, &options, terminal).await,
            Self::Import(options) => transfer::import(application, settings, &options, terminal).await,
            Self::Migrate => migrate::migrate(application, settings, terminal).await,
        }
    }
}
