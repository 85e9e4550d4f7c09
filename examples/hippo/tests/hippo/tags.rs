//! Balcony's comments are read from its log, tagged, and served beside what Balcony knows.

use std::sync::Arc;

use balcony_domain::event::{CommentPosted, ProfileChanged};
use balcony_domain::{CommentId, Event, MovieId, Recorded, Timestamp, UserId};
use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::kafka::KafkaLog;
use balcony_event_log::{EventLog, Headers, Message, Topic};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::world::{Hippo, package};

const AUTHOR: Uuid = Uuid::from_u128(7);

/// A record as Balcony writes it.
fn record(id: u128, event: Event) -> Message {
    let time = Timestamp::from_milliseconds(0).unwrap();
    let recorded = Recorded { id: Uuid::from_u128(id), time, request_digest: None, traceparent: None, event };
    let mut headers = Headers::new();
    recorded.headers().into_iter().for_each(|(name, value)| headers.push(name, value.as_bytes()));
    Message { key: recorded.event.aggregate().to_string().into_bytes(), headers, payload: recorded.event.data() }
}

fn comment(id: u128, title: Option<&str>, body: &str) -> Message {
    let (comment_id, movie_id) = (CommentId(Uuid::from_u128(id)), MovieId(Uuid::from_u128(9)));
    let (title, body) = (title.map(str::to_owned), body.to_owned());
    record(id, Event::CommentPosted(CommentPosted { comment_id, movie_id, author_id: UserId(AUTHOR), title, body }))
}

/// Something that answers as Balcony's query API does.
async fn balcony() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(socket.read_u8().await.unwrap());
            }
            let path = String::from_utf8(request).unwrap().split(' ').nth(1).unwrap().to_owned();
            let (status, body) = match path.strip_prefix(&format!("/v1/users/{AUTHOR}")) {
                Some("") => ("200 OK", json!({"id": AUTHOR, "display_name": "Mia"})),
                Some("/journey") => ("200 OK", json!({"items": [{"type": "comment.posted"}], "next_cursor": null})),
                _ => ("404 Not Found", json!({})),
            };
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            socket.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn comments_in_english_and_japanese_are_scored_tagged_and_served() {
    let config = std::fs::read_to_string(package().join("tags.toml")).unwrap();
    let (balcony, id) = (balcony().await, Uuid::now_v7().simple().to_string());
    let topic = format!("balcony{id}.events");
    let config =
        config.replace("http://127.0.0.1:8080", &balcony).replace("\"balcony.events\"", &format!("\"{topic}\""));
    let on_kafka = config.lines().filter(|line| !line.starts_with("data_dir")).collect::<Vec<_>>().join("\n");
    let embedded = Hippo::embedded(&config.replace("../../balcony-data", "balcony-data"));
    for mut hippo in [Some(embedded), Hippo::distributed(&on_kafka).await].into_iter().flatten() {
        let topics = [Topic { name: topic.as_str().into(), partitions: 2, replication: 1, retention: None }];
        std::fs::create_dir(hippo.path("balcony-data")).unwrap();
        let theirs: Arc<dyn EventLog> = match hippo.brokers() {
            Some(brokers) => Arc::new(KafkaLog::open(&brokers, &topics).await.unwrap()),
            None => Arc::new(EmbeddedLog::open(&hippo.path("balcony-data/log.db"), &topics).unwrap()),
        };
        let append = async |message| drop(theirs.append(&topic, message).await.unwrap());
        append(comment(1, Some("Great"), "I loved the MUSIC. Lovely?")).await;
        let profile = ProfileChanged {
            user_id: UserId(AUTHOR),
            display_name: "Mia".into(),
            about: None,
            location: None,
            initial: true,
        };
        append(record(2, Event::ProfileChanged(profile))).await;
        hippo.start();
        hippo.finished("tag", 1).await;
        hippo.kill();
        append(comment(3, None, "結末は退屈で、音楽もひどい。")).await;
        hippo.start();
        hippo.finished("tag", 2).await;
        append(comment(4, None, "A film.")).await;
        hippo.finished("tag", 3).await;

        let tagged = |id, language, score, tags: &[&str]| json!({"comment_id": Uuid::from_u128(id), "author_id": AUTHOR, "language": language, "score": score, "tags": tags});
        let expected = [
            tagged(1, "en", 4, &["music", "praise"]),
            tagged(3, "ja", -5, &["criticism", "ending", "music"]),
            tagged(4, "en", 0, &[]),
        ];
        for (id, expected) in [1_u128, 3, 4].into_iter().zip(&expected) {
            let path = format!("/v1/comments/{}/tags", Uuid::from_u128(id));
            let answer = hippo.served(&path).await;
            assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), *expected);
        }
        let user: Value = serde_json::from_str(&hippo.served(&format!("/v1/users/{AUTHOR}")).await).unwrap();
        assert_eq!((&user["profile"]["display_name"], &user["score"]), (&json!("Mia"), &json!(-1)));
        assert_eq!(user["journey"]["items"][0]["type"], "comment.posted");
        assert_eq!(user["tags"], json!({"criticism": 1, "ending": 1, "music": 2, "praise": 1}));
        assert_eq!(user["scores"], json!([expected[2], expected[1], expected[0]]));
        let other = Uuid::from_u128(1);
        assert_eq!(hippo.ask(&format!("/v1/users/{other}"), None).await.0, 404);
        assert_eq!(hippo.ask(&format!("/v1/comments/{AUTHOR}/tags"), None).await.0, 404);
        hippo.stop();
        assert_eq!(hippo.messages("comment-tags").len(), 3);
        assert_eq!(hippo.messages(&topic).len(), 3, "comments alone, each once");
    }
}
