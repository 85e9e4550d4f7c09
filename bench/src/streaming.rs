//! From a post's answer until those who watch its movie have it, with many streams open; against a bare fan-out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use balcony_http::server::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use crate::bench::Bench;
use crate::consumption::{Consumers, microseconds_each};
use crate::exchange::Connection;
use crate::figures::{milliseconds, percentile};
use crate::installation::{Installation, Watched};
use crate::memory;
use crate::process::Deployment;
use crate::report::{Line, Report, Section};
use crate::scratch::text;

/// Posts a second, sent when they are due whether or not earlier ones are answered.
const RATE: u32 = 500;
/// Movies, each with a client that posts about it. Streams are shared out among them.
const MOVIES: u16 = 100;
/// Between two posts of one client.
const INTERVAL: Duration = Duration::from_millis(MOVIES as u64 * 1_000 / RATE as u64);
/// How many streams are open.
const STREAMS: [usize; 2] = [1_000, 5_000];
/// Connections of the clients that post, and what else a process has open.
const OTHERS: usize = 200;
/// Between the last connection and the first request.
const CALM: Duration = Duration::from_millis(500);
/// How long what was posted may take to come to all.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether everything has come.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What stands before a comment's id in a frame.
const BEFORE_ID: &[u8] = b"data: {\"id\":\"";
const ID_LENGTH: usize = 36;
/// The most of a stream that is kept until it makes a frame.
const LONGEST: usize = 1 << 16;

/// A comment, and when it was there.
type Seen = (Uuid, Instant);

/// A server with streams.
struct Candidate {
    what: &'static str,
    commands: String,
    movies: Vec<Watched>,
    consumers: Consumers,
    /// The process that has the streams.
    pid: u32,
    watchers: Watchers,
}

/// The clients that watch. They end when this is dropped.
struct Watchers {
    seen: Vec<Arc<Mutex<Vec<Seen>>>>,
    _tasks: JoinSet<()>,
}

pub(crate) async fn run(bench: Bench<'_>, deployment: Deployment, report: &mut Report) -> anyhow::Result<()> {
    let Bench { options, scratch, progress } = bench;
    let most = STREAMS.iter().max().copied().unwrap_or_default() + OTHERS;
    let room = Limits::of_process().connections;
    ensure!(room >= most, "{most} connections are wanted, and there is room for {room}: ulimit -n {}", 2 * most);
    let name = deployment.title();
    for streams in STREAMS {
        let each = streams / usize::from(MOVIES);
        let title = format!("streaming, {name}, {RATE} posts/s, {streams} streams, {each} for each movie");
        progress.step(format!("{title}: starting the servers"));
        let parts = ["projector", "command-api", "query-api"];
        let installation = Installation::start(scratch, deployment, &format!("streaming{streams}"), &parts).await?;
        let (movies, comment) = installation.settle_watched(MOVIES).await?;
        let file = scratch.path("comment.json");
        std::fs::write(&file, comment)?;
        let bare = scratch.bare(&["streams", text(&file)?], &Vec::new()).await?;
        installation.consumers(scratch).rest().await?;

        let mut section = Section::new(title, "p50 ms");
        section.lines = vec![Line::new("axum, a bare fan-out"), Line::new("balcony")];
        let (queries, pid) = (installation.queries()?.to_owned(), installation.query_process()?);
        let mut candidates = Vec::new();
        for (line, address, pid) in [(0, &bare.address, bare.pid()), (1, &queries, pid)] {
            let line = &mut section.lines[line];
            let before = memory::resident(pid)?;
            let watchers = Watchers::open(address, &movies, each).await?;
            let open = memory::resident(pid)?;
            line.detail("MiB before", before);
            line.detail("MiB, all open", open);
            line.detail("KiB a stream", (open - before) * 1_024.0 / streams as f64);
            candidates.push(watchers);
        }
        let [bare_watchers, watchers] = candidates.try_into().ok().context("two candidates")?;
        let candidates = [
            Candidate {
                what: "a bare fan-out",
                commands: bare.address.clone(),
                movies: movies.clone(),
                consumers: Consumers::default().and("server", bare.pid()),
                pid: bare.pid(),
                watchers: bare_watchers,
            },
            Candidate {
                what: "balcony",
                commands: installation.commands()?.to_owned(),
                movies,
                consumers: installation.consumers(scratch),
                pid,
                watchers,
            },
        ];
        // The first round warms up.
        for round in 0..=options.rounds {
            for (candidate, line) in candidates.iter().zip(&mut section.lines) {
                progress.step(format!("{}: round {round} of {}: {}", section.title, options.rounds, candidate.what));
                let mut uncounted = Line::default();
                candidate.measure(each, options.round(), if round == 0 { &mut uncounted } else { line }).await?;
            }
        }
        for (candidate, line) in candidates.iter().zip(&mut section.lines) {
            line.detail("MiB, the most", memory::peak_of(candidate.pid)?);
        }
        section.compare(1, 0);
        report.add(section);
    }
    Ok(())
}

impl Candidate {
    async fn measure(&self, each: usize, duration: Duration, line: &mut Line) -> anyhow::Result<()> {
        let before = self.consumers.seconds();
        let answered = post(&self.commands, &self.movies, duration).await?;
        let frames = answered.len() * each;
        let seen = self.watchers.all(frames).await?;
        line.processor(microseconds_each(&before, &self.consumers.seconds(), frames as u64));
        let mut times = Vec::with_capacity(frames);
        for (comment, at) in seen {
            // Whoever watches may have it before who has posted it has the answer.
            times.push(at.saturating_duration_since(*answered.get(&comment).context("a comment of nobody's")?));
        }
        times.sort_unstable();
        line.figures.push(milliseconds(percentile(&times, 0.50)));
        line.detail("p99 ms", milliseconds(percentile(&times, 0.99)));
        line.detail("frames/s", frames as f64 / duration.as_secs_f64());
        Ok(())
    }
}

impl Watchers {
    /// Opens so many streams of each movie.
    async fn open(address: &str, movies: &[Watched], each: usize) -> anyhow::Result<Self> {
        let (mut seen, mut tasks) = (Vec::new(), JoinSet::new());
        for movie in movies {
            for _ in 0..each {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(&movie.watch).await?;
                let mut unread = Vec::with_capacity(1 << 10);
                timeout(PATIENCE, head(&mut stream, &mut unread)).await.context("a stream does not begin")??;
                let own = Arc::<Mutex<Vec<Seen>>>::default();
                seen.push(own.clone());
                tasks.spawn(watch(stream, unread, own));
            }
        }
        Ok(Self { seen, _tasks: tasks })
    }

    /// What all have seen since it was asked last, once these are so many.
    async fn all(&self, count: usize) -> anyhow::Result<Vec<Seen>> {
        let mut all = Vec::with_capacity(count);
        let give_up = Instant::now() + PATIENCE;
        loop {
            for seen in &self.seen {
                all.append(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
            }
            if all.len() >= count {
                ensure!(all.len() == count, "{} frames came of {count}", all.len());
                return Ok(all);
            }
            ensure!(Instant::now() < give_up, "{} frames came of {count}", all.len());
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Reads the head of a stream's answer.
async fn head(stream: &mut TcpStream, unread: &mut Vec<u8>) -> anyhow::Result<()> {
    const END: &[u8] = b"\r\n\r\n";
    loop {
        ensure!(stream.read_buf(unread).await? > 0, "the server closed a stream");
        if let Some(end) = unread.windows(END.len()).position(|window| window == END) {
            let rest = unread.split_off(end + END.len());
            let head = std::mem::replace(unread, rest);
            ensure!(head.starts_with(b"HTTP/1.1 200 "), "no stream: {}", String::from_utf8_lossy(&head));
            return Ok(());
        }
    }
}

/// Notes when which comment comes, until the server ends the stream.
async fn watch(mut stream: TcpStream, mut unread: Vec<u8>, seen: Arc<Mutex<Vec<Seen>>>) {
    loop {
        let at = Instant::now();
        let read = comments(&mut unread);
        if !read.is_empty() {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.extend(read.into_iter().map(|comment| (comment, at)));
        }
        if unread.len() > LONGEST || !stream.read_buf(&mut unread).await.is_ok_and(|read| read > 0) {
            return;
        }
    }
}

/// Takes the comments out of what has come; what may be the beginning of another stays.
fn comments(unread: &mut Vec<u8>) -> Vec<Uuid> {
    let mut found = Vec::new();
    let mut rest = 0;
    while let Some(at) = unread[rest..].windows(BEFORE_ID.len()).position(|window| window == BEFORE_ID) {
        let id = rest + at + BEFORE_ID.len();
        let Some(text) = unread.get(id..id + ID_LENGTH) else { break };
        found.extend(Uuid::try_parse_ascii(text));
        rest = id + ID_LENGTH;
    }
    unread.drain(..rest.max(unread.len().saturating_sub(BEFORE_ID.len() + ID_LENGTH)));
    found
}

/// Posts about every movie for as long as `duration`, and gives what was posted, with when it was answered.
async fn post(address: &str, movies: &[Watched], duration: Duration) -> anyhow::Result<HashMap<Uuid, Instant>> {
    let mut connections = Vec::with_capacity(movies.len());
    for _ in movies {
        connections.push(Connection::open(address).await?);
    }
    let start = Instant::now() + CALM;
    let mut clients = JoinSet::new();
    for ((number, movie), mut connection) in (0_u32..).zip(movies).zip(connections) {
        let post = movie.post.clone();
        clients.spawn(async move {
            let mut answered = Vec::new();
            let mut due = start + INTERVAL * number / u32::from(MOVIES);
            while due < start + duration {
                sleep_until(due).await;
                let id = connection.exchange(&post).await?.expect(201)?.field("id")?;
                answered.push((id.parse()?, Instant::now()));
                due += INTERVAL;
            }
            anyhow::Ok(answered)
        });
    }
    let mut all = HashMap::new();
    while let Some(client) = timeout(duration + PATIENCE, clients.join_next()).await? {
        all.extend(client??);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_found_wherever_what_comes_is_cut() {
        let ids = [Uuid::from_u128(1), Uuid::from_u128(u128::MAX)];
        let frame =
            |id| format!("2a\r\nid: x\nevent: comment.posted\ndata: {{\"id\":\"{id}\",\"body\":\"b\"}}\n\n\r\n");
        let whole = ids.map(frame).concat().into_bytes();
        for cut in 0..whole.len() {
            let mut unread = whole[..cut].to_vec();
            let mut found = comments(&mut unread);
            unread.extend_from_slice(&whole[cut..]);
            found.extend(comments(&mut unread));
            assert_eq!(found, ids, "{cut}");
            assert!(unread.len() <= BEFORE_ID.len() + ID_LENGTH);
        }
    }
}
