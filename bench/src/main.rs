//! Benchmarks: what Balcony does, beside the limit of what its parts can do, measured in the same run.
//!
//! Machines differ and so do hours on one machine, so a figure alone says little. Every scenario measures Balcony and
//! its limits in turn, several rounds, and prints the ratio of each round's pair: `posting` against a bare handler
//! that awaits one delivery, `viewing` against itself without projections, `visible` against a query that waits for nothing, `streaming`
//! against a bare fan-out, `reading` against a handler that answers from memory and the query alone, `projecting` against reading and
//! writing without Balcony, `counting` a long log against a short one, `searching` against PostgreSQL's full-text search.

mod bare;
mod bench;
mod consumption;
mod counting;
mod events;
mod exchange;
mod figures;
mod installation;
mod load;
mod memory;
mod options;
mod posting;
mod process;
mod progress;
mod projecting;
mod questions;
mod reading;
mod report;
mod rows;
mod scaling;
mod scratch;
mod searching;
mod streaming;
mod viewing;
mod visible;

use std::path::Path;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};

use crate::bench::Bench;
use crate::options::Options;
use crate::process::Deployment;
use crate::progress::Progress;
use crate::report::Report;
use crate::scratch::Scratch;

/// Balcony's allocator, so that what is measured beside it has no other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where the figures of a whole run are kept.
const FIGURES: &str = "docs/performance.md";

/// Prints what Balcony does beside what its parts can do. KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL name the Kafka and
/// the PostgreSQL to measure on (`eval "$(tests/services start)"`); without them only the embedded half runs.
#[derive(Parser)]
#[command(name = "balcony-bench", version, subcommand_precedence_over_arg = true)]
struct Cli {
    /// What to measure; everything when nothing is named.
    scenarios: Vec<Scenario>,
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// All of them, whose tables replace those in docs/performance.md unless --write names another file.
    All,
    /// Comments posted a second, against a bare handler.
    Posting,
    /// Page views taken a second, and counted.
    Viewing,
    /// From a post's answer until the comment can be read.
    Visible,
    /// From a post's answer until those who watch have it, with many streams open, and their memory.
    Streaming,
    /// Pages read a second: hot, cold, and mixed with posts.
    Reading,
    /// Events a second of the comments projection, rebuilt and catching up.
    Projecting,
    /// Processor time of the statistics for an event, in a short log and in a long one (with the embedded half).
    Counting,
    /// The search index, against PostgreSQL's own (with the distributed half).
    Searching,
}

#[derive(Subcommand)]
enum Action {
    /// A server to measure against, in a process of its own.
    #[command(hide = true)]
    Serve(bare::Bare),
    /// Simulates a step under more events than a machine here can send.
    Scale(scaling::Options),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(Action::Scale(options)) = &cli.action {
        scaling::run(options);
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(Action::Serve(server)) = cli.action {
        return runtime.block_on(server.run());
    }
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .init();
    runtime.block_on(measure(&cli.scenarios, &cli.options))
}

async fn measure(scenarios: &[Scenario], options: &Options) -> anyhow::Result<()> {
    let scratch = Scratch::new(options)?;
    let progress = Progress::new();
    let bench = Bench { options, scratch: &scratch, progress: &progress };
    let mut report = Report::default();
    let measured = tokio::select! {
        measured = run(scenarios, bench, &mut report) => measured,
        interrupted = tokio::signal::ctrl_c() => interrupted.context("no signals").and(Err(anyhow::anyhow!("interrupted"))),
    };
    let cleaned = scratch.remove().await;
    // What was measured before a failure is still worth reading.
    report.print(options.json)?;
    measured.and(cleaned)?;
    let of_all = scenarios.contains(&Scenario::All).then(|| Path::new(FIGURES));
    match options.write.as_deref().or(of_all) {
        Some(path) => report.write(path, &command(scenarios, options)),
        None => Ok(()),
    }
}

/// How a run is called that measures the same.
fn command(scenarios: &[Scenario], options: &Options) -> String {
    let mut words = vec!["balcony-bench".to_owned()];
    words.extend(scenarios.iter().filter_map(Scenario::to_possible_value).map(|name| name.get_name().to_owned()));
    words.extend(options.quick.then(|| "--quick".to_owned()));
    words.push(format!("--rounds {}", options.rounds));
    words.extend(options.events.map(|events| format!("--events {events}")));
    words.extend(
        options.only.and_then(|only| only.to_possible_value()).map(|only| format!("--only {}", only.get_name())),
    );
    words.join(" ")
}

async fn run(scenarios: &[Scenario], bench: Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let all = scenarios.is_empty() || scenarios.contains(&Scenario::All);
    let wanted = |scenario| all || scenarios.contains(&scenario);
    for deployment in bench.scratch.deployments() {
        if wanted(Scenario::Posting) {
            posting::run(bench, deployment, report).await.context("posting")?;
        }
        if wanted(Scenario::Viewing) {
            viewing::run(bench, deployment, report).await.context("viewing")?;
        }
        if wanted(Scenario::Visible) {
            visible::run(bench, deployment, report).await.context("visible")?;
        }
        if wanted(Scenario::Streaming) {
            streaming::run(bench, deployment, report).await.context("streaming")?;
        }
        if wanted(Scenario::Reading) {
            reading::run(bench, deployment, report).await.context("reading")?;
        }
        if wanted(Scenario::Projecting) {
            projecting::run(bench, deployment, report).await.context("projecting")?;
        }
        if wanted(Scenario::Counting) && deployment == Deployment::Embedded {
            counting::run(bench, report).await.context("counting")?;
        }
        if wanted(Scenario::Searching) && deployment == Deployment::Distributed {
            searching::run(bench, report).await.context("searching")?;
        }
    }
    Ok(())
}
