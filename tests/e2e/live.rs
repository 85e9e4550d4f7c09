//! Live streams.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::client::Client;
use crate::deployment::{Deployment, Kind};

/// How long an event is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stream that is open.
struct Stream {
    response: Response,
    unread: Vec<u8>,
}

#[derive(Debug)]
struct Event {
    id: String,
    name: String,
    data: Value,
}

impl Stream {
    async fn open(client: &Client, path: &str, last: Option<&str>) -> Self {
        let response = client.open(path, last).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, unread: Vec::new() }
    }

    async fn of_movie(client: &Client, movie: &str) -> Self {
        Self::open(client, &format!("/v1/live/movies/{movie}"), None).await
    }

    /// The next event; `None` when the stream has ended.
    async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|end| end == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                if let Some(event) = parse(std::str::from_utf8(&block).unwrap()) {
                    return Some(event);
                }
                continue;
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("an event comes");
            self.unread.extend_from_slice(&chunk.ok()??);
        }
    }

    async fn next(&mut self) -> Event {
        self.event().await.expect("the stream goes on")
    }

    /// The next `count` events, all of which are posts: the comments' ids.
    async fn posts(&mut self, count: usize) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        for _ in 0..count {
            let event = self.next().await;
            assert_eq!(event.name, "comment.posted", "{event:?}");
            assert!(ids.insert(event.comment()), "{event:?} is repeated");
        }
        ids
    }
}

impl Event {
    fn comment(&self) -> String {
        self.data["id"].as_str().unwrap().to_owned()
    }
}

/// An event with data; others are none.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let data = serde_json::from_str(field("data")?).unwrap();
    Some(Event { id: field("id").unwrap().to_owned(), name: field("event").unwrap().to_owned(), data })
}

pub async fn who_is_told_of_a_comment_and_asks_for_it_gets_it(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await;
    let nobody = deployment.nobody().having_seen(&movie);
    let other = deployment.admin().register_movie("Another").await.id();
    let movie = movie.id();
    deployment.user("Mia").comment(&movie, "before").await;
    let mut streams = [Stream::of_movie(&nobody, &movie).await, Stream::of_movie(&nobody, &movie).await];

    let (posters, each) = (8, 20);
    let posting: Vec<_> = (0..posters)
        .map(|number| {
            let (client, movie, other) = (deployment.user(&format!("user {number}")), movie.clone(), other.clone());
            tokio::spawn(async move {
                let mut posted = Vec::new();
                for number in 0..each {
                    posted.push(client.comment(&movie, &format!("comment\r\n{number}")).await.id());
                    client.comment(&other, "elsewhere").await;
                }
                posted
            })
        })
        .collect();
    let mut told = BTreeSet::new();
    for _ in 0..posters * each {
        let event = streams[0].next().await;
        let shown = nobody.get(&format!("/v1/comments/{}", event.comment())).await.expect(StatusCode::OK);
        assert_eq!((event.name.as_str(), &event.data), ("comment.posted", &shown.json()));
        told.insert(event.comment());
    }
    let mut posted = BTreeSet::new();
    for poster in posting {
        posted.extend(poster.await.unwrap());
    }
    assert_eq!(told, posted);
    assert_eq!(streams[1].posts(posters * each).await, posted);
}

pub async fn a_deletion_is_told_once_it_counts(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await;
    let (mia, nobody) = (deployment.user("Mia"), deployment.nobody().having_seen(&movie));
    let mut stream = Stream::of_movie(&nobody, &movie.id()).await;
    for _ in 0..10 {
        let posted = mia.comment(&movie.id(), "soon gone").await;
        assert_eq!(stream.next().await.comment(), posted.id());
        let path = format!("/v1/comments/{}", posted.id());
        deployment.user("Jonas").delete(&path).await.problem(403);
        mia.delete(&path).await.expect(StatusCode::NO_CONTENT);
        mia.delete(&path).await.expect(StatusCode::NO_CONTENT);
        let event = stream.next().await;
        assert_eq!((event.name.as_str(), event.comment()), ("comment.deleted", posted.id()));
        assert_eq!(event.data.as_object().unwrap().len(), 1);
        nobody.get(&path).await.problem(410);
    }
}

pub async fn a_stream_goes_on_where_it_was_wherever_it_is_opened_again(mut deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await;
    let (mia, nobody) = (deployment.user("Mia"), deployment.nobody().having_seen(&movie));
    let (movie, path) = (movie.id(), format!("/v1/live/movies/{}", movie.id()));
    let mut stream = Stream::of_movie(&nobody, &movie).await;
    let mut missing = BTreeSet::new();
    for number in 0..20 {
        missing.insert(mia.comment(&movie, &format!("before {number}")).await.id());
    }
    let mut last = String::new();
    for _ in 0..7 {
        let event = stream.next().await;
        assert!(missing.remove(&event.comment()));
        last = event.id;
    }
    let gone = missing.first().unwrap().clone();
    mia.delete(&format!("/v1/comments/{gone}")).await.expect(StatusCode::NO_CONTENT);

    // The node dies, and comments are posted meanwhile where others take them.
    let service = match deployment.kind {
        Kind::Embedded { .. } => "balcony",
        Kind::Distributed { .. } => "query-api",
    };
    deployment.kill(service);
    let arguments: &[&str] = match deployment.kind {
        Kind::Embedded { .. } => &[],
        Kind::Distributed { .. } => {
            missing.insert(mia.comment(&movie, "meanwhile").await.id());
            &["query-api"]
        }
    };
    deployment.start(service, arguments).await;
    let mut nodes = vec![deployment.nobody()];
    if matches!(deployment.kind, Kind::Distributed { .. }) {
        let second = deployment.start("second query-api", &["query-api"]).await;
        nodes.push(deployment.nobody().talking_to("", &deployment.processes[second].url));
    }
    missing.insert(deployment.user("Mia").comment(&movie, "after").await.id());
    missing.remove(&gone);
    for node in nodes {
        let mut stream = Stream::open(&node, &path, Some(&last)).await;
        let (mut told, mut last) = (BTreeSet::new(), last.clone());
        let mut is_deleted = false;
        while told.len() < missing.len() || !is_deleted {
            let event = stream.next().await;
            match event.name.as_str() {
                "comment.posted" => assert!(told.insert(event.comment()), "{event:?} is repeated"),
                "comment.deleted" => {
                    assert_eq!(event.comment(), gone);
                    is_deleted = true;
                }
                _ => panic!("{event:?}"),
            }
            // Whoever goes away after any event goes on after it.
            last = event.id;
        }
        assert_eq!(told, missing);
        let again = Stream::open(&node, &path, Some(&last)).await;
        let next = deployment.user("Mia").comment(&movie, "the next").await.id();
        for mut stream in [stream, again] {
            assert_eq!(stream.next().await.comment(), next);
        }
        missing.insert(next);
    }
}

pub async fn an_id_that_is_not_from_here_gives_one_reset(deployment: Deployment) {
    let elsewhere = Deployment::embedded().await;
    let movie = elsewhere.admin().register_movie("Elsewhere").await;
    let mut stream = Stream::of_movie(&elsewhere.nobody().having_seen(&movie), &movie.id()).await;
    elsewhere.user("Mia").comment(&movie.id(), "elsewhere").await;
    let foreign = stream.next().await.id;

    let movie = deployment.admin().register_movie("A movie").await;
    let (mia, nobody) = (deployment.user("Mia"), deployment.nobody().having_seen(&movie));
    let path = format!("/v1/live/movies/{}", movie.id());
    for last in ["x", "%%%", &foreign] {
        let before = mia.comment(&movie.id(), "before").await.id();
        let mut stream = Stream::open(&nobody, &path, Some(last)).await;
        let reset = stream.next().await;
        assert_eq!(reset.name, "reset", "{last}");
        let after = mia.comment(&movie.id(), "after").await.id();
        assert_ne!(before, after);
        assert_eq!(stream.next().await.comment(), after);
        // From its own id it goes on like from any other.
        let mut again = Stream::open(&nobody, &path, Some(&reset.id)).await;
        assert_eq!(again.next().await.comment(), after);
    }
}

pub async fn a_timeline_grows_with_favourites_that_are_added_meanwhile(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    let reader = deployment.user("Reader");
    let authors: Vec<Client> = (0..20).map(|number| deployment.user(&format!("author {number}"))).collect();
    let mut favorites = Vec::new();
    for author in &authors {
        author.comment(&movie, "before").await;
        favorites.push(format!("/v1/me/favorites/{}", author.get("/v1/me").await.expect(StatusCode::OK).id()));
    }
    reader.put(&favorites[0]).await.expect(StatusCode::NO_CONTENT);
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(Stream::open(&reader, "/v1/live/me/timeline", None).await);
    }
    for (author, favorite) in authors.iter().zip(&favorites) {
        reader.put(favorite).await.expect(StatusCode::NO_CONTENT);
        let posted = author.comment(&movie, "a favourite's").await.id();
        for stream in &mut streams {
            let event = stream.next().await;
            assert_eq!((event.name.as_str(), event.comment()), ("comment.posted", posted.clone()));
        }
    }
    for (author, favorite) in authors.iter().zip(&favorites).skip(1) {
        reader.delete(favorite).await.expect(StatusCode::NO_CONTENT);
        author.comment(&movie, "not a favourite's").await;
        let posted = authors[0].comment(&movie, "a favourite's").await.id();
        for stream in &mut streams {
            assert_eq!(stream.next().await.comment(), posted);
        }
    }
}

pub async fn counts_are_told_when_they_move(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await;
    let nobody = deployment.nobody().having_seen(&movie);
    let path = format!("/v1/live/stats/views?value={}", movie.id());
    let mut stream = Stream::open(&nobody, &path, None).await;
    let mut last = String::new();
    for count in 1..=4 {
        if count == 4 {
            // Whoever comes again with the newest gets nothing before it moves.
            stream = Stream::open(&nobody, &path, Some(&last)).await;
        }
        nobody.command(Method::POST, &format!("/v1/movies/{}/views", movie.id()), None).await;
        let event = stream.next().await;
        assert_eq!(event.name, "stats");
        let counted: i64 =
            event.data["items"].as_array().unwrap().iter().map(|item| item["count"].as_i64().unwrap()).sum();
        assert_eq!(counted, count);
        last = event.id;
    }
    assert_eq!(Stream::open(&nobody, &path, Some("x")).await.next().await.name, "reset");
    nobody.get("/v1/live/stats/nonsense").await.problem(404);
    nobody.get("/v1/live/stats/views?dimension=x").await.expect(StatusCode::UNPROCESSABLE_ENTITY);
}

pub async fn who_may_watch_what(deployment: Deployment) {
    let nobody = deployment.nobody();
    let answer = nobody.get("/v1/live/me/timeline").await;
    answer.problem(401);
    nobody.get("/v1/live/movies/0192f0c1-7c3e-7b0a-9d58-2f6a1b3c4d5e").await.problem(404);
    nobody.get("/v1/live/movies/x").await.problem(404);
    let movie = deployment.admin().register_movie("A movie").await;
    let nobody = nobody.having_seen(&movie);
    nobody.get(&format!("/v1/live/movies/{}?limit=3", movie.id())).await.expect(StatusCode::UNPROCESSABLE_ENTITY);
}

pub async fn streams_end_when_the_process_is_told_to(mut deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await;
    let reader = deployment.user("Reader").having_seen(&movie);
    let mut streams =
        [Stream::of_movie(&reader, &movie.id()).await, Stream::open(&reader, "/v1/live/me/timeline", None).await];
    let service = match deployment.kind {
        Kind::Embedded { .. } => "balcony",
        Kind::Distributed { .. } => "query-api",
    };
    let ended = deployment.process_mut(service).terminate().await;
    assert!(ended.success());
    for stream in &mut streams {
        assert!(stream.event().await.is_none(), "the stream ends");
    }
}

pub async fn a_reader_that_is_too_slow_is_dropped_and_misses_nothing(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await;
    let nobody = deployment.nobody().having_seen(&movie);
    let path = format!("/v1/live/movies/{}", movie.id());
    let address = nobody.queries.trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut slow = socket.connect(address).await.unwrap();
    let token = movie.header("consistency-token");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConsistency-Token: {token}\r\n\r\n");
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    slow.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");

    // More than the system and the server keep for a connection.
    let (mut posted, mut quick) = (BTreeSet::new(), Stream::of_movie(&nobody, &movie.id()).await);
    let body = "夏".repeat(10_000);
    let is_dropped = || {
        let processes = deployment.processes.iter();
        processes.map(crate::deployment::Process::log).any(|log| log.contains("too slow"))
    };
    let mia = deployment.user("Mia");
    while !is_dropped() {
        assert!(posted.len() < 2_000, "a slow reader is dropped");
        for _ in 0..20 {
            posted.insert(mia.comment(&movie.id(), &body).await.id());
            posted_is_told(&mut quick, &posted).await;
        }
    }
    // What it was sent before it was dropped comes without a gap, and the rest with the id of the last.
    let mut text = Vec::new();
    timeout(PATIENCE, async {
        let mut part = vec![0; 1 << 16];
        while !text.ends_with(b"0\r\n\r\n") {
            let read = slow.read(&mut part).await.unwrap();
            if read == 0 {
                break;
            }
            text.extend_from_slice(&part[..read]);
        }
    })
    .await
    .expect("the stream ends");
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap();
    let told: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: {\"id\":\""))
        .map(|rest| rest[..36].to_owned())
        .collect();
    assert!(told.len() < posted.len() && told.is_subset(&posted));
    let mut again = Stream::open(&nobody, &path, Some(last)).await;
    let rest = again.posts(posted.len() - told.len()).await;
    assert_eq!(told.union(&rest).cloned().collect::<BTreeSet<_>>(), posted);
}

async fn posted_is_told(stream: &mut Stream, posted: &BTreeSet<String>) {
    let event = stream.next().await;
    assert!(posted.contains(&event.comment()));
}
