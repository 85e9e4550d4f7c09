//! Lists, and the streams that go on from them.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use balcony_event_log::testing::eventually;
use balcony_read_models::{Comments, Favorites, Registry};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::timeout;
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::world::{Dice, EVERYTHING, World, ask, bearer, comment, favorite, ids, movie, user, user_called};

const PATIENCE: Duration = Duration::from_secs(30);
const A_WHILE: Duration = Duration::from_millis(200);
const BYTES: usize = 1 << 20;

/// A stream that is open.
struct Stream {
    body: BodyDataStream,
    unread: String,
}

impl Stream {
    async fn open(router: &Router, path: &str, headers: &[(&str, &str)]) -> Self {
        let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        Self { body: response.into_body().into_data_stream(), unread: String::new() }
    }

    /// The ids of the comments that are told of, up to `last`.
    async fn posts_until(&mut self, last: Uuid) -> Vec<Uuid> {
        let mut posts = Vec::new();
        while posts.last() != Some(&last) {
            while let Some((event, rest)) = self.unread.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                assert!(!event.contains("event: reset"), "{event}");
                let data: Value = serde_json::from_str(data.unwrap_or("{}")).unwrap();
                posts.extend(data["id"].as_str().map(|id| id.parse::<Uuid>().unwrap()));
                self.unread = rest.to_owned();
            }
            if posts.last() != Some(&last) {
                let part = timeout(PATIENCE, self.body.next()).await.expect("an event comes").unwrap().unwrap();
                self.unread.push_str(std::str::from_utf8(&part).unwrap());
            }
        }
        posts
    }
}

/// A movie, and the reader Mia with the author among the favourites.
async fn settle(world: &mut World) -> (Uuid, Uuid) {
    let (film, author) = (world.new_id(), world.new_id());
    let mia = user_called("mia");
    let people = [user(author, "Author", None), user(mia, "Mia", None), favorite(mia, author)];
    world.happen([(1, movie(film, "Ran", None))]).await;
    world.happen(people.map(|event| (2, event))).await;
    (film, author)
}

/// However far each read model is when a list is read, and whatever comes to them before its stream is opened.
pub(crate) async fn what_comes_between_a_list_and_its_stream_is_in_one_of_them(mut world: World) {
    let mut dice = Dice::new();
    let (film, author) = settle(&mut world).await;
    let router = world.with_pages(BYTES).await;
    let mia = bearer("mia");
    let mia = ("authorization", mia.as_str());
    let ways = [
        (format!("/v1/movies/{film}/comments?limit=100"), format!("/v1/live/movies/{film}"), Vec::new()),
        ("/v1/me/timeline?limit=100".to_owned(), "/v1/live/me/timeline".to_owned(), vec![mia]),
    ];
    let mut posted = BTreeSet::new();
    for at in 0..30 {
        let mut post = |world: &mut World, time| {
            let id = world.new_id();
            world.append(time, comment(id, film, author, "a comment"));
            posted.insert(id);
            id
        };
        let time = 1_000 + 10 * at;
        post(&mut world, time);
        for name in [Registry::NAME, Comments::NAME, Favorites::NAME] {
            if dice.roll(0..2) == 1 {
                world.catch_up(&[name]).await;
            }
        }
        let (list, live, headers) = &ways[at as usize % ways.len()];
        let listed = eventually("the list says where it was read", PATIENCE, async || {
            let answer = ask(&router, list, headers).await;
            assert_eq!(answer.status, 200);
            answer.headers.contains_key("last-event-id").then_some(answer)
        })
        .await;

        post(&mut world, time + 1);
        world.catch_up(EVERYTHING).await;
        let last_event = listed.headers["last-event-id"].to_str().unwrap();
        let headers = [headers.as_slice(), &[("last-event-id", last_event)]].concat();
        let mut stream = Stream::open(&router, live, &headers).await;
        let last = post(&mut world, time + 2);
        world.catch_up(EVERYTHING).await;
        let told = stream.posts_until(last).await;
        assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len(), "nothing is told twice");
        let mut known: BTreeSet<Uuid> = ids(listed.body["items"].as_array().unwrap()).into_iter().collect();
        known.extend(told);
        assert_eq!(posted, known, "in round {at}");
    }
}

/// Whoever opens a stream first and reads the list then has everything, too.
pub(crate) async fn a_list_that_is_read_once_the_stream_stands_has_all_from_before(mut world: World) {
    let (film, author) = settle(&mut world).await;
    let router = world.with_pages(0).await;
    for (at, last_event) in (0..4).zip([None, Some("x")].into_iter().cycle()) {
        let id = world.new_id();
        world.append(1_000 + at, comment(id, film, author, "a comment"));
        let (router, film) = (router.clone(), film);
        let mut reading = tokio::spawn(async move {
            let headers: Vec<(&str, &str)> = last_event.map(|last| ("last-event-id", last)).into_iter().collect();
            let _stream = Stream::open(&router, &format!("/v1/live/movies/{film}"), &headers).await;
            ask(&router, &format!("/v1/movies/{film}/comments"), &[]).await
        });
        // Whoever does not wait for the read models has read the list by then.
        let early = timeout(A_WHILE, &mut reading).await;
        world.catch_up(EVERYTHING).await;
        let listed = match early {
            Ok(listed) => listed.unwrap(),
            Err(_) => reading.await.unwrap(),
        };
        assert!(ids(listed.body["items"].as_array().unwrap()).contains(&id), "{last_event:?}");
    }
}

pub(crate) async fn a_user_has_a_tenth_of_the_streams_and_one_more_when_one_ends(mut world: World) {
    const MOST: usize = 2_000;
    let (film, _) = settle(&mut world).await;
    let router = world.with_pages(BYTES).await;
    let path = format!("/v1/live/movies/{film}");
    let (mia, jonas) = (bearer("mia"), bearer("jonas"));
    let mia = [("authorization", mia.as_str())];
    let mut streams = Vec::with_capacity(MOST);
    for _ in 0..MOST {
        streams.push(Stream::open(&router, &path, &mia).await);
    }
    let refused = timeout(PATIENCE, ask(&router, &path, &mia)).await.expect("no stream");
    assert_eq!((refused.status, refused.headers.contains_key("retry-after")), (429, true));
    let detail = "a user may have 2000 open streams at a time; end some of them, or try again later";
    assert_eq!(refused.body["detail"], detail);
    drop(Stream::open(&router, &path, &[("authorization", &jonas)]).await);
    streams.pop();
    streams.push(Stream::open(&router, &path, &mia).await);
}
