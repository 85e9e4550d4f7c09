//! Commands that are sent again under their key.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use crate::deployment::Deployment;

/// How often a client leaves.
const POSTS: u64 = 300;

pub async fn a_repeated_command_is_done_once(deployment: Deployment) {
    let admin = deployment.admin().with_key("register");
    let movie = admin.register_movie("Once").await.id();
    assert_eq!(admin.register_movie("Once").await.id(), movie);
    let other = admin.post("/v1/movies", &json!({"title": "Twice"})).await;
    other.problem(422);

    let mia = deployment.user("Mia").with_key("k");
    let comments = format!("/v1/movies/{movie}/comments");
    let first = mia.comment(&movie, "hello").await;
    for _ in 0..2 {
        let again = mia.comment(&movie, "hello").await;
        assert_eq!((again.id(), again.header("location")), (first.id(), first.header("location")));
    }
    mia.post(&comments, &json!({"body": "goodbye"})).await.problem(422);
    let last = mia.comment(&movie, "hello").await;
    assert_eq!(mia.clone().having_seen(&last).get(&comments).await.items("body"), ["hello"]);

    // The key is the user's, the method's and the path's own.
    let jonas = deployment.user("Jonas").with_key("k").comment(&movie, "hello").await;
    assert_ne!(jonas.id(), first.id());
    let second_movie = deployment.admin().register_movie("Another").await.id();
    let elsewhere = mia.comment(&second_movie, "goodbye").await;
    assert_ne!(elsewhere.id(), first.id());
}

pub async fn twenty_at_once_make_one(deployment: Deployment) {
    let movie = deployment.admin().register_movie("Once").await.id();
    let path = format!("/v1/movies/{movie}/comments");
    let mut requests = JoinSet::new();
    for number in 0..20 {
        // Half of them ask for something else under the same key: whoever comes first decides.
        let (mia, path) = (deployment.user("Mia").with_key("race"), path.clone());
        requests.spawn(async move {
            let body = ["even", "odd"][number % 2];
            (body, mia.post(&path, &json!({"body": body})).await)
        });
    }
    let mut ids = Vec::new();
    let mut bodies = Vec::new();
    while let Some(ended) = requests.join_next().await {
        let (body, answer) = ended.unwrap();
        match answer.status {
            StatusCode::CREATED => {
                ids.push(answer.id());
                bodies.push(body);
            }
            StatusCode::CONFLICT => assert!(!answer.header("retry-after").is_empty()),
            _ => drop(answer.problem(422)),
        }
    }
    ids.dedup();
    bodies.dedup();
    assert_eq!((ids.len(), bodies.len()), (1, 1), "{ids:?} {bodies:?}");

    let last = deployment
        .user("Mia")
        .with_key("race")
        .post(&path, &json!({"body": bodies[0]}))
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(deployment.nobody().having_seen(&last).get(&path).await.items("body"), bodies);
}

/// A client whose connection breaks while its command is done sends it again.
pub async fn who_leaves_and_comes_again_makes_one(deployment: Deployment) {
    let movie = deployment.admin().register_movie("Once").await.id();
    let path = format!("/v1/movies/{movie}/comments");
    let mia = deployment.user("Mia");
    let (address, token) = (mia.commands.trim_start_matches("http://").to_owned(), mia.token().unwrap().to_owned());
    mia.comment(&movie, "the first, which registers its author").await;
    let connect = || {
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    };
    let mut posted = BTreeSet::new();
    for number in 0..POSTS {
        let body = r#"{"body":"hello"}"#;
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: balcony\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: key-{number}\r\n\
             Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (mut first, mut second) = (connect(), connect());
        first.write_all(request.as_bytes()).unwrap();
        second.write_all(request.as_bytes()).unwrap();
        // Gone, and said to be: the service does not go on for nobody. It may have done anything of the command by now.
        socket2::SockRef::from(&first).set_linger(Some(Duration::ZERO)).unwrap();
        drop(first);
        let mut answer = String::new();
        second.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        posted.insert(answer.rsplit("\r\n\r\n").next().unwrap().to_owned());
    }
    let exported = deployment.command(&["export"]).output().unwrap();
    let exported = String::from_utf8(exported.stdout).unwrap();
    let records = exported.lines().filter(|line| line.contains("balcony.comment.posted."));
    assert_eq!((posted.len() as u64, records.count() as u64), (POSTS, POSTS + 1));
}

pub async fn a_refused_request_does_not_use_up_its_key(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mia = deployment.user("Mia").with_key("k");
    let path = format!("/v1/movies/{movie}/comments");
    mia.post(&path, &json!({"body": ""})).await.problem(422);
    mia.post(&path, &json!({"body": "now"})).await.expect(StatusCode::CREATED);
}

pub async fn a_repeated_post_of_a_deleted_comment_stays_deleted(deployment: Deployment) {
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mia = deployment.user("Mia").with_key("k");
    let posted = mia.comment(&movie, "gone").await;
    let jonas = deployment.user("Jonas");
    let author = mia.clone().having_seen(&posted).get(&posted.header("location")).await.json()["author"]["id"].clone();
    jonas.put(&format!("/v1/me/favorites/{}", author.as_str().unwrap())).await.expect(StatusCode::NO_CONTENT);
    mia.delete(&posted.header("location")).await.expect(StatusCode::NO_CONTENT);

    let again = mia.comment(&movie, "gone").await;
    assert_eq!(again.id(), posted.id());
    let jonas = jonas.having_seen(&again);
    jonas.get(&posted.header("location")).await.problem(410);
    for list in ["/v1/comments", &format!("/v1/movies/{movie}/comments"), "/v1/me/timeline"] {
        assert!(jonas.get(list).await.items("id").is_empty(), "{list}");
    }
    let count = jonas.get(&format!("/v1/movies/{movie}")).await.json()["comment_count"].clone();
    assert_eq!(count, 0);
}
