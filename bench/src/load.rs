//! Clients that post.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::exchange::Connection;
use crate::figures::{milliseconds, percentile};
use crate::report::Line;

/// One request for each client.
pub(crate) type Requests = Vec<Arc<[u8]>>;

/// What a round of load gave.
pub(crate) struct Round {
    pub(crate) took: Duration,
    /// Of every answer that came within the round, in order of length.
    pub(crate) latencies: Vec<Duration>,
}

/// How long clients may take to be ready, and to get their last answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many clients send what is to be there.
const FEW: usize = 32;
/// Between the last connection and the first request.
const CALM: Duration = Duration::from_millis(100);

/// Every client sends its request, and again as soon as the answer is there, which has the status `expected`, for as
/// long as `duration`.
pub(crate) async fn closed_loop(
    address: &str,
    requests: &[Arc<[u8]>],
    expected: u16,
    duration: Duration,
) -> anyhow::Result<Round> {
    let connections = connect(address, requests.len()).await?.into_iter().zip(requests.iter().cloned());
    let usual = connections.map(|(connection, request)| Exchange { connection, request, expected });
    round(usual.map(|usual| Client { usual, other: None }).collect(), duration).await
}

/// Each of `requests` is sent once, over a few connections, and answered with the status `expected`.
pub(crate) async fn each_once(address: &str, requests: &[Arc<[u8]>], expected: u16) -> anyhow::Result<()> {
    let mut clients = JoinSet::new();
    for (number, mut connection) in connect(address, FEW).await?.into_iter().enumerate() {
        let own: Requests = requests.iter().skip(number).step_by(FEW).cloned().collect();
        clients.spawn(async move {
            for request in own {
                connection.exchange(&request).await?.expect(expected)?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = timeout(PATIENCE, clients.join_next()).await? {
        client??;
    }
    Ok(())
}

/// Every client reads, and posts each `one_in`th time, for as long as `duration`. A client for each of the posts.
pub(crate) async fn mixed_loop(
    (queries, question): (&str, &Arc<[u8]>),
    (commands, posts): (&str, &[Arc<[u8]>]),
    one_in: usize,
    duration: Duration,
) -> anyhow::Result<Round> {
    let reading = connect(queries, posts.len()).await?.into_iter();
    let posting = connect(commands, posts.len()).await?.into_iter().zip(posts.iter().cloned());
    let clients = reading.zip(posting).map(|(connection, (posting, post))| Client {
        usual: Exchange { connection, request: question.clone(), expected: 200 },
        other: Some((one_in, Exchange { connection: posting, request: post, expected: 201 })),
    });
    round(clients.collect(), duration).await
}

/// A request that is sent again and again, and the status of its answers.
struct Exchange {
    connection: Connection,
    request: Arc<[u8]>,
    expected: u16,
}

/// What a client sends, and what it sends instead each so many times.
struct Client {
    usual: Exchange,
    other: Option<(usize, Exchange)>,
}

impl Client {
    /// Sends as soon as the answer before is there. Gives the latencies of the answers that came before `end`.
    async fn send(mut self, start: Instant, end: Instant) -> anyhow::Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        sleep_until(start).await;
        for turn in 1.. {
            let sent = Instant::now();
            if sent >= end {
                break;
            }
            let Exchange { connection, request, expected } = match &mut self.other {
                Some((one_in, other)) if turn % *one_in == 0 => other,
                _ => &mut self.usual,
            };
            connection.exchange(request).await?.expect(*expected)?;
            let answered = Instant::now();
            if answered <= end {
                latencies.push(answered - sent);
            }
        }
        Ok(latencies)
    }
}

/// Lets all clients send for as long as `duration`.
async fn round(clients: Vec<Client>, duration: Duration) -> anyhow::Result<Round> {
    let start = Instant::now() + CALM;
    let mut sending: JoinSet<_> = clients.into_iter().map(|client| client.send(start, start + duration)).collect();
    let mut latencies = Vec::new();
    while let Some(client) = timeout(duration + PATIENCE, sending.join_next()).await? {
        latencies.extend(client??);
    }
    latencies.sort_unstable();
    Ok(Round { took: duration, latencies })
}

async fn connect(address: &str, clients: usize) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(Connection::open(address).await?);
    }
    Ok(connections)
}

impl Round {
    /// Adds the round to a line of answers a second.
    pub(crate) fn note(&self, line: &mut Line) {
        line.figures.push(self.latencies.len() as f64 / self.took.as_secs_f64());
        line.detail("p50 ms", milliseconds(percentile(&self.latencies, 0.50)));
        line.detail("p99 ms", milliseconds(percentile(&self.latencies, 0.99)));
    }
}
