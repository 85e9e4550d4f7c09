//! Processes that are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use balcony_domain::event::{CommentDeleted, CommentPosted, MovieRegistered, ProfileChanged, UserFavorited};
use balcony_domain::{CommentId, Event, MovieId, Recorded, Role, Timestamp, UserId};
use balcony_event_log::testing::eventually;
use balcony_event_log::{EventLog, Headers, Message};
use reqwest::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::client::Client;
use crate::deployment::Deployment;
use crate::fold::{Fold, equals_a_fold};
use balcony_test_support::Services;

/// Writers that go on until they are stopped, and what they were told was done.
pub struct Load {
    stop: Arc<AtomicBool>,
    writers: JoinSet<()>,
    acknowledged: mpsc::UnboundedReceiver<(Uuid, Option<bool>)>,
    all: Vec<(Uuid, Option<bool>)>,
}

impl Load {
    pub fn start(deployment: &Deployment, movie: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, acknowledged) = mpsc::unbounded_channel();
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let client = deployment.user(&format!("writer {writer}"));
            writers.spawn(post_until_stopped(client, movie.to_owned(), stop.clone(), sender.clone()));
        }
        Self { stop, writers, acknowledged, all: Vec::new() }
    }

    /// Waits until `count` more posts were acknowledged.
    pub async fn acknowledged(&mut self, count: usize) {
        for _ in 0..count {
            self.all.push(self.acknowledged.recv().await.unwrap());
        }
    }

    /// Forgets to wait for what was acknowledged until now.
    pub fn catch_up(&mut self) {
        while let Ok(more) = self.acknowledged.try_recv() {
            self.all.push(more);
        }
    }

    /// Ends the writers and gives all that was acknowledged.
    pub async fn stop(mut self) -> Vec<(Uuid, Option<bool>)> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(more) = self.acknowledged.recv().await {
            self.all.push(more);
        }
        self.writers.join_all().await;
        self.all
    }
}

/// Posts comments, some of which it deletes again, until it is stopped or the service is gone. Tells of every post
/// that was acknowledged, and whether its deletion was.
async fn post_until_stopped(
    client: Client,
    movie: String,
    stop: Arc<AtomicBool>,
    acknowledged: mpsc::UnboundedSender<(Uuid, Option<bool>)>,
) {
    let path = format!("/v1/movies/{movie}/comments");
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let posted =
            client.try_command(reqwest::Method::POST, &path, Some(&json!({"body": format!("comment {number}")}))).await;
        let Ok(posted) = posted else { continue };
        if posted.status != StatusCode::CREATED {
            continue;
        }
        let id = posted.id().parse().unwrap();
        let mut deleted = Some(false);
        if number % 5 == 0 {
            let answer = client.try_command(reqwest::Method::DELETE, &posted.header("location"), None).await;
            // Without an answer the deletion may have been done or not.
            deleted = answer.ok().filter(|answer| answer.status == StatusCode::NO_CONTENT).map(|_| true);
        }
        acknowledged.send((id, deleted)).unwrap();
    }
}

/// Checks that what was acknowledged is in the fold.
pub fn assert_all_there(fold: &Fold, acknowledged: &[(Uuid, Option<bool>)]) {
    for (id, deleted) in acknowledged {
        let found = fold.comments.get(id).unwrap_or_else(|| panic!("{id} was acknowledged and is lost"));
        if let Some(deleted) = deleted {
            assert_eq!(found.2, *deleted, "{id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_keeps_every_acknowledged_command_through_kill_9() {
    let mut deployment = Deployment::embedded().await;
    let movie = deployment.admin().register_movie("A movie").await.id();
    let mut all = Vec::new();
    for round in 0..8 {
        let mut load = Load::start(&deployment, &movie);
        load.acknowledged(100 + 150 * round).await;
        deployment.kill("balcony");
        all.extend(load.stop().await);
        deployment.start("balcony", &[]).await;
    }

    let last = deployment.user("writer 0").comment(&movie, "the last one").await;
    let reader = deployment.nobody().having_seen(&last);
    let shown = reader.get(&format!("/v1/movies/{movie}?wait=10s")).await.expect(StatusCode::OK).json();
    assert!(deployment.process_mut("balcony").terminate().await.success());

    let fold = equals_a_fold(&deployment).await;
    assert_all_there(&fold, &all);
    assert_eq!(shown["comment_count"], fold.counts[&movie.parse::<Uuid>().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_killed_in_the_middle_of_50_000_events_loses_and_repeats_nothing() {
    const EVENTS: usize = 50_000;
    let Some(services) = Services::shared() else { return };
    let mut deployment = Deployment::distributed_idle(&services).await;
    deployment.start("first", &["projector"]).await;
    deployment.start("second", &["projector"]).await;
    let log = deployment.log().await;
    let appending = tokio::spawn(append(log.clone(), deployment.topics().facts, EVENTS));

    let mut database = deployment.database().await;
    for killed in ["first", "second", "first"] {
        let before: (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM balcony_comments_1.comments").fetch_one(&mut database).await.unwrap();
        eventually("the projectors are at it", Duration::from_secs(60), async || {
            let count: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM balcony_comments_1.comments")
                .fetch_one(&mut database)
                .await
                .unwrap();
            (count.0 > before.0 + 4_000 || count.0 > 40_000).then_some(())
        })
        .await;
        deployment.kill(killed);
        deployment.start(killed, &["projector"]).await;
    }
    appending.await.unwrap();

    let fold = equals_a_fold(&deployment).await;
    assert!(fold.comments.len() > EVENTS / 2, "{}", fold.comments.len());
}

/// Appends `count` events of every kind: some repeated, some deletions by who may not.
pub async fn append(log: Arc<dyn EventLog>, topic: Arc<str>, count: usize) {
    const WRITERS: usize = 64;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (log, topic) = (log.clone(), topic.clone());
        writers.spawn(async move {
            for number in 0..count / WRITERS {
                for event in events(writer, number) {
                    log.append(&topic, message(event)).await.unwrap();
                }
            }
        });
    }
    writers.join_all().await;
}

fn events(writer: usize, number: usize) -> Vec<Event> {
    let id = |kind: u128, number: usize| Uuid::from_u128(kind << 100 | (writer as u128) << 64 | number as u128);
    let movie = MovieId(id(1, number % 20));
    let author = UserId(id(2, number % 10));
    let other = UserId(id(2, (number + 1) % 10));
    let comment_id = CommentId(id(3, number));
    let posted =
        CommentPosted { comment_id, movie_id: movie, author_id: author, title: None, body: format!("number {number}") };
    let mut events = vec![Event::CommentPosted(posted.clone())];
    match number % 20 {
        0 => events.push(Event::MovieRegistered(MovieRegistered {
            movie_id: movie,
            title: "A movie".into(),
            company_id: None,
            released_on: None,
        })),
        1 => events.push(Event::CommentPosted(posted)),
        2 | 3 => {
            events.push(Event::CommentDeleted(CommentDeleted { comment_id, deleted_by: author, role: Role::User }))
        }
        4 => events.push(Event::CommentDeleted(CommentDeleted { comment_id, deleted_by: other, role: Role::User })),
        5 => {
            events.push(Event::CommentDeleted(CommentDeleted { comment_id, deleted_by: other, role: Role::Moderator }));
            events.push(Event::CommentPosted(posted));
        }
        6 => events.push(Event::ProfileChanged(ProfileChanged {
            user_id: author,
            display_name: format!("name {number}"),
            about: None,
            location: None,
            initial: number.is_multiple_of(40),
        })),
        7 => events.push(Event::UserFavorited(UserFavorited { follower_id: author, followee_id: other })),
        _ => {}
    }
    events
}

pub fn message(event: Event) -> Message {
    let time = Timestamp::from_milliseconds(1_790_000_000_000).unwrap();
    let recorded = Recorded { id: Uuid::now_v7(), time, request_digest: None, traceparent: None, event };
    let mut headers = Headers::new();
    for (name, value) in recorded.headers() {
        headers.push(name, value.as_bytes());
    }
    Message { key: recorded.event.aggregate().to_string().into_bytes(), headers, payload: recorded.event.data() }
}
