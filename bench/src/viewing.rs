//! Page views taken a second, and how long it takes until all are counted; against the same without projections.

use crate::bench::Bench;
use crate::consumption::{Consumers, microseconds_each};
use crate::installation::Installation;
use crate::load::{self, Requests};
use crate::options::Options;
use crate::process::Deployment;
use crate::progress::Progress;
use crate::report::{Line, Report, Section};
use crate::scratch::text;

/// A server that views are posted to.
struct Candidate {
    what: &'static str,
    address: String,
    views: Requests,
    consumers: Consumers,
    /// Whether they are counted meanwhile.
    counts: bool,
}

pub(crate) async fn run(bench: Bench<'_>, deployment: Deployment, report: &mut Report) -> anyhow::Result<()> {
    let Bench { options, scratch, progress } = bench;
    let clients = options.clients.iter().copied().max().unwrap_or_default();
    progress.step("viewing: starting the servers".to_owned());
    let parts = ["projector", "command-api"];
    let mut alone = Installation::start(scratch, deployment, "views_alone", &parts).await?;
    let views_alone = alone.settle_viewers(clients).await?;
    let whole = Installation::start(scratch, deployment, "views_counted", &parts).await?;
    let views = whole.settle_viewers(clients).await?;
    let (name, process, taker) = match deployment {
        Deployment::Embedded => {
            alone.stop("balcony").await?;
            let data_dir = scratch.path("views_alone");
            let process = scratch.bare(&["commands", text(&data_dir)?], &alone.settings).await?;
            let consumers = Consumers::default().and("server", process.pid());
            ("embedded", Some(process), consumers)
        }
        Deployment::Distributed => {
            alone.stop("projector").await?;
            ("Kafka", None, alone.consumers(scratch))
        }
    };
    let address = match &process {
        Some(process) => process.address.clone(),
        None => alone.commands()?.to_owned(),
    };
    let candidates = [
        Candidate { what: "views taken", address, views: views_alone, consumers: taker, counts: false },
        Candidate {
            what: "views taken and counted",
            address: whole.commands()?.to_owned(),
            views,
            consumers: whole.consumers(scratch),
            counts: true,
        },
    ];
    for &clients in &options.clients {
        let title = format!("viewing, {name}, {clients} clients");
        report.add(measure(title, clients, &candidates, options, progress).await?);
    }
    Ok(())
}

async fn measure(
    title: String,
    clients: u16,
    candidates: &[Candidate],
    options: &Options,
    progress: &Progress,
) -> anyhow::Result<Section> {
    let mut section = Section::new(title, "views/s");
    section.lines = candidates.iter().map(|candidate| Line::new(candidate.what)).collect();
    // The first round warms up.
    for round in 0..=options.rounds {
        for (candidate, line) in candidates.iter().zip(&mut section.lines) {
            progress.step(format!("{}: round {round} of {}: {}", section.title, options.rounds, candidate.what));
            let before = candidate.consumers.seconds();
            let views = &candidate.views[..usize::from(clients)];
            let taken = load::closed_loop(&candidate.address, views, 202, options.round()).await?;
            let behind = candidate.consumers.rest().await?;
            if round == 0 {
                continue;
            }
            taken.note(line);
            if candidate.counts {
                line.detail("then s", behind.as_secs_f64());
            }
            let views = taken.latencies.len() as u64;
            line.processor(microseconds_each(&before, &candidate.consumers.seconds(), views));
        }
    }
    section.compare(1, 0);
    Ok(section)
}
