//! Says how every projection and reactor of an installation is doing, and what is to be done about those that are ill.

mod diagnosis;
pub(super) mod examination;
mod restart;

use std::io::Write as _;
use std::time::Duration;

use anyhow::{bail, ensure};

use self::diagnosis::Diagnosed;
pub use self::diagnosis::{Diagnosis, Figures};
use super::table::{Table, cut};
use super::terminal::Terminal;
use crate::{Application, Installation, Settings};

/// How it is said.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Again every second, until interrupted; with --json a document a line.
    #[arg(long)]
    watch: bool,
    /// When nothing runs any more: starts the program again in the background, as this command was started, and then says
    /// how it is doing.
    #[arg(long, conflicts_with = "watch")]
    restart: bool,
}

impl Options {
    /// The same, restarting what died whether that was said or not; for a program whose doctor does.
    #[must_use]
    pub fn restarting(self) -> Self {
        Self { restart: !self.watch, ..self }
    }
}

const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Characters of an error in the table.
const ERROR: usize = 60;
/// Moves a terminal's cursor to its beginning, and removes what stood there.
const REDRAW: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Examines once, or again and again. An error says what is ill.
pub(super) async fn run(
    application: &Application,
    settings: &Settings,
    options: &Options,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<()> {
    let installation = Installation::beside(application, settings).await?;
    if options.watch {
        return watch(application, &installation, options, terminal).await;
    }
    let mut diagnosis = examination::examine(application, &installation).await?;
    if options.restart && restart::has_died(application, settings, &diagnosis)? {
        let process = restart::restart(application, settings, &installation).await?;
        writeln!(
            terminal.messages,
            "{0}: nothing was running; started {0} again as process {process}",
            application.name()
        )?;
        diagnosis = examination::examine(application, &installation).await?;
    }
    if options.json {
        writeln!(terminal.output, "{}", serde_json::to_string_pretty(&diagnosis)?)?;
    }
    if let Some(nothing) = diagnosis.nothing_runs() {
        bail!("{nothing}");
    }
    if !options.json {
        write!(terminal.output, "{}", text(&diagnosis))?;
    }
    let log = (!diagnosis.log.complaints.is_empty()).then_some("log");
    let ill: Vec<&str> = diagnosis.ill().map(|ill| ill.name.as_str()).chain(log).collect();
    ensure!(ill.is_empty(), "ill: {}", ill.join(", "));
    Ok(())
}

async fn watch(
    application: &Application,
    installation: &Installation,
    options: &Options,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let examined = examination::examine(application, installation).await;
        if terminal.is_shown && !options.json {
            write!(terminal.output, "{REDRAW}")?;
        }
        match examined {
            Ok(diagnosis) if options.json => writeln!(terminal.output, "{}", serde_json::to_string(&diagnosis)?)?,
            Ok(diagnosis) => match diagnosis.nothing_runs() {
                Some(nothing) => writeln!(terminal.output, "{nothing}")?,
                None => write!(terminal.output, "{}", text(&diagnosis))?,
            },
            // What is away may come back.
            Err(error) => writeln!(terminal.messages, "{}: {error:#}", application.name())?,
        }
        terminal.output.flush()?;
    }
}

/// The table, and below it what there is to say.
fn text(diagnosis: &Diagnosis) -> String {
    let mut table = Table::new(&[
        "NAME",
        "KIND",
        "STATE",
        "GENERATION",
        "LAG",
        "SECONDS",
        "EVENTS/S",
        "BUSY",
        "PARKED",
        "LAST ERROR",
    ]);
    let mut text = table.lines(diagnosis.projections.iter().map(row));
    for one in &diagnosis.projections {
        for complaint in &one.complaints {
            text.push_str(&format!("\n{}: {complaint}", one.name));
        }
        for note in &one.notes {
            text.push_str(&format!("\n{} ({note})", one.name));
        }
    }
    for (name, why) in &diagnosis.off {
        text.push_str(&format!("\n{name} (off: {why})"));
    }
    for complaint in &diagnosis.log.complaints {
        text.push_str(&format!("\nlog: {complaint}"));
    }
    for note in &diagnosis.log.notes {
        text.push_str(&format!("\nlog ({note})"));
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn row(one: &Diagnosed) -> Vec<String> {
    let unknown = || "?".to_owned();
    vec![
        one.name.clone(),
        one.kind.as_str().to_owned(),
        one.state.clone(),
        one.generation.map_or_else(|| "-".to_owned(), |generation| generation.to_string()),
        one.lag.events.map_or_else(unknown, |events| events.to_string()),
        one.lag.seconds.map_or_else(unknown, |seconds| format!("{seconds:.1}")),
        format!("{:.1}", one.events_per_second),
        format!("{:.0}%", one.busy * 100.0),
        one.parked.to_string(),
        cut(one.last_error.as_deref().unwrap_or_default(), ERROR),
    ]
}
