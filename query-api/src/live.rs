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
mod watchers;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use balcony_event_log::{EventLog, Positions};
use balcony_http::events::EventIds;
use balcony_http::{Client, Consistency, Problem, Shares};
use balcony_store::Reader;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::ends::Ends;
use self::feed::Feed;
pub(crate) use self::hub::Favorites;
use self::hub::{ALL_SINCE, Hub, MOST_MISSED, Refused};
use self::place::{LAST_EVENT_ID, Named};
use self::stream::Stream;
pub(crate) use self::watchers::Audience;
use crate::hot::Hot;

/// The streams of a node. They end when the last handle is dropped. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Live(Arc<Node>);

struct Node {
    hub: Arc<Hub>,
    ids: EventIds,
    ends: Arc<Ends>,
    reader: Reader,
    named: Named,
    shares: Shares,
    feed: JoinHandle<()>,
}

/// How many streams a node has open at the most.
const MOST_STREAMS: usize = 20_000;
/// How long a stream waits for this node to have read what the client has.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Middleware that names where a list was read, of the read models called `reads`. Without it the list, and a stream that
/// begins at the log's end a moment later, could both miss what had not come to the read models.
pub(crate) async fn named(
    State((live, reads)): State<(Option<Live>, &'static [&'static str])>,
    request: Request,
    next: Next,
) -> Response {
    let Some(Live(node)) = live else { return next.run(request).await };
    let since = node.reader.standing();
    let place = node.named.place(&node.hub, &node.reader, &node.ids, reads).await;
    let mut response = next.run(request).await;
    // After a crash, or of another generation, the list may be of before.
    if let Some(place) = place.filter(|_| node.reader.stayed_on(&since).is_ok()) {
        response.headers_mut().insert(LAST_EVENT_ID, place);
    }
    response
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
        let ends = Arc::new(Ends::new(log.clone(), facts.clone()));
        let feed = Feed { log, facts, reader: reader.clone(), hub: hub.clone(), ids: ids.clone(), hot };
        let feed = tokio::spawn(feed.run());
        let shares = Shares::of("open streams", MOST_STREAMS);
        Self(Arc::new(Node { hub, ids, ends, reader, named: Named::default(), shares, feed }))
    }

    /// Ends every stream, and lets none begin.
    pub(crate) fn close(&self) {
        self.0.feed.abort();
        self.0.hub.end();
    }

    /// How many entries were taken in, and how far everything below was read by then, once there is anything.
    pub(crate) async fn begun(&self) -> Result<(u64, Arc<Positions>), Problem> {
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

    /// A stream of `client` for `audience`, from where `last` says, or from now.
    pub(crate) async fn watch(
        &self,
        client: Client,
        audience: Audience,
        last: Option<Vec<u8>>,
        favorites: Option<Favorites>,
    ) -> Result<Body, Problem> {
        let Node { hub, ids, reader, ends, shares, .. } = &*self.0;
        let stream = |subscription, share, is_reset| {
            Stream::new(subscription, share, ids.clone(), reader.clone(), ends.clone(), is_reset).into_body()
        };
        let share = shares.take(client)?;
        self.begun().await?;
        let resumed = last.is_some();
        if let Some(from) = last.and_then(|last| ids.read(&last)) {
            // Another node may be further.
            if self.handed_out(&from).await {
                match hub.subscribe(audience, from, favorites.clone(), MOST_MISSED) {
                    Err(Refused::TooOld) => {}
                    subscribed => {
                        let subscription = subscribed?;
                        let (missed, looked_at) = (subscription.backlog.len(), subscription.looked_at);
                        tracing::debug!(missed, looked_at, "a stream goes on");
                        return Ok(stream(subscription, share, false));
                    }
                }
            }
        }
        let (_, reached) = self.begun().await?;
        // Without the log there is nothing newer than what was read.
        let from = ends.now().await.unwrap_or_else(|| Positions::clone(&reached));
        // Whoever reads a list once the stream stands, or is told to, finds what was before it. Where that takes too long,
        // the stream begins all the same.
        self.handed_out(&from).await;
        let subscription = hub.subscribe(audience, from, favorites, ALL_SINCE)?;
        Ok(stream(subscription, share, resumed))
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
        }
    }
}

fn unavailable() -> Problem {
    Problem::unavailable("live streams are not available now; try again")
}
