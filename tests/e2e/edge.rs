//! What HTTP says of every request and every answer, whatever is asked.

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::deployment::Deployment;

/// A connection on which what is sent is written out.
struct Raw(TcpStream);

impl Raw {
    async fn send(base: &str, head: &[String]) -> Self {
        let mut stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
        let head = format!("{}\r\nHost: balcony\r\n\r\n", head.join("\r\n"));
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(stream)
    }

    /// What comes next, at least a whole head.
    async fn head(&mut self) -> String {
        let mut answer = Vec::new();
        while !answer.windows(4).any(|four| four == b"\r\n\r\n") && self.0.read_buf(&mut answer).await.unwrap() > 0 {}
        String::from_utf8(answer).unwrap()
    }

    async fn rest(mut self) -> String {
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn post(headers: &[&str]) -> Vec<String> {
    let lines = ["POST /v1/movies HTTP/1.1", "Content-Type: application/json"].iter().chain(headers);
    lines.map(|line| (*line).to_owned()).collect()
}

/// Checks that this is one refusal, without a word before it, after which the connection ends.
#[track_caller]
fn is_last_refusal(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.contains("\r\ncontent-type: application/problem+json\r\n"), "{answer}");
}

pub async fn a_body_that_will_be_refused_is_not_waited_for(deployment: Deployment) {
    let url = &deployment.nobody().commands;
    let too_long = post(&["Content-Length: 10000000000"]);
    is_last_refusal(&Raw::send(url, &too_long).await.rest().await, 413);
    let encoded = post(&["Content-Length: 10", "Content-Encoding: gzip"]);
    is_last_refusal(&Raw::send(url, &encoded).await.rest().await, 415);

    let awaited = ["Content-Length: 17", "Expect: 100-continue"];
    is_last_refusal(&Raw::send(url, &post(&awaited)).await.rest().await, 401);
    is_last_refusal(
        &Raw::send(url, &post(&[&awaited[..], &["Authorization: Bearer x"]].concat())).await.rest().await,
        401,
    );
    let token = format!("Authorization: Bearer {}", deployment.admin().token().unwrap());
    let elsewhere = ["PUT /v1/movies HTTP/1.1", awaited[0], awaited[1], &token].map(str::to_owned);
    is_last_refusal(&Raw::send(url, &elsewhere).await.rest().await, 405);

    let mut granted = Raw::send(url, &post(&[&awaited[..], &[&token]].concat())).await;
    assert_eq!(granted.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    granted.0.write_all(br#"{"title":"Ikiru"}"#).await.unwrap();
    assert!(granted.head().await.starts_with("HTTP/1.1 201"));
}

pub async fn an_answer_says_who_may_keep_it(deployment: Deployment) {
    let (mia, nobody) = (deployment.user("Mia"), deployment.nobody());
    let movie = deployment.admin().register_movie("Ikiru").await;
    let said = async |client: &Client, path: &str| {
        let answer = client.clone().having_seen(&movie).get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        answer.header("cache-control")
    };
    assert_eq!(said(&nobody, "/v1/movies").await, "no-cache");
    assert_eq!(said(&nobody, &movie.header("location")).await, "no-cache");
    assert_eq!(said(&nobody, "/v1/nothing").await, "private, no-store");
    assert_eq!(said(&mia, "/v1/movies").await, "private, no-cache");
    assert_eq!(said(&mia, "/v1/me").await, "private, no-store");
    assert_eq!(movie.header("cache-control"), "private, no-store");
    let docs = nobody.get("/docs").await.expect(StatusCode::OK);
    let policy = docs.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(!docs.text.contains("<script>") && !docs.text.contains("<style>"), "{}", docs.text);
    for path in ["/assets/docs.js", "/assets/docs.css"] {
        nobody.get(path).await.expect(StatusCode::OK);
    }
}

pub async fn options_says_what_a_path_takes(deployment: Deployment) {
    let mia = deployment.user("Mia");
    let allowed = async |path: &str| {
        let answer = mia.command(Method::OPTIONS, path, None).await.expect(StatusCode::NO_CONTENT);
        let mut methods: Vec<String> = answer.header("allow").split(',').map(str::to_owned).collect();
        methods.sort_unstable();
        methods
    };
    assert!(allowed("/v1/movies").await.contains(&"POST".to_owned()));
    assert_eq!(allowed("/v1/me/favorites/0192f0c1-7c3e-7b0a-9d58-2f6a1b3c4d5e").await, ["DELETE", "OPTIONS", "PUT"]);
    mia.command(Method::OPTIONS, "/v1/nothing", None).await.problem(404);
    deployment.nobody().command(Method::POST, "/v1/mail/unsubscribe/%ff", None).await.problem(404);
    deployment.admin().get("/v1/admin/topics/%ff/records").await.problem(404);
    let refused = mia.command(Method::PATCH, "/v1/movies", Some(&json!({}))).await;
    let allow = refused.header("allow");
    assert!(allow.contains("POST") && allow.contains("OPTIONS"), "{allow}");
    refused.problem(405);
    // What is asked for by CONNECT has no path, and the problem says which request it was all the same.
    let connect = ["CONNECT balcony:80 HTTP/1.1".to_owned(), "Connection: close".to_owned()];
    let connect = Raw::send(&mia.commands, &connect).await.rest().await;
    assert!(connect.contains("application/problem+json") && connect.contains("\"instance\":\"/\""), "{connect}");
    for path in ["/livez", "/readyz", "/openapi.json"] {
        mia.get(path).await.expect(StatusCode::OK);
        assert_eq!(mia.get(&format!("{path}?verbose=1")).await.problem(422), ["?verbose"], "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_may_ask_what_they_need() {
    let mut deployment = Deployment::embedded_idle();
    deployment.settings.push(("CORS_ORIGINS", "https://a.example,https://b.example".to_owned()));
    deployment.start_all().await;
    let page = deployment.nobody().with_header("origin", "https://b.example");
    let asking = page.clone().with_header("access-control-request-method", "POST");
    let preflight = asking.command(Method::OPTIONS, "/v1/movies", None).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(preflight.header("access-control-allow-origin"), "https://b.example");
    for name in ["if-none-match", "last-event-id", "idempotency-key", "consistency-token", "authorization"] {
        assert!(preflight.header("access-control-allow-headers").contains(name), "{name}");
    }
    let seen = page.get("/v1/me").await;
    assert_eq!(seen.header("access-control-allow-origin"), "https://b.example");
    assert_eq!(seen.header("vary"), "origin");
    assert!(seen.header("access-control-expose-headers").contains("www-authenticate"));
    seen.problem(401);
    let plain = page.command(Method::OPTIONS, "/v1/movies", None).await.expect(StatusCode::NO_CONTENT);
    assert!(plain.header("allow").contains("POST"));
    let stranger = deployment.nobody().with_header("origin", "https://c.example").get("/v1/movies").await;
    assert!(!stranger.headers.contains_key("access-control-allow-origin"));
}
