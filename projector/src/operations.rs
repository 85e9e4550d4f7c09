//! What operators do about an installation.
//!
//! The commands ([`Command`], feature `operations`) are the same for every program. A program mounts them beside its
//! own:
//!
//! ```
//! use balcony_projector::operations::Command;
//! use balcony_projector::{Application, Installation, Settings};
//!
//! #[derive(clap::Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     settings: Settings,
//!     #[command(subcommand)]
//!     action: Action,
//! }
//!
//! #[derive(clap::Subcommand)]
//! enum Action {
//!     /// Takes orders.
//!     Serve,
//!     #[command(flatten)]
//!     Operations(Command),
//! }
//!
//! async fn serve(orders: &Application, settings: &Settings) -> anyhow::Result<()> {
//!     let projector = Installation::open(orders, settings).await?.start()?;
//!     tokio::signal::ctrl_c().await?;
//!     projector.stop().await;
//!     Ok(())
//! }
//!
//! async fn run(cli: Cli, orders: &Application) -> anyhow::Result<()> {
//!     match cli.action {
//!         Action::Serve => serve(orders, &cli.settings).await,
//!         Action::Operations(command) => command.run(orders, &cli.settings).await,
//!     }
//! }
//! ```
//!
//! All but `import` and `migrate` work beside a running installation, and when nothing runs.

mod retry;

#[cfg(feature = "operations")]
mod command;
#[cfg(feature = "operations")]
mod desk;
#[cfg(feature = "operations")]
mod doctor;
#[cfg(feature = "operations")]
mod lines;
#[cfg(feature = "operations")]
mod migrate;
#[cfg(feature = "operations")]
mod parked;
#[cfg(feature = "operations")]
mod rebuild;
#[cfg(feature = "operations")]
mod remedy;
#[cfg(feature = "operations")]
mod table;
#[cfg(feature = "operations")]
mod terminal;
#[cfg(feature = "operations")]
mod transfer;

pub(crate) use retry::record as kept_record;
pub use retry::{Outcome, Refused, Retried, RetryError, discard, discard_all, retry};

#[cfg(feature = "operations")]
pub use {
    command::Command,
    desk::{
        Desk, DeskError, ParkedDetail, ParkedItem, ParkedPlace, PartitionExtent, RecordsFound, RecordsWanted,
        RolledBack, TopicExtent,
    },
    doctor::{Diagnosis, Figures, Options as DoctorOptions},
    lines::{Lines, append_lines},
    parked::Options as ParkedOptions,
    rebuild::{Options as RebuildOptions, RollbackOptions},
    terminal::Terminal,
    transfer::{ExportOptions, ImportOptions},
};
