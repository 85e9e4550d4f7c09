//! From a post's answer until whoever posted can read the comment.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::bench::Bench;
use crate::exchange::{Connection, request};
use crate::figures::{milliseconds, percentile};
use crate::installation::Installation;
use crate::process::Deployment;
use crate::report::{Line, Report, Section};

/// Posts a second, sent when they are due whether or not earlier ones are answered.
const RATE: u32 = 1_000;
const CLIENTS: u16 = 100;
/// Between two posts of one client.
const INTERVAL: Duration = Duration::from_millis(CLIENTS as u64 * 1_000 / RATE as u64);
/// Of so many posts of a client, one is looked for, and after another the old comment is read.
const SAMPLE: u32 = 10;
/// Between the last connection and the first request.
const CALM: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);

/// What the clients measured.
#[derive(Default)]
struct Times {
    /// From when a post was due until its answer.
    posts: Vec<Duration>,
    /// From a post's answer until the comment was there.
    visible: Vec<Duration>,
    /// To read a comment that has long been there.
    old: Vec<Duration>,
}

struct Servers {
    commands: String,
    queries: String,
    old: Arc<[u8]>,
}

pub(crate) async fn run(bench: Bench<'_>, deployment: Deployment, report: &mut Report) -> anyhow::Result<()> {
    let Bench { options, scratch, progress } = bench;
    let name = deployment.title();
    progress.step(format!("visible, {name}: starting the servers"));
    let parts = ["projector", "command-api", "query-api"];
    let installation = Installation::start(scratch, deployment, "visible", &parts).await?;
    let posts = installation.settle(CLIENTS).await?;
    let (commands, queries) = (installation.commands()?.to_owned(), installation.queries()?.to_owned());
    let mut connection = Connection::open(&commands).await?;
    let comment = connection.exchange(&posts[0]).await?.expect(201)?.field("id")?;
    let servers = Servers { commands, queries, old: request("GET", &path(&comment), "", "").into() };

    progress.step(format!("visible, {name}: warming up"));
    load(&servers, &posts, options.round()).await?;
    let mut section = Section::new(format!("visible, {name}, {RATE} posts/s"), "p50 ms");
    section.lines = vec![
        Line::new("a query of an old comment"),
        Line::new("from a post's answer until its comment is read"),
        Line::new("(a post, from when it is due until its answer)"),
    ];
    for round in 1..=options.rounds {
        progress.step(format!("{}: round {round} of {}", section.title, options.rounds));
        installation.consumers(scratch).rest().await?;
        let times = load(&servers, &posts, options.round()).await?;
        for (line, mut times) in section.lines.iter_mut().zip([times.old, times.visible, times.posts]) {
            times.sort_unstable();
            line.figures.push(milliseconds(percentile(&times, 0.50)));
            line.detail("p99 ms", milliseconds(percentile(&times, 0.99)));
            line.detail("samples", times.len() as f64);
        }
    }
    section.compare(1, 0);
    report.add(section);
    Ok(())
}

fn path(comment: &str) -> String {
    format!("/v1/comments/{comment}?wait=10s")
}

async fn load(servers: &Servers, posts: &[Arc<[u8]>], duration: Duration) -> anyhow::Result<Times> {
    let mut connections = Vec::with_capacity(posts.len());
    for _ in posts {
        connections.push((Connection::open(&servers.commands).await?, Connection::open(&servers.queries).await?));
    }
    let mut clients = JoinSet::new();
    let start = Instant::now() + CALM;
    for ((number, post), connections) in (0_u32..).zip(posts.iter().cloned()).zip(connections) {
        clients.spawn(client(servers.old.clone(), connections, post, number, start, start + duration));
    }
    let mut all = Times::default();
    while let Some(times) = timeout(duration + PATIENCE, clients.join_next()).await? {
        let times = times??;
        all.posts.extend(times.posts);
        all.visible.extend(times.visible);
        all.old.extend(times.old);
    }
    Ok(all)
}

async fn client(
    old: Arc<[u8]>,
    (mut commands, mut queries): (Connection, Connection),
    post: Arc<[u8]>,
    number: u32,
    start: Instant,
    end: Instant,
) -> anyhow::Result<Times> {
    let mut times = Times::default();
    let mut due = start + INTERVAL * number / u32::from(CLIENTS);
    // So that the clients do not look all at once.
    let mut turn = number;
    while due < end {
        sleep_until(due).await;
        let answer = commands.exchange(&post).await?;
        let answered = Instant::now();
        times.posts.push(answered - due);
        answer.expect(201)?;
        if turn.is_multiple_of(SAMPLE) {
            let token = answer.header("consistency-token").unwrap_or_default();
            let headers = format!("Consistency-Token: {token}\r\n");
            let question = request("GET", &path(&answer.field("id")?), &headers, "");
            queries.exchange(&question).await?.expect(200)?;
            times.visible.push(answered.elapsed());
        } else if turn % SAMPLE == SAMPLE / 2 {
            let asked = Instant::now();
            queries.exchange(&old).await?.expect(200)?;
            times.old.push(asked.elapsed());
        }
        turn += 1;
        due += INTERVAL;
    }
    Ok(times)
}
