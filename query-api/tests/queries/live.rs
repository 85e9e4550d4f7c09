//! Lists, and the streams that go on from them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use balcony_domain::Event;
use balcony_event_log::memory::MemoryLog;
use balcony_event_log::testing::eventually;
use balcony_event_log::{AppendError, BoxFuture, EventLog, LogError, Message, Position, Positions, Reader, Topic};
use balcony_read_models::{Comments, Favorites, Registry};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::sync::Notify;
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

    /// Whether nothing is told for a while.
    async fn is_silent(&mut self) -> bool {
        timeout(A_WHILE, self.posts(1)).await.is_err()
    }

    /// The ids of the next `count` comments that are told of.
    async fn posts(&mut self, count: usize) -> BTreeSet<Uuid> {
        let mut posts = Vec::new();
        while posts.len() < count {
            posts.extend(self.next_post().await);
        }
        posts.into_iter().collect()
    }

    /// The ids of the comments that are told of, up to `last`.
    async fn posts_until(&mut self, last: Uuid) -> Vec<Uuid> {
        let mut posts = Vec::new();
        while posts.last() != Some(&last) {
            posts.extend(self.next_post().await);
        }
        posts
    }

    /// The comment that the next event tells of, if it tells of one.
    async fn next_post(&mut self) -> Option<Uuid> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                assert!(!event.contains("event: reset"), "{event}");
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let data: Value = serde_json::from_str(data.unwrap_or("{}")).unwrap();
                self.unread = rest.to_owned();
                return data["id"].as_str().map(|id| id.parse().unwrap());
            }
            let part = timeout(PATIENCE, self.body.next()).await.expect("an event comes").unwrap().unwrap();
            self.unread.push_str(std::str::from_utf8(&part).unwrap());
        }
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

/// A log that is away for as long as a test says, to whoever asks where it ends.
struct Away {
    log: MemoryLog,
    is_away: Arc<AtomicBool>,
    asked: Arc<Notify>,
}

impl EventLog for Away {
    fn topics(&self) -> &[Topic] {
        self.log.topics()
    }

    fn append<'a>(&'a self, topic: &'a str, message: Message) -> BoxFuture<'a, Result<Position, AppendError>> {
        self.log.append(topic, message)
    }

    fn starts<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
        self.log.starts(topics)
    }

    fn ends<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
        if self.is_away.load(Ordering::SeqCst) {
            self.asked.notify_one();
            return Box::pin(async { Err(LogError::Unavailable("it is away".into())) });
        }
        self.log.ends(topics)
    }

    fn read(&self, from: Positions) -> Reader {
        self.log.read(from)
    }

    fn join(&self, group: &str, topics: &[Arc<str>]) -> Reader {
        self.log.join(group, topics)
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, LogError>> {
        self.log.identity()
    }
}

/// A new author, in the partition that is given, of a comment on `film` in another.
fn apart(world: &mut World, film: Uuid) -> (i32, Event, Event) {
    let author = world.new_id();
    let profile = user(author, "New", None);
    let partition = world.partition_of(profile.clone());
    loop {
        let posted = comment(world.new_id(), film, author, "by somebody new");
        if world.partition_of(posted.clone()) != partition {
            return (partition, profile, posted);
        }
    }
}

fn id_of(posted: &Event) -> Uuid {
    let Event::CommentPosted(posted) = posted else { panic!("{posted:?} is a post") };
    posted.comment_id.0
}

/// As where the registry was rolled back, and reads again what the node has read long ago.
pub(crate) async fn a_comment_whose_author_the_registry_does_not_have_yet_is_told_once_it_has(mut world: World) {
    let (film, author) = settle(&mut world).await;
    let (partition, profile, posted) = apart(&mut world, film);
    let first = id_of(&posted);
    for (at, next_offset) in &world.append(1_000, profile) {
        world.source().remove_below(at, next_offset).unwrap();
    }
    let router = world.with_pages(BYTES).await;
    let mut stream = Stream::open(&router, &format!("/v1/live/movies/{film}"), &[]).await;
    world.append(1_001, posted);
    world.catch_up(&[Comments::NAME, Favorites::NAME]).await;
    world.read(Registry::NAME, usize::MAX, |number| number != partition).await;
    assert!(stream.is_silent().await);
    let second = world.new_id();
    world.append(1_002, comment(second, film, author, "by somebody known"));
    world.catch_up(EVERYTHING).await;
    assert_eq!(stream.posts(2).await, BTreeSet::from([first, second]));

    // What names nobody at all is passed over, and stops nothing.
    let (nameless, third) = (world.new_id(), world.new_id());
    world.append(1_003, comment(nameless, film, Uuid::nil(), "by nobody"));
    world.append(1_004, comment(third, film, author, "by somebody known"));
    world.catch_up(EVERYTHING).await;
    assert_eq!(stream.posts_until(third).await, [third]);
}

pub(crate) async fn who_comes_again_is_told_of_a_comment_whose_author_the_registry_has_lost_and_got_again(
    mut world: World,
) {
    let (film, author) = settle(&mut world).await;
    let router = world.with_pages(BYTES).await;
    let path = format!("/v1/live/movies/{film}");
    let listed = ask(&router, &format!("/v1/movies/{film}/comments"), &[]).await;
    let last_event = [("last-event-id", listed.headers["last-event-id"].to_str().unwrap())];
    let mut streams = [Stream::open(&router, &path, &[]).await];
    let (partition, profile, posted) = apart(&mut world, film);
    let first = id_of(&posted);
    world.append(1_000, posted);
    let second = world.new_id();
    world.append(1_001, comment(second, film, author, "by somebody known"));
    world.catch_up(EVERYTHING).await;
    // The author's partition ends before the profile, so it names nobody: the node has passed it over.
    assert_eq!(streams[0].posts_until(second).await, [second]);
    // What the registry is behind with by then is read before the first is passed over again.
    world.append(1_002, profile);
    world.read(Registry::NAME, usize::MAX, |number| number != partition).await;
    let mut again = Stream::open(&router, &path, &last_event).await;
    assert!(again.is_silent().await);
    world.catch_up(EVERYTHING).await;
    assert_eq!(again.posts(2).await, BTreeSet::from([first, second]));
}

pub(crate) async fn while_the_log_is_away_streams_stay_open(mut world: World) {
    let (film, author) = settle(&mut world).await;
    let (is_away, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let log = Away { log: world.source().clone(), is_away: is_away.clone(), asked: asked.clone() };
    let router = world.with_live(Arc::new(log), BYTES).await;
    let mia = bearer("mia");
    let path = format!("/v1/live/movies/{film}");
    let mut streams = vec![
        Stream::open(&router, &path, &[]).await,
        Stream::open(&router, "/v1/live/me/timeline", &[("authorization", &mia)]).await,
    ];
    is_away.store(true, Ordering::SeqCst);
    let id = world.new_id();
    world.append(1_000, comment(id, film, author, "a comment"));
    world.catch_up(EVERYTHING).await;
    timeout(PATIENCE, asked.notified()).await.expect("where it ends is asked of the log");
    for stream in &mut streams {
        assert!(stream.is_silent().await);
    }
    // Whoever comes meanwhile gets a stream, too.
    streams.push(Stream::open(&router, &path, &[]).await);
    is_away.store(false, Ordering::SeqCst);
    for stream in &mut streams {
        assert_eq!(stream.posts_until(id).await, [id]);
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
