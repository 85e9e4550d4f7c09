//! Live streams: server-sent events of a movie's comments and of a user's timeline.
//!
//! Each node reads the log once for all its streams ([`feed`]) and keeps the newest of it in memory ([`history`]). An event
//! is handed to the streams that show it ([`hub`]) when the read models have come to its place in the log, so whoever is
//! told of a comment and asks for it gets it. A list names where it was read ([`place`]), so that a stream goes on from there.
//! An event's id is how far its stream has come in the log ([`balcony_http::events`]), which
//! is the same on every node: with it, a client goes on where it was, as far as the history goes back.

mod ends;
mod feed;
mod frame;
mod history;
mod hub;
mod place;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use balcony_domain::MovieId;
use balcony_event_log::{EventLog, Positions};
use balcony_http::events::{EventIds, LastEventId};
use balcony_http::query::Query;
use balcony_http::{Consistency, Identity, PathId, Problem};
use balcony_store::Reader;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use self::ends::Ends;
use self::feed::Feed;
use self::hub::{Audience, Favorites, Hub, Refused};
use self::place::Named;
pub(crate) use self::place::named;
use self::stream::Stream;
use crate::hot::Hot;
use crate::{QueryApi, comments, me, movies};

/// The streams of a node. They end when the last handle is dropped. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Live(Arc<Node>);

struct Node {
    hub: Arc<Hub>,
    ids: EventIds,
    ends: Ends,
    reader: Reader,
    named: Named,
    feed: JoinHandle<()>,
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
    let answer = query.wait(&api.read_models, comments::READS).await?;
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
    let answer = query.wait(&api.read_models, me::READS).await?;
    Ok(answer.events(watch_timeline(&api, me.user, last).await))
}

async fn watch_timeline(api: &QueryApi, user: Uuid, last: Option<Vec<u8>>) -> Result<Body, Problem> {
    let live = api.live()?;
    // What changes from here on is in the history; what was before is looked up.
    let (taken_in, reached) = live.begun().await?;
    let since = api.reader.standing();
    if !api.read_models.wait_for(balcony_read_models::Favorites::NAME, &reached, Instant::now() + PATIENCE).await? {
        return Err(Problem::projection_behind());
    }
    let favorites: Vec<(Uuid,)> =
        api.reader.fetch("SELECT followee_id FROM favorites WHERE follower_id = $1", &[user.into()]).await?;
    api.reader.stayed_on(&since)?;
    let favorites = Favorites { of: favorites.into_iter().map(|(id,)| id).collect(), taken_in };
    live.watch(Audience::Timeline(user), last, Some(favorites)).await
}

impl Live {
    /// Reads `facts` from `log` for streams of what `reader` reads, and for the pages of `hot`.
    pub(crate) fn start(
        log: Arc<dyn EventLog>,
        facts: Arc<str>,
        reader: Reader,
        consistency: Consistency,
        hot: Option<Hot>,
    ) -> Self {
        let (hub, ids) = (Hub::new(), EventIds::new(consistency));
        let ends = Ends::new(log.clone(), facts.clone());
        let feed = Feed { log, facts, reader: reader.clone(), hub: hub.clone(), ids: ids.clone(), hot };
        let feed = tokio::spawn(feed.run());
        Self(Arc::new(Node { hub, ids, ends, reader, named: Named::default(), feed }))
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
        // Whoever reads a list once the stream stands, or is told to, finds what was before it. Where that takes too long,
        // the stream begins all the same.
        self.handed_out(&from).await;
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
