use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::process::Deployment;

/// How it is measured.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Short rounds and few events: for a look, not for a figure to keep.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Prints JSON instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Puts the tables into this Markdown file, in the place of those of the run before.
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// How often Balcony and its limits are measured in turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// How many comments `projecting` reads and `searching` searches, and how many views `counting` counts; 300,000, 1,000,000
    /// and 10,000,000, or 100,000, 100,000 and 1,000,000 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1_000..=20_000_000))]
    pub(crate) events: Option<u32>,
    /// How many clients `posting` and `viewing` have; 64 and 512 unless given.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 512], value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub(crate) clients: Vec<u16>,
    /// Only this half.
    #[arg(long)]
    pub(crate) only: Option<Deployment>,
    /// Another program that `reading` asks for the same.
    #[arg(long)]
    pub(crate) peer: Option<Peer>,
    /// Balcony's program; the one beside this program unless given.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) balcony: Option<PathBuf>,
    /// Kafka's brokers.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", value_name = "HOST:PORT,…")]
    pub(crate) kafka_bootstrap_servers: Option<String>,
    /// A PostgreSQL server where databases may be created.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// The folder of tests/services, from which the broker's and the database's processor time is known.
    #[arg(long, env = "BALCONY_SERVICES", hide = true)]
    pub(crate) balcony_services: Option<PathBuf>,
}

/// A program that can be measured beside Balcony.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Isso, with its database in a file; `isso` is found by `PATH` (`pip install isso`).
    Isso,
}

impl Options {
    /// How long the load of one round lasts.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_secs(if self.quick { 3 } else { 10 })
    }

    /// How long the load of one round lasts where there are many.
    pub(crate) fn short_round(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 5 })
    }

    pub(crate) fn searched(&self) -> u32 {
        self.events.unwrap_or(if self.quick { 100_000 } else { 1_000_000 })
    }

    pub(crate) fn counted(&self) -> u32 {
        self.events.unwrap_or(if self.quick { 1_000_000 } else { 10_000_000 })
    }

    pub(crate) fn events(&self) -> u32 {
        self.events.unwrap_or(if self.quick { 100_000 } else { 300_000 })
    }
}
