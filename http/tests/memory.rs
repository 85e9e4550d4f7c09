//! What a stream holds of memory. In a process of its own, whose memory nothing else changes.

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use balcony_http::server::{self, Limits, Server};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const STREAMS: usize = 1_000;
/// In KiB. Eight are what the HTTP library reads into, as many what it writes from, and what is never touched takes none.
const MOST: usize = 16;
const LONG: Duration = Duration::from_secs(120);

/// In KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[tokio::test]
async fn an_open_stream_holds_little_memory() {
    let endless = async || {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b":\n\n"))]);
        Body::from_stream(first.chain(futures_util::stream::pending()))
    };
    let listener = server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { connections: 2 * STREAMS, head: LONG, idle: LONG, unread: LONG };
    let server = Server::new("test", "urn:example:problem:", limits);
    tokio::spawn(async move {
        server.serve(listener, Router::new().route("/", get(endless)), std::future::pending()).await
    });

    let mut streams = Vec::with_capacity(STREAMS);
    let mut before = 0;
    for number in 0..STREAMS + 10 {
        if number == 10 {
            // What is there once for all is there by now.
            before = resident();
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: example\r\nAccept: text/event-stream\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        streams.push(stream);
    }
    let each = (resident() - before) / STREAMS;
    assert!(each < MOST, "{each} KiB");
}
