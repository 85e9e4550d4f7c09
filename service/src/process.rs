//! How a process begins, and what it says when it cannot go on.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use balcony_projector::Application;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

use crate::concealed;
use crate::settings::Settings;

/// The whole of a program's `main`: reads the command line `C`, begins, and runs `program` on a runtime.
///
/// Every one of the `settings` is looked at before `program` is called, secrets among the arguments are moved to the
/// environment (a secret is any argument with a variable and `hide_env_values`), and logs go to standard error: lines for
/// people on a terminal, JSON for everything else. An error is one line on standard error, after the program's name, and
/// an exit status other than 0.
pub fn main<C: clap::Parser>(
    application: &Application,
    settings: impl FnOnce(&C) -> &Settings,
    program: impl AsyncFnOnce(C) -> anyhow::Result<()>,
) -> ExitCode {
    let command_line = C::parse();
    let begun = begin::<C>(application, settings(&command_line));
    match begun.and_then(|runtime| runtime.block_on(program(command_line))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(application, &error),
    }
}

/// Checks the form of every setting before anything is opened or connected to, and starts logging.
fn begin<C: clap::CommandFactory>(application: &Application, settings: &Settings) -> anyhow::Result<Runtime> {
    let filter = settings.log_filter(application)?;
    settings.check(application)?;
    let concealed = concealed::conceal(&C::command(), std::env::args_os());
    concealed.context("the secrets among the arguments cannot be concealed")?;
    start_logging(filter);
    Ok(Builder::new_multi_thread().enable_all().build()?)
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
fn fail(application: &Application, error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref().is_some_and(|error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        return ExitCode::FAILURE;
    }
    let line = format!("{error:#}").replace('\n', " ");
    // Whoever reads that may have left, too.
    let _ = writeln!(std::io::stderr(), "{}: {line}", application.name());
    ExitCode::FAILURE
}
