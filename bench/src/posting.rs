//! Comments posted a second, against a handler that does nothing but await the log.

use std::time::Duration;

use balcony_event_log::Topic;
use balcony_event_log::kafka::KafkaLog;

use crate::bench::Bench;
use crate::consumption::{Consumers, microseconds_each};
use crate::installation::Installation;
use crate::load::{self, Requests};
use crate::options::Options;
use crate::process::{Deployment, Process};
use crate::progress::Progress;
use crate::report::{Line, Report, Section};
use crate::scratch::{PARTITIONS, Scratch, text};

/// A server that comments are posted to.
struct Candidate {
    what: &'static str,
    address: String,
    posts: Requests,
    consumers: Consumers,
    /// Whether something goes on after the answers.
    projects: bool,
}

/// Everything that has to stay until the measurements are done.
struct Servers {
    candidates: Vec<Candidate>,
    _processes: Vec<Process>,
    _installations: Vec<Installation>,
}

/// How long each candidate is under load before anything counts. A broker that was just started is several times
/// slower than one that has compiled its code.
const WARM_UP: Duration = Duration::from_secs(10);
const WARM_UP_QUICK: Duration = Duration::from_secs(4);

pub(crate) async fn run(bench: Bench<'_>, deployment: Deployment, report: &mut Report) -> anyhow::Result<()> {
    let Bench { options, scratch, progress } = bench;
    let most_clients = options.clients.iter().copied().max().unwrap_or_default();
    progress.step("posting: starting the servers".to_owned());
    let (name, servers) = match deployment {
        Deployment::Embedded => ("embedded", embedded(scratch, most_clients).await?),
        Deployment::Distributed => ("Kafka", distributed(scratch, most_clients).await?),
    };
    for candidate in &servers.candidates {
        progress.step(format!("posting, {name}: warming up: {}", candidate.what));
        let warm_up = if options.quick { WARM_UP_QUICK } else { WARM_UP };
        load::closed_loop(&candidate.address, &candidate.posts, 201, warm_up).await?;
        candidate.consumers.rest().await?;
    }
    for &clients in &options.clients {
        let title = format!("posting, {name}, {clients} clients");
        report.add(measure(title, clients, &servers, options, progress).await?);
    }
    Ok(())
}

async fn measure(
    title: String,
    clients: u16,
    servers: &Servers,
    options: &Options,
    progress: &Progress,
) -> anyhow::Result<Section> {
    let mut section = Section::new(title, "posts/s");
    section.lines = servers.candidates.iter().map(|candidate| Line::new(candidate.what)).collect();
    for round in 1..=options.rounds {
        for (candidate, line) in servers.candidates.iter().zip(&mut section.lines) {
            progress.step(format!("{}: round {round} of {}: {}", section.title, options.rounds, candidate.what));
            let before = candidate.consumers.seconds();
            let posts = &candidate.posts[..usize::from(clients)];
            let round = load::closed_loop(&candidate.address, posts, 201, options.round()).await?;
            let behind = candidate.consumers.rest().await?;
            round.note(line);
            if candidate.projects {
                line.detail("then s", behind.as_secs_f64());
            }
            let posted = round.latencies.len() as u64;
            line.processor(microseconds_each(&before, &candidate.consumers.seconds(), posted));
        }
    }
    for line in 1..section.lines.len() {
        section.compare(line, 0);
    }
    Ok(section)
}

async fn embedded(scratch: &Scratch, clients: u16) -> anyhow::Result<Servers> {
    let bare = scratch.bare(&["sqlite", text(&scratch.path("bare.db"))?], &Vec::new()).await?;

    let mut settled = Installation::start(scratch, Deployment::Embedded, "commands", &[]).await?;
    let posts_alone = settled.settle(clients).await?;
    settled.stop("balcony").await?;
    let data_dir = scratch.path("commands");
    let alone = scratch.bare(&["commands", text(&data_dir)?], &settled.settings).await?;

    let whole = Installation::start(scratch, Deployment::Embedded, "whole", &[]).await?;
    let posts = whole.settle(clients).await?;
    let candidates = vec![
        candidate("axum awaiting a SQLite group commit", &bare, &posts),
        candidate("the command API, without projections", &alone, &posts_alone),
        Candidate {
            what: "balcony, all in one",
            address: whole.commands()?.to_owned(),
            posts,
            consumers: whole.consumers(scratch),
            projects: true,
        },
    ];
    Ok(Servers { candidates, _processes: vec![bare, alone], _installations: vec![whole] })
}

fn candidate(what: &'static str, process: &Process, posts: &Requests) -> Candidate {
    let consumers = Consumers::default().and("server", process.pid());
    Candidate { what, address: process.address.clone(), posts: posts.clone(), consumers, projects: false }
}

async fn distributed(scratch: &Scratch, clients: u16) -> anyhow::Result<Servers> {
    let topic = format!("{}events", scratch.prefix("bare"));
    let wanted = Topic { name: topic.as_str().into(), partitions: PARTITIONS, replication: 3, retention: None };
    KafkaLog::open(scratch.brokers()?, &[wanted]).await?;
    let bare = scratch.bare(&["kafka", scratch.brokers()?, &topic], &Vec::new()).await?;

    let parts = ["projector", "command-api"];
    let mut alone = Installation::start(scratch, Deployment::Distributed, "commands", &parts).await?;
    let posts_alone = alone.settle(clients).await?;
    alone.stop("projector").await?;

    let whole = Installation::start(scratch, Deployment::Distributed, "whole", &parts).await?;
    let posts = whole.settle(clients).await?;
    let candidates = vec![
        Candidate {
            consumers: scratch.services().and("server", bare.pid()),
            ..candidate("axum awaiting a Kafka delivery", &bare, &posts)
        },
        Candidate {
            what: "balcony command-api",
            address: alone.commands()?.to_owned(),
            posts: posts_alone,
            consumers: alone.consumers(scratch),
            projects: false,
        },
        Candidate {
            what: "balcony command-api, projector running",
            address: whole.commands()?.to_owned(),
            posts,
            consumers: whole.consumers(scratch),
            projects: true,
        },
    ];
    Ok(Servers { candidates, _processes: vec![bare], _installations: vec![alone, whole] })
}
