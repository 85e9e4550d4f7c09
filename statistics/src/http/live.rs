//! Counts as they move.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use balcony_http::events::{Frame, LastEventId};
use balcony_http::list::PageParams;
use balcony_http::query::Query;
use balcony_http::{PathId, Problem};
use tokio::time::timeout;

use super::api::StatisticsApi;
use super::list::{StatsParams, StreamName, Wanted, counts};
use super::sending::{body, snapshots};
use super::watched::{Full, Snapshot};

/// How long the first counts may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Counts as they move: `stats` with what `GET /v1/stats/{stream}` answers with the same parameters, at most once a second.
#[utoipa::path(
    get, path = "/v1/live/stats/{stream}", tag = "live", operation_id = "watch_stats",
    params(("stream" = String, Path, description = "The stream"), StatsParams, PageParams),
    responses((status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream")),
)]
pub(super) async fn watch(
    State(api): State<StatisticsApi>,
    PathId(StreamName(stream)): PathId<StreamName>,
    LastEventId(last): LastEventId,
    mut query: Query,
) -> Result<Response, Problem> {
    let wanted = Wanted::take(&api, &mut query.params, &stream)?;
    let answer = query.wait(&api.read_models, &[&api.model.name]).await?;
    Ok(answer.events(stream_of(&api, wanted, last).await))
}

async fn stream_of(api: &StatisticsApi, wanted: Wanted, last: Option<Vec<u8>>) -> Result<Body, Problem> {
    let room = api.watched.room()?;
    let (name, wanted, asked) = (wanted.name.clone(), Arc::new(wanted), api.clone());
    let read = move || {
        let (api, wanted) = (asked.clone(), wanted.clone());
        async move { snapshot(&api, &wanted).await.ok() }
    };
    let mut newest = api.watched.watch(name, read)?;
    let is_read = timeout(PATIENCE, newest.wait_for(Option::is_some)).await.is_ok_and(|read| read.is_ok());
    if !is_read {
        return Err(Problem::unavailable("live streams are not available now; try again"));
    }
    let is_known = last.map(|last| api.ids.read(&last).is_some());
    if is_known == Some(true) {
        // They may have moved meanwhile.
        newest.mark_changed();
    }
    let reset = newest.borrow().clone().filter(|_| is_known == Some(false));
    let first = reset.map(|snapshot| Frame::reset().with_id(&api.ids.text(&snapshot.positions)));
    Ok(body(first, snapshots(newest), api.ids.clone(), room))
}

/// The counts as they are now. How far they have come is asked before, so that it is at least so far.
async fn snapshot(api: &StatisticsApi, wanted: &Wanted) -> Result<Snapshot, Problem> {
    let reader = api.read_models.reader();
    let read = || async {
        let positions = reader.checkpoints(&api.model).await?;
        let frame = Frame::new("stats", &counts(api, wanted).await?);
        Ok(Snapshot { frame, positions })
    };
    reader.undisturbed(read).await
}

impl From<Full> for Problem {
    fn from(_: Full) -> Self {
        Self::unavailable("too many streams are open here; try again later")
    }
}
