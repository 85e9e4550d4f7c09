//! The server as clients meet it that are slow, silent, many, or do not speak HTTP.

#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use balcony_http::rate_limit::Limiter;
use balcony_http::server::{self, Limits, Server};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Long enough that no test meets it.
const LONG: Duration = Duration::from_secs(120);
/// How long a test waits for what should happen.
const PATIENCE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(150);

fn unlimited() -> Limits {
    Limits { connections: 100, head: LONG, idle: LONG, unread: LONG }
}

struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl Running {
    fn start(limits: Limits, router: Router) -> Self {
        Self::serve(Server::new("test", "urn:example:problem:", limits), router)
    }

    fn serve(server: Server, router: Router) -> Self {
        let listener = server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move { server.serve(listener, router, async { drop(stopped.await) }).await });
        Self { address, stop: Some(stop), served }
    }

    fn hello(limits: Limits) -> Self {
        Self::start(limits, Router::new().route("/", get(async || "hello").post(async || "hello")))
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What comes back for `bytes` until the server ends the connection.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        to_end(&mut stream).await
    }
}

async fn to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection ends").unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads until the answer contains `text`.
async fn until(stream: &mut TcpStream, text: &str) -> String {
    let mut answer = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&answer).contains(text) {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("{text} comes"));
    String::from_utf8(answer).unwrap()
}

/// Checks that `answer` is one problem document of `status` and nothing else.
#[track_caller]
fn is_problem(answer: &str, status: u16) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("a head in {answer:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {head}");
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    assert_eq!(header("content-type").as_deref(), Some("application/problem+json"), "{head}");
    assert_eq!(header("content-length"), Some(body.len().to_string()), "{head}");
    assert_eq!(header("cache-control").as_deref(), Some("private, no-store"), "{head}");
    assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{head}");
    assert!(header("date").is_some(), "{head}");
    let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
    assert_eq!(problem["status"], status, "{problem}");
    assert!(problem["type"].as_str().unwrap().starts_with("urn:example:problem:"), "{problem}");
    assert!(!problem["detail"].as_str().unwrap().is_empty() && !problem["title"].as_str().unwrap().is_empty());
    problem["instance"].as_str().unwrap_or_else(|| panic!("which request it was: {problem}")).to_owned()
}

#[tokio::test]
async fn what_is_refused_unread_names_the_path_that_was_asked_for() {
    let server = Running::hello(Limits { head: SHORT, ..unlimited() });
    let long = "x".repeat(70_000);
    for (request, status, instance) in [
        ("GET /v1/search?q=\"x\" HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400, "/v1/search"),
        ("nonsense\r\nHost: /x\r\n\r\n".to_owned(), 400, "/"),
        (format!("GET /v1/x HTTP/1.1\r\nHost: a\r\nX: {long}{long}{long}\r\n\r\n"), 431, "/v1/x"),
        ("POST /v1/me HTTP/1.1\r\nHost: a\r\n".to_owned(), 408, "/v1/me"),
        ("GET /v1/m".to_owned(), 408, "/v1/m"),
    ] {
        let answer = server.exchange(request.as_bytes()).await;
        assert_eq!(is_problem(&answer, status), instance, "{:?}", &request[..request.len().min(80)]);
    }
    let answer = server.exchange(format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
    assert!(is_problem(&answer, 414).starts_with("/xxx"), "{answer}");
    // Of two requests on one connection the second.
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(&mut stream, "hello").await;
    stream.write_all(b"GET /second?\"").await.unwrap();
    assert_eq!(is_problem(&to_end(&mut stream).await, 408), "/second");
}

#[tokio::test]
async fn what_is_no_http_is_refused_with_a_problem() {
    let server = Running::hello(unlimited());
    let get = |rest: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{rest}\r\n");
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    for (request, status) in [
        ("GET /?q=\"x\" HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /\u{e9} HTTP/9.9\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}".to_owned(), 400),
        (get("a b: c\r\n"), 400),
        (get("Content-Length: x\r\n"), 400),
        (get("Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000)), 414),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(300_000)), 414),
        (get(&format!("X: {}\r\n", "y".repeat(200_000))), 431),
        (get(&many), 431),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), 400),
        (get("Host: b\r\n"), 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n".to_owned(), 400),
        (get("Authorization: x\r\nAuthorization: y\r\n"), 400),
    ] {
        let answer = server.exchange(request.as_bytes()).await;
        let shown = &request[..request.len().min(80)];
        assert!(answer.starts_with("HTTP/1.1"), "{shown:?}: {answer:?}");
        is_problem(&answer, status);
    }
    assert!(server.exchange(get("").as_bytes()).await.ends_with("hello"));
}

#[tokio::test]
async fn another_version_of_http_is_told_from_what_is_no_http() {
    let server = Running::hello(unlimited());
    let long = format!("/{}", "x".repeat(500));
    for (line, status) in [
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/3.7", 505),
        ("GET / HTTP/2.0", 505),
        (&format!("GET {long} HTTP/0.9"), 505),
        ("GET / HTTP/1.10", 400),
        ("GET / HTTP/x.1", 400),
        ("GET / HTTPS/3.0", 400),
        ("GET /", 400),
    ] {
        for end in ["\r\n", "\n"] {
            let answer = server.exchange(format!("{line}{end}Host: a{end}{end}").as_bytes()).await;
            is_problem(&answer, status);
        }
    }
}

#[tokio::test]
async fn a_body_in_another_transfer_coding_is_not_read() {
    let server = Running::hello(unlimited());
    for (coding, status) in [("gzip, chunked", 501), ("chunked, chunked", 400), ("chunked, gzip", 400), ("gzip", 400)] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n");
        let answer = server.exchange(format!("{head}2\r\n{{}}\r\n0\r\n\r\n").as_bytes()).await;
        assert_eq!(is_problem(&answer, status), "/", "{coding}");
    }
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n";
    assert!(server.exchange(chunked.as_bytes()).await.ends_with("hello"));
}

#[tokio::test]
async fn what_is_refused_before_it_comes_to_a_service_is_counted() {
    let limiter = || Limiter::new("1".parse().unwrap());
    for malformed in ["GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "GET /?q=\"x\" HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let counted = Server::new("test", "urn:example:problem:", unlimited()).counted_by(limiter());
        let server = Running::serve(counted, Router::new());
        let mut refused = 0;
        let last = loop {
            let answer = server.exchange(malformed.as_bytes()).await;
            if !answer.starts_with("HTTP/1.1 400") {
                break answer;
            }
            refused += 1;
            assert!(refused < 1_000, "{malformed:?}");
        };
        is_problem(&last, 429);
        assert!(last.contains("\r\nretry-after: 1\r\n") && refused >= 250, "{refused}: {last}");
    }
}

#[tokio::test]
async fn what_stands_before_what_is_no_http_is_answered_first() {
    let server = Running::hello(unlimited());
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /?q=\"x\" HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (first, second) = answer.split_once("hello").unwrap();
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    is_problem(second, 400);
}

#[tokio::test]
async fn an_answer_of_a_handler_is_left_as_it_is() {
    let router = Router::new().route("/", get(async || StatusCode::BAD_REQUEST));
    let server = Running::start(unlimited(), router);
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400") && !answer.contains("problem"), "{answer}");
}

#[tokio::test]
async fn half_a_head_is_given_up_with_an_answer_and_silence_without() {
    let server = Running::hello(Limits { head: SHORT, ..unlimited() });
    is_problem(&server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n").await, 408);
    is_problem(&server.exchange(b"PRI * HTTP/2.0\r\n").await, 408);
    assert_eq!(server.exchange(b"").await, "");
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(&mut stream, "hello").await;
    // The second request of a connection, too.
    stream.write_all(b"GET").await.unwrap();
    is_problem(&to_end(&mut stream).await, 408);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = Running::hello(Limits { idle: SHORT, ..unlimited() });
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
}

/// An answer without end. `ended` is told when it is given up.
fn endless(ended: mpsc::Sender<()>) -> Router {
    struct Told(mpsc::Sender<()>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.try_send(());
        }
    }
    let answer = async move || {
        let told = Told(ended.clone());
        let chunk = Bytes::from(vec![b'x'; 64 << 10]);
        Body::new(StreamBody::new(futures_util::stream::repeat_with(move || {
            let _ = &told;
            Ok::<_, std::convert::Infallible>(Frame::data(chunk.clone()))
        })))
    };
    Router::new().route("/", get(answer))
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let (ended, mut is_ended) = mpsc::channel(1);
    let server = Running::start(Limits { unread: SHORT, ..unlimited() }, endless(ended));
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::timeout(PATIENCE, is_ended.recv()).await.expect("it is given up").unwrap();
}

#[tokio::test]
async fn an_answer_may_take_as_long_as_it_likes() {
    let limits = Limits { head: SHORT, idle: SHORT, unread: SHORT, ..unlimited() };
    let (told, address) = watch::channel(None);
    let slowly = async move || {
        let parts = futures_util::stream::unfold(0, move |part| {
            let mut address = address.clone();
            async move {
                if part == 3 {
                    return None;
                }
                // Longer than every limit: others have met it meanwhile, one after the other.
                let address = address.wait_for(Option::is_some).await.unwrap().unwrap();
                for _ in 0..2 {
                    let mut half_a_head = TcpStream::connect(address).await.unwrap();
                    half_a_head.write_all(b"GET / HT").await.unwrap();
                    is_problem(&to_end(&mut half_a_head).await, 408);
                }
                Some((Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(format!("part {part};")))), part + 1))
            }
        });
        Body::new(StreamBody::new(parts))
    };
    let server = Running::start(limits, Router::new().route("/", get(slowly)));
    told.send_replace(Some(server.address));
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("part 0;") && answer.contains("part 2;"), "{answer}");
    let mut client = Http2::connect(&server, None).await;
    assert_eq!(client.get("/").await, (StatusCode::OK, "part 0;part 1;part 2;".into()));
}

#[tokio::test]
async fn at_the_limit_of_connections_there_is_an_answer() {
    let server = Running::hello(Limits { connections: 2, ..unlimited() });
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(request).await.unwrap();
        until(&mut stream, "hello").await;
        held.push(stream);
    }
    for _ in 0..5 {
        let answer = server.exchange(request).await;
        is_problem(&answer, 503);
        assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    }
    drop(held);
    let served = async {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        while !server.exchange(request).await.ends_with("hello") {}
    };
    tokio::time::timeout(PATIENCE, served).await.expect("there is room again");
}

#[tokio::test]
async fn five_hundred_clients_come_at_once() {
    let server = Running::hello(Limits { connections: 600, ..unlimited() });
    let address = server.address;
    let clients: Vec<_> = (0..512)
        .map(|_| {
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                until(&mut stream, "hello").await;
                stream
            })
        })
        .collect();
    let mut open = Vec::new();
    for client in clients {
        open.push(client.await.unwrap());
    }
    assert_eq!(open.len(), 512);
}

#[tokio::test]
async fn who_sends_all_before_reading_gets_the_answer_of_a_handler_that_reads_nothing() {
    let router = Router::new().route("/", post(async || StatusCode::FORBIDDEN));
    let server = Running::start(unlimited(), router);
    let mut stream = server.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n").await.unwrap();
    tokio::time::timeout(PATIENCE, stream.write_all(&vec![b'x'; 4_000_000])).await.unwrap().unwrap();
    assert!(to_end(&mut stream).await.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn who_has_ended_its_side_still_gets_the_answer() {
    let goes_on = Arc::new(Notify::new());
    let waits = goes_on.clone();
    let answer = async move || {
        waits.notified().await;
        "hello"
    };
    let router = Router::new().route("/", get(answer)).route("/other", get(async || "other"));
    let server = Running::start(unlimited(), router);
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    // The server has seen the end by the time it has answered somebody who came later: there is one thread here.
    let other = server.exchange(b"GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(other.ends_with("other"), "{other}");
    goes_on.notify_one();
    assert!(to_end(&mut stream).await.ends_with("hello"));
}

#[tokio::test]
async fn what_is_under_way_ends_before_the_server_does() {
    let (began, goes_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tells, waits) = (began.clone(), goes_on.clone());
    let answer = async move || {
        tells.notify_one();
        waits.notified().await;
        "hello"
    };
    let mut server = Running::start(unlimited(), Router::new().route("/", get(answer)));
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    began.notified().await;
    server.stop.take().unwrap().send(()).unwrap();
    assert_eq!(to_end(&mut idle).await, "");
    assert!(!server.served.is_finished());
    goes_on.notify_one();
    assert!(to_end(&mut busy).await.ends_with("hello"));
    drop((idle, busy));
    tokio::time::timeout(PATIENCE, server.served).await.expect("it ends").unwrap();
}

/// A client of HTTP/2 without TLS, by prior knowledge.
struct Http2 {
    requests: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    connection: JoinHandle<Result<(), hyper::Error>>,
}

impl Http2 {
    async fn connect(server: &Running, window: Option<u32>) -> Self {
        let stream = TokioIo::new(server.connect().await);
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (requests, connection) = builder.initial_stream_window_size(window).handshake(stream).await.unwrap();
        Self { requests, connection: tokio::spawn(connection) }
    }

    async fn send(&mut self, path: &str) -> hyper::Response<hyper::body::Incoming> {
        let request = Request::builder().uri(format!("http://a.example{path}")).body(Full::default()).unwrap();
        self.requests.send_request(request).await.unwrap()
    }

    async fn get(&mut self, path: &str) -> (StatusCode, String) {
        let response = self.send(path).await;
        let status = response.status();
        let body = tokio::time::timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap();
        (status, String::from_utf8(body.to_bytes().to_vec()).unwrap())
    }
}

#[tokio::test]
async fn http_2_is_spoken_without_tls() {
    let server = Running::hello(unlimited());
    let mut client = Http2::connect(&server, None).await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await, (StatusCode::OK, "hello".into()));
    }
    assert_eq!(client.get("/nothing").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn http_2_names_one_host_that_is_one() {
    let server = Running::hello(unlimited());
    let mut client = Http2::connect(&server, None).await;
    for (uri, host, status) in [
        ("http://a.example/", Some("a.example"), 200),
        ("http://u@a.example/", None, 400),
        ("http://a.example/", Some("b.example"), 400),
    ] {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let answer = client.requests.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{uri} {host:?}");
    }
}

#[tokio::test]
async fn a_head_of_http_2_that_is_too_large_is_refused_with_a_problem() {
    let server = Running::hello(unlimited());
    let mut client = Http2::connect(&server, None).await;
    let sent = async |client: &mut Http2, bytes: usize| {
        let request = Request::builder().uri("http://a.example/v1/me").header("x", "y".repeat(bytes));
        let response = client.requests.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes();
        (head, body)
    };
    assert_eq!(sent(&mut client, 60_000).await.0.status, StatusCode::NOT_FOUND);
    for bytes in [70_000, 200_000] {
        let (head, body) = sent(&mut client, bytes).await;
        assert_eq!(head.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(head.headers["content-type"], "application/problem+json");
        assert_eq!(head.headers["cache-control"], "private, no-store");
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&problem["status"], &problem["instance"]), (&431.into(), &"/v1/me".into()), "{problem}");
    }
    // What the library does not read it answers by itself, and the connection goes on.
    assert_eq!(sent(&mut client, 300_000).await.0.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(client.get("/").await, (StatusCode::OK, "hello".into()));
}

#[tokio::test]
async fn a_client_of_http_2_that_takes_nothing_of_an_answer_is_given_up() {
    let (ended, mut is_ended) = mpsc::channel(1);
    let router = endless(ended).route("/long", get(async || "x".repeat(100_000)));
    let server = Running::start(Limits { unread: SHORT, ..unlimited() }, router);
    for path in ["/", "/long"] {
        let mut client = Http2::connect(&server, Some(1)).await;
        // The answer is held, and nothing of its body is read.
        let _response = client.send(path).await;
        let ended = tokio::time::timeout(PATIENCE, client.connection).await;
        drop(ended.expect("the connection ends").unwrap());
    }
    assert_eq!(is_ended.recv().await, Some(()));
}

#[tokio::test]
async fn an_idle_connection_of_http_2_is_closed() {
    let server = Running::hello(Limits { idle: SHORT, ..unlimited() });
    let mut client = Http2::connect(&server, None).await;
    assert_eq!(client.get("/").await, (StatusCode::OK, "hello".into()));
    drop(tokio::time::timeout(PATIENCE, client.connection).await.expect("it ends").unwrap());
}
