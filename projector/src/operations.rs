//! What operators do about an installation.
//!
//! The commands ([`Command`], feature `operations`) are the same for every program. A program mounts them beside its
//! own:
//!
//! ```
//! use balcony_projector::operations::Command;
//! use balcony_projector::{Application, Settings};
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
//! async fn run(cli: Cli, orders: &Application) -> anyhow::Result<()> {
//!     match cli.action {
//!         Action::Serve => todo!("takes orders"),
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
mod console;
#[cfg(feature = "operations")]
mod doctor;
#[cfg(feature = "operations")]
mod migrate;
#[cfg(feature = "operations")]
mod parked;
#[cfg(feature = "operations")]
mod rebuild;
#[cfg(feature = "operations")]
mod table;
#[cfg(feature = "operations")]
mod transfer;

pub(crate) use retry::record as kept_record;
pub use retry::{Outcome, Refused, Retried, RetryError, discard, discard_all, retry};

#[cfg(feature = "operations")]
pub use {
    command::Command,
    console::Console,
    doctor::Options as DoctorOptions,
    parked::Options as ParkedOptions,
    rebuild::{Options as RebuildOptions, RollbackOptions},
    transfer::{ExportOptions, ImportOptions},
};
