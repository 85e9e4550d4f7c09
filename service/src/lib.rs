//! The process of a program on the library: everything beside its steps and its routes.
//!
//! A program says what it is ([`Application`](balcony_projector::Application)) and what it shows ([`Surface`]). The rest is the same for
//! all: settings ([`Settings`]) that are checked before anything is opened, secrets that leave the arguments, logs, the
//! installation's own secret and the tokens it signs ([`TokenOptions`]), listeners for everybody and for operators, probes,
//! `/metrics`, `/projections`, the operators' API with the control room at `/control`, and an end in order on SIGTERM.
//! **Nothing here knows what the program is about**: the names that people see are made of the program's own.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use axum::{Router, routing::get};
//! use balcony_projector::{Application, Catalogue, TopicSpec};
//! use balcony_service::{Command, Service, Settings, Surface};
//! use utoipa::openapi::OpenApi;
//!
//! /// Takes orders.
//! #[derive(clap::Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     settings: Settings,
//!     #[command(subcommand)]
//!     action: Option<Command>,
//! }
//!
//! fn main() -> ExitCode {
//!     let orders = Application::new("orders", [TopicSpec::forever("orders")], |_| Catalogue::new());
//!     balcony_service::main(&orders, |cli: &Cli| &cli.settings, async |cli| match cli.action {
//!         Some(command) => command.run(&orders, &cli.settings).await,
//!         None => serve(&orders, &cli.settings).await,
//!     })
//! }
//!
//! async fn serve(orders: &Application, settings: &Settings) -> anyhow::Result<()> {
//!     let service = Service::open(orders, settings, "127.0.0.1:8090").await?;
//!     let projector = service.installation().start()?;
//!     let routes = Router::new().route("/", get(async || "what is sold"));
//!     service.serve(Surface::new(routes, OpenApi::default()), projector).await
//! }
//! ```

mod authority;
mod command;
mod concealed;
mod ending;
mod greeting;
#[cfg(feature = "identity-provider")]
mod identity_provider;
mod keys;
mod listeners;
mod process;
mod secret_file;
mod service;
pub mod settings;
mod surface;
mod token;
#[cfg(feature = "upstream")]
mod upstream;

pub use authority::authority;
pub use command::Command;
pub use ending::told_to_end;
pub use greeting::FirstToken;
pub use keys::key_for;
pub use process::main;
pub use service::{Service, steps_check};
pub use settings::Settings;
pub use surface::Surface;
pub use token::TokenOptions;
#[cfg(feature = "upstream")]
pub use upstream::Upstream;
