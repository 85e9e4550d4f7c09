//! Live streams: server-sent events of a movie's comments, of a user's timeline, and of counts.
//!
//! Each node reads the log once for all its streams ([`feed`]) and keeps the newest of it in memory ([`history`]). An event
//! is handed to the streams that show it ([`hub`]) when the read models have come to its place in the log, so whoever is
//! told of a comment and asks for it gets it. An event's id is how far its stream has come in the log ([`event_id`]), which
//! is the same on every node: with it, a client goes on where it was, as far as the history goes back.

mod ends;
mod event_id;
mod feed;
mod frame;
mod history;
mod hub;
mod statistics;
mod stream;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::Response;
use balcony_domain::MovieId;
use balcony_event_log::{EventLog, Positions};
use balcony_http::describe::{Describe, Description};
use balcony_http::{Consistency, Identity, PathId, Problem};
use balcony_store::Reader;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use self::ends::Ends;
use self::event_id::EventIds;
use self::feed::Feed;
use self::hub::{Audience, Favorites, Hub, Refused};
use self::statistics::{Counts, Watched};
use self::stream::Stream;
use crate::page::PageParams;
use crate::query::Query;
use crate::stats::{StatsParams, StreamName, Wanted, counts};
use crate::{QueryApi, comments, me, movies};

/// The streams of a node. They end when the last handle is dropped. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Live(Arc<Node>);

struct Node {
    hub: Arc<Hub>,
    ids: EventIds,
    ends: Ends,
    reader: Reader,
    watched: Arc<Watched>,
    feed: JoinHandle<()>,
}

/// The id of the last event that the client has of this stream.
pub(crate) struct LastEventId(Option<Vec<u8>>);

#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header, which is read by name")]
struct LastEventIdHeader {
    /// The id of the last event that the client has of this stream, which then goes on after it. One that is too old, or
    /// of another installation, gives one `reset` event: load the list again.
    #[param(rename = "Last-Event-ID", nullable = false)]
    last_event_id: Option<String>,
}

/// How long a stream waits for this node to have read what the client has.
const PATIENCE: Duration = Duration::from_secs(2);

/// The comments on a movie as they are posted and deleted: `comment.posted` with the comment, `comment.deleted` with
/// its id.
#[utoipa::path(
    get, path = "/v1/live/movies/{id}", tag = "live", operation_id = "watch_movie",
    params(("id" = Uuid, Path, description = "The movie")),
    responses((status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream")),
)]
pub(crate) async fn movie(
    State(api): State<QueryApi>,
    PathId(id): PathId<MovieId>,
    LastEventId(last): LastEventId,
    query: Query,
) -> Result<Response, Problem> {
    let answer = query.wait(&api, comments::READS).await?;
    let watched = async {
        movies::check_known(&api, id).await?;
        api.live()?.watch(Audience::Movie(id.0), last, None).await
    };
    Ok(answer.events(watched.await))
}

/// The comments of one's favourite users as they are posted and deleted: `comment.posted` with the comment,
/// `comment.deleted` with its id. A favourite that is added meanwhile counts.
#[utoipa::path(
    get, path = "/v1/live/me/timeline", tag = "live", operation_id = "watch_timeline",
    responses((status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream")),
)]
pub(crate) async fn timeline(
    State(api): State<QueryApi>,
    me: Identity,
    LastEventId(last): LastEventId,
    query: Query,
) -> Result<Response, Problem> {
    let answer = query.wait(&api, me::READS).await?;
    Ok(answer.events(watch_timeline(&api, me.user, last).await))
}

async fn watch_timeline(api: &QueryApi, user: Uuid, last: Option<Vec<u8>>) -> Result<Body, Problem> {
    let live = api.live()?;
    // What changes from here on is in the history; what was before is looked up.
    let (taken_in, reached) = live.begun().await?;
    let since = api.reader.standing();
    if !api.wait_for(balcony_read_models::Favorites::NAME, &reached, Instant::now() + PATIENCE).await? {
        return Err(Problem::projection_behind());
    }
    let favorites: Vec<(Uuid,)> =
        api.reader.fetch("SELECT followee_id FROM favorites WHERE follower_id = $1", &[user.into()]).await?;
    api.reader.stayed_on(&since)?;
    let favorites = Favorites { of: favorites.into_iter().map(|(id,)| id).collect(), taken_in };
    live.watch(Audience::Timeline(user), last, Some(favorites)).await
}

/// Counts as they move: `stats` with what `GET /v1/stats/{stream}` answers with the same parameters, at most once a second.
#[utoipa::path(
    get, path = "/v1/live/stats/{stream}", tag = "live", operation_id = "watch_stats",
    params(("stream" = String, Path, description = "`events`, `comments` or `views`"), StatsParams, PageParams),
    responses((status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream")),
)]
pub(crate) async fn stats(
    State(api): State<QueryApi>,
    PathId(StreamName(stream)): PathId<StreamName>,
    LastEventId(last): LastEventId,
    mut query: Query,
) -> Result<Response, Problem> {
    let wanted = Wanted::take(&mut query.params, &stream)?;
    let answer = query.wait(&api, &[balcony_read_models::Statistics::NAME]).await?;
    Ok(answer.events(watch_stats(&api, wanted, last).await))
}

async fn watch_stats(api: &QueryApi, wanted: Wanted, last: Option<Vec<u8>>) -> Result<Body, Problem> {
    let live = api.live()?;
    live.begun().await?;
    let Node { hub, ids, watched, .. } = &*live.0;
    let (name, wanted, asked) = (wanted.name().to_owned(), Arc::new(wanted), api.clone());
    let read = move || {
        let (api, wanted) = (asked.clone(), wanted.clone());
        async move { serde_json::to_string(&counts(&api, &wanted).await.ok()?).ok() }
    };
    let mut newest = watched.watch(name, read).ok_or(Refused::Full)?;
    let is_read = timeout(PATIENCE, newest.wait_for(Option::is_some)).await.is_ok_and(|read| read.is_ok());
    is_read.then_some(()).ok_or_else(unavailable)?;
    let is_known = last.map(|last| ids.read(&last).is_some());
    if is_known == Some(true) {
        // They may have moved meanwhile.
        newest.mark_changed();
    }
    Ok(Counts::new(newest, hub.clone(), ids.clone(), is_known == Some(false)).into_body())
}

impl Live {
    /// Reads `facts` from `log` for streams of what `reader` reads.
    pub(crate) fn start(log: Arc<dyn EventLog>, facts: Arc<str>, reader: Reader, consistency: Consistency) -> Self {
        let (hub, ids) = (Hub::new(), EventIds::new(consistency));
        let ends = Ends::new(log.clone(), facts.clone());
        let feed = Feed { log, facts, reader: reader.clone(), hub: hub.clone(), ids: ids.clone() };
        let feed = tokio::spawn(feed.run());
        Self(Arc::new(Node { hub, ids, ends, reader, watched: Arc::default(), feed }))
    }

    /// Ends every stream, and lets none begin.
    pub(crate) fn close(&self) {
        self.0.feed.abort();
        self.0.hub.end();
    }

    /// How many entries were taken in, and how far everything below was read by then, once there is anything.
    async fn begun(&self) -> Result<(u64, Positions), Problem> {
        self.handed_out(&Positions::new()).await.then_some(()).ok_or_else(unavailable)?;
        self.0.hub.taken_in().ok_or_else(unavailable)
    }

    /// Whether everything below `positions` is handed out soon.
    async fn handed_out(&self, positions: &Positions) -> bool {
        let mut handed_out = self.0.hub.handed_out();
        let has_come =
            |handed_out: &Option<Arc<Positions>>| handed_out.as_ref().is_some_and(|reached| reached.covers(positions));
        timeout(PATIENCE, handed_out.wait_for(has_come)).await.is_ok_and(|waited| waited.is_ok())
    }

    /// A stream for `audience`, from where `last` says, or from now.
    async fn watch(
        &self,
        audience: Audience,
        last: Option<Vec<u8>>,
        favorites: Option<Favorites>,
    ) -> Result<Body, Problem> {
        let Node { hub, ids, reader, .. } = &*self.0;
        self.begun().await?;
        let resumed = last.is_some();
        if let Some(from) = last.and_then(|last| ids.read(&last)) {
            // Another node may be further.
            if self.handed_out(&from).await {
                match hub.subscribe(audience, from, favorites.clone()) {
                    Err(Refused::TooOld) => {}
                    subscribed => {
                        let subscription = subscribed?;
                        return Ok(Stream::new(subscription, ids.clone(), reader.clone(), false).into_body());
                    }
                }
            }
        }
        let (_, reached) = self.begun().await?;
        // Without the log there is nothing newer than what was read.
        let from = self.0.ends.now().await.unwrap_or(reached);
        let subscription = hub.subscribe(audience, from, favorites)?;
        Ok(Stream::new(subscription, ids.clone(), reader.clone(), resumed).into_body())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.feed.abort();
        self.hub.end();
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooOld | Refused::Closed => unavailable(),
            Refused::Full => Self::unavailable("too many streams are open here; try again later"),
        }
    }
}

fn unavailable() -> Problem {
    Problem::unavailable("live streams are not available now; try again")
}

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let value = parts.headers.get("last-event-id").filter(|value| !value.is_empty());
        Ok(Self(value.map(|value| value.as_bytes().to_vec())))
    }
}

impl Describe for LastEventId {
    fn describe(description: &mut Description<'_>) {
        description.takes::<LastEventIdHeader>();
    }
}
