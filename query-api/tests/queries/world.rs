//! An installation whose events are handed from the log to the real projections directly, when and as far as a test
//! says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request};
use balcony_domain::event::{
    CommentDeleted, CommentPosted, CompanyRegistered, MovieRegistered, MovieViewed, ProfileChanged, UserFavorited,
    UserUnfavorited,
};
use balcony_domain::{CommentId, CompanyId, DERIVED, Event, MovieId, Recorded, Timestamp, Topics, UserId};
use balcony_event_log::memory::{Clock, MemoryLog};
use balcony_event_log::{BoxFuture, EventLog, Position, Positions, Topic};
use balcony_http::probes::{self, Readiness};
use balcony_http::rate_limit::{Limiter, RateLimit};
use balcony_http::service::{Edge, service};
use balcony_http::telemetry::Telemetry;
use balcony_http::{Authority, Consistency, ConsistencyToken, Expected, Role, Subjects};
use balcony_projector::{Projection, Received, Serving};
use balcony_query_api::QueryApi;
use balcony_read_models::{Comments, Favorites, Journeys, Logged, Registry, Statistics};
use balcony_store::{Database, Generation, ReadModel, Reader, Settings, StoreError, Tx, Writer};
use futures_util::FutureExt as _;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use tower::ServiceExt as _;
use uuid::Uuid;

pub(crate) struct World {
    pub(crate) router: Router,
    database: Database,
    projections: Vec<Running>,
    source: MemoryLog,
    /// What is in it.
    log: Vec<Received<Logged>>,
    ids: u128,
}

struct Running {
    projection: Box<dyn Applies>,
    generation: Generation,
    writer: Writer,
    /// How much of the log it has applied.
    applied: Positions,
}

/// A projection of any type.
trait Applies: Send + Sync {
    fn read_model(&self) -> &ReadModel;
    fn apply<'a>(&'a self, events: &'a [Received<Logged>], tx: &'a mut Tx) -> BoxFuture<'a, Result<(), StoreError>>;
}

impl<P: Projection<Event = Logged>> Applies for P {
    fn read_model(&self) -> &ReadModel {
        Projection::read_model(self)
    }

    fn apply<'a>(&'a self, events: &'a [Received<Logged>], tx: &'a mut Tx) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(Projection::apply(self, events, tx))
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

pub(crate) const EVERYTHING: &[&str] =
    &[Registry::NAME, Comments::NAME, Favorites::NAME, Journeys::NAME, Statistics::NAME];
pub(crate) const PARTITIONS: u128 = 3;

impl World {
    pub(crate) async fn open(settings: &Settings) -> Self {
        let database = Database::open(settings).await.unwrap();
        let topics = topics();
        let all: Vec<Box<dyn Applies>> = vec![
            Box::new(Registry::new(&topics)),
            Box::new(Comments::new(&topics)),
            Box::new(Favorites::new(&topics)),
            Box::new(Journeys::new(&topics)),
            Box::new(Statistics::new(&topics)),
        ];
        let mut projections = Vec::new();
        for projection in all {
            let generation = database.live_or_new(projection.read_model()).await.unwrap();
            let writer = database.writer(&generation);
            projections.push(Running { projection, generation, writer, applied: Positions::new() });
        }
        let router = router(&query_api(&database).await);
        Self { router, database, projections, source: a_log(), log: Vec::new(), ids: 0 }
    }

    /// Appends an event, and gives the position after it.
    pub(crate) fn append(&mut self, at: i64, event: Event) -> Positions {
        let topic = topics().of(&event).clone();
        let (id, time) = (self.new_id(), time(at));
        let value = Logged(Recorded { id, time, request_digest: None, traceparent: None, event });
        let appended = self.source.append(&topic, value.message()).now_or_never();
        let position = appended.expect("memory does not wait").unwrap();
        let written = Positions::after(&position);
        let Position { partition, offset } = position;
        self.log.push(Received { partition, offset, appended_at: at, value: value.into() });
        written
    }

    /// Lets the projections called `names` read to the end of the log.
    pub(crate) async fn catch_up(&mut self, names: &[&str]) {
        for name in names {
            self.read(name, usize::MAX, |_| true).await;
        }
    }

    /// Lets the projection `name` read up to `most` events further, in one batch, in the partitions that `of` names.
    pub(crate) async fn read(&mut self, name: &str, most: usize, of: impl Fn(i32) -> bool) {
        let running = self.projections.iter_mut().find(|running| running.is(name)).unwrap();
        let topics = &running.projection.read_model().topics;
        let is_next = |event: &&Received<Logged>| {
            topics.contains(&event.partition.topic)
                && of(event.partition.partition)
                && event.offset >= running.applied.next_offset(&event.partition)
        };
        let events: Vec<_> = self.log.iter().filter(is_next).take(most).cloned().collect();
        let mut tx = running.writer.begin().await.unwrap();
        running.projection.apply(&events, &mut tx).await.unwrap();
        let mut reached = Positions::new();
        for event in &events {
            reached.advance(&event.partition, event.offset + 1);
        }
        for (partition, next_offset) in &reached {
            tx.execute(
                "INSERT INTO checkpoints (topic, partition, next_offset, epoch) VALUES ($1, $2, $3, 1)
                 ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
                &[partition.topic.as_ref().into(), partition.partition.into(), next_offset.into()],
            )
            .await
            .unwrap();
        }
        tx.commit().await.unwrap();
        let progress = self.database.progress();
        progress.announce(&running.generation, &reached, &progress.incarnation());
        running.applied.merge(&reached);
    }

    /// What the projection `name` has applied, in the order of the log.
    pub(crate) fn applied(&self, name: &str) -> impl Iterator<Item = &Recorded> {
        let running = self.projections.iter().find(|running| running.is(name)).unwrap();
        let topics = &running.projection.read_model().topics;
        self.log
            .iter()
            .filter(|event| topics.contains(&event.partition.topic))
            .filter(|event| event.offset < running.applied.next_offset(&event.partition))
            .map(|received| &received.value.0)
    }

    /// The query API that keeps pages of so many bytes, beside the one that keeps none.
    pub(crate) async fn with_pages(&self, bytes: usize) -> Router {
        self.with_live(Arc::new(self.source.clone()), bytes).await
    }

    /// The same, whose live streams read `log`.
    pub(crate) async fn with_live(&self, log: Arc<dyn EventLog>, bytes: usize) -> Router {
        router(&query_api(&self.database).await.with_live(log, topics().facts, bytes))
    }

    /// The log.
    pub(crate) fn source(&self) -> &MemoryLog {
        &self.source
    }

    /// The partition in which `event` would stand.
    pub(crate) fn partition_of(&self, event: Event) -> i32 {
        let topic = topics().of(&event).clone();
        let value = Logged(Recorded { id: Uuid::nil(), time: time(0), request_digest: None, traceparent: None, event });
        let appended = a_log().append(&topic, value.message()).now_or_never();
        appended.expect("memory does not wait").unwrap().partition.partition
    }

    /// Changes rows of the projection `name` without an event.
    pub(crate) async fn tamper(&self, name: &str, sql: &'static str, params: &[balcony_store::Value<'_>]) {
        let running = self.projections.iter().find(|running| running.is(name)).unwrap();
        let mut tx = running.writer.begin().await.unwrap();
        tx.execute(sql, params).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A reader of the read models beside the query API.
    pub(crate) async fn reader(&self) -> Reader {
        let models = self.projections.iter().map(|running| running.projection.read_model().clone());
        Reader::open(&self.database, models.collect()).await
    }

    /// Appends what happened, and lets all projections read it.
    pub(crate) async fn happen(&mut self, events: impl IntoIterator<Item = (i64, Event)>) {
        for (at, event) in events {
            self.append(at, event);
        }
        self.catch_up(EVERYTHING).await;
    }

    /// An id that no other thing has, and of no order in time.
    pub(crate) fn new_id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::new_v5(&Uuid::NAMESPACE_OID, &self.ids.to_be_bytes())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        ask(&self.router, path, &[]).await
    }

    pub(crate) async fn get_as(&self, name: &str, path: &str) -> Answer {
        ask(&self.router, path, &[("authorization", &bearer(name))]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(&self.router, path, headers).await
    }

    /// All items of a list, page by page, asked for by `name` if there is one.
    pub(crate) async fn walk(&self, name: Option<&str>, path: &str, limit: usize) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let path = format!("{path}{separator}limit={limit}{cursor}");
            let answer = match name {
                Some(name) => self.get_as(name, &path).await,
                None => self.get(&path).await,
            };
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            let page = answer.body["items"].as_array().unwrap();
            assert!(page.len() <= limit);
            items.extend(page.iter().cloned());
            match answer.body["next_cursor"].as_str() {
                Some(next) => {
                    assert_eq!(page.len(), limit, "a page before the last is full");
                    cursor = format!("&cursor={next}");
                }
                None => return items,
            }
        }
    }
}

impl Running {
    fn is(&self, name: &str) -> bool {
        *self.projection.read_model().name == *name
    }
}

impl Answer {
    /// Where each error is: `?` and the name of a parameter.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let errors = self.body["errors"].as_array().unwrap().iter();
        errors.map(|error| format!("?{}", error["parameter"].as_str().unwrap())).collect()
    }
}

pub(crate) async fn query_api(database: &Database) -> QueryApi {
    let catalogue = balcony_read_models::steps(&topics());
    QueryApi::open(database, &catalogue, consistency(), Serving::default()).await
}

pub(crate) fn router(api: &QueryApi) -> Router {
    let (routes, openapi) = api.routes();
    let edge = Edge {
        authority: authority(),
        limiter: Limiter::new(RateLimit::Off),
        cors_origins: Vec::new(),
        telemetry: Telemetry::new("balcony", PrometheusBuilder::new().build_recorder().handle()),
        problem_types: "urn:balcony:problem:".into(),
    };
    service(routes, openapi, probes::public(&Readiness::new(api.checks())), &edge)
}

pub(crate) async fn ask(router: &Router, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask_from([127, 0, 0, 1], router, path, headers).await
}

/// What is answered to somebody at this address.
pub(crate) async fn ask_from(from: [u8; 4], router: &Router, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path).extension(ConnectInfo(SocketAddr::from((from, 4711))));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

fn a_log() -> MemoryLog {
    let Topics { facts, views } = topics();
    let topic = |name| Topic { name, partitions: PARTITIONS as i32, replication: 1, retention: None };
    MemoryLog::new(&[topic(facts), topic(views)], Clock::at(SystemTime::UNIX_EPOCH))
}

fn topics() -> Topics {
    Topics::with_prefix("balcony.")
}

fn consistency() -> Consistency {
    consistency_of("this installation")
}

/// The tokens of the installation whose log is called `identity`.
pub(crate) fn consistency_of(identity: &str) -> Consistency {
    let Topics { facts, views } = topics();
    Consistency::new(identity, vec![facts, views], &[7; 32])
}

/// The token for `positions`.
pub(crate) fn token(positions: Positions) -> String {
    consistency().header(&ConsistencyToken(positions)).1.to_str().unwrap().to_owned()
}

fn authority() -> Authority {
    Authority::new(
        b"a secret that is long enough for it",
        "balcony",
        Subjects::derived_in(DERIVED),
        Expected::default(),
    )
}

pub(crate) fn bearer(name: &str) -> String {
    format!("Bearer {}", authority().issue(name, Role::User, 60).unwrap())
}

/// The user that the token for `name` stands for.
pub(crate) fn user_called(name: &str) -> Uuid {
    authority().user(name)
}

pub(crate) fn time(at: i64) -> Timestamp {
    Timestamp::from_milliseconds(at).unwrap()
}

/// The ids of items.
pub(crate) fn ids(items: &[Value]) -> Vec<Uuid> {
    items.iter().map(|item| item["id"].as_str().unwrap().parse().unwrap()).collect()
}

/// What a query string may hold.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

pub(crate) fn company(id: Uuid, name: &str) -> Event {
    let contact_email = "press@company.example".into();
    Event::CompanyRegistered(CompanyRegistered { company_id: CompanyId(id), name: name.into(), contact_email })
}

pub(crate) fn movie(id: Uuid, title: &str, company: Option<Uuid>) -> Event {
    let (movie_id, title, company_id) = (MovieId(id), title.into(), company.map(CompanyId));
    Event::MovieRegistered(MovieRegistered { movie_id, title, company_id, released_on: None })
}

pub(crate) fn user(id: Uuid, name: &str, location: Option<&str>) -> Event {
    Event::ProfileChanged(ProfileChanged {
        user_id: UserId(id),
        display_name: name.into(),
        about: None,
        location: location.map(Into::into),
        initial: false,
    })
}

pub(crate) fn comment(id: Uuid, movie: Uuid, author: Uuid, body: &str) -> Event {
    let (comment_id, movie_id, author_id) = (CommentId(id), MovieId(movie), UserId(author));
    Event::CommentPosted(CommentPosted { comment_id, movie_id, author_id, title: None, body: body.into() })
}

pub(crate) fn deletion(id: Uuid) -> Event {
    let deleted_by = UserId(Uuid::nil());
    Event::CommentDeleted(CommentDeleted {
        comment_id: CommentId(id),
        deleted_by,
        role: balcony_domain::Role::Moderator,
    })
}

pub(crate) fn favorite(follower: Uuid, followee: Uuid) -> Event {
    Event::UserFavorited(UserFavorited { follower_id: UserId(follower), followee_id: UserId(followee) })
}

pub(crate) fn unfavorite(follower: Uuid, followee: Uuid) -> Event {
    Event::UserUnfavorited(UserUnfavorited { follower_id: UserId(follower), followee_id: UserId(followee) })
}

pub(crate) fn view(movie: Uuid) -> Event {
    Event::MovieViewed(MovieViewed { movie_id: MovieId(movie), viewer_id: None })
}

/// Values that look random and are the same in every run.
pub(crate) struct Dice(proptest::test_runner::TestRunner);

impl Dice {
    pub(crate) fn new() -> Self {
        Self(proptest::test_runner::TestRunner::deterministic())
    }

    /// A value of `strategy`.
    pub(crate) fn roll<S: proptest::strategy::Strategy>(&mut self, strategy: S) -> S::Value {
        use proptest::strategy::ValueTree as _;
        strategy.new_tree(&mut self.0).unwrap().current()
    }

    /// One of `choices`.
    pub(crate) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.roll(0..choices.len())].clone()
    }
}

/// What a reader should see, kept in the plainest form.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) movies: Vec<(Uuid, Option<Uuid>)>,
    pub(crate) users: Vec<(Uuid, &'static str, Option<&'static str>)>,
    pub(crate) comments: BTreeMap<Uuid, Posted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) id: Uuid,
    pub(crate) movie: Uuid,
    pub(crate) author: Uuid,
    pub(crate) at: i64,
}

/// Names whose order by code point is neither that of a language nor that of UTF-16, and two that are equal.
pub(crate) const NAMES: &[&str] = &["Zoë", "zoe", "Éa", "Z", "z", "\u{ff5a}oe", "😀", "Mia", "Mia", "mia 2"];
const LOCATIONS: &[Option<&str>] = &[None, Some("Oslo"), Some("大阪")];

impl Model {
    /// Companies, movies and users.
    pub(crate) async fn people(world: &mut World) -> Self {
        let companies = [world.new_id(), world.new_id()];
        let mut model = Self::default();
        let mut events = vec![(0, company(companies[0], "A")), (0, company(companies[1], "B"))];
        for (number, owner) in
            [None, Some(companies[0]), Some(companies[0]), Some(companies[1])].into_iter().enumerate()
        {
            let id = world.new_id();
            model.movies.push((id, owner));
            events.push((number as i64, movie(id, &format!("Movie {number}"), owner)));
        }
        for (number, &name) in NAMES.iter().enumerate() {
            let id = world.new_id();
            let location = LOCATIONS[number % LOCATIONS.len()];
            model.users.push((id, name, location));
            events.push((number as i64, user(id, name, location)));
        }
        world.happen(events).await;
        model
    }

    /// Posts a comment at some time before `before`, often at the same as another.
    pub(crate) fn post(&mut self, world: &mut World, dice: &mut Dice, before: i64) {
        let id = world.new_id();
        let (movie, _) = dice.pick(&self.movies);
        // Some write much, most little.
        let (low, high) = (dice.roll(0..self.users.len()), dice.roll(0..self.users.len()));
        let author = self.users[low.min(high)].0;
        let at = dice.roll(0..before);
        world.append(at, comment(id, movie, author, "…"));
        self.comments.insert(id, Posted { id, movie, author, at });
    }

    /// Deletes a comment.
    pub(crate) fn delete(&mut self, world: &mut World, dice: &mut Dice) {
        let ids: Vec<Uuid> = self.comments.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = dice.pick(&ids);
        world.append(1_000, deletion(id));
        self.comments.remove(&id);
    }

    pub(crate) fn location(&self, user: Uuid) -> Option<&'static str> {
        self.users.iter().find(|(id, ..)| *id == user).unwrap().2
    }

    /// The comments for which `holds`, the newest first.
    pub(crate) fn newest(&self, holds: impl Fn(&Posted) -> bool) -> Vec<Uuid> {
        let mut posted: Vec<_> = self.comments.values().filter(|posted| holds(posted)).collect();
        posted.sort_by_key(|posted| std::cmp::Reverse((posted.at, posted.id)));
        posted.into_iter().map(|posted| posted.id).collect()
    }

    /// The comments for which `holds`, by their authors' names.
    pub(crate) fn by_author(&self, holds: impl Fn(&Posted) -> bool) -> Vec<Uuid> {
        let name = |author: Uuid| self.users.iter().find(|(id, ..)| *id == author).unwrap().1;
        let mut posted: Vec<_> = self.comments.values().filter(|posted| holds(posted)).collect();
        posted.sort_by_key(|posted| {
            let characters: Vec<char> = name(posted.author).chars().collect();
            (characters, posted.author, std::cmp::Reverse((posted.at, posted.id)))
        });
        posted.into_iter().map(|posted| posted.id).collect()
    }
}
