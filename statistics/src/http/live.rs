//! Counts as they move.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use balcony_http::events::{Frame, LastEventId};
use balcony_http::list::PageParams;
use balcony_http::query::Query;
use balcony_http::{Client, PathId, Problem};

use super::api::StatisticsApi;
use super::list::{StatsParams, StreamName, Wanted, counts};
use super::sending::{body, snapshots};
use super::watched::Snapshot;

/// How long the first counts may take, and those that are as new as the client's.
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
    client: Client,
    LastEventId(last): LastEventId,
    mut query: Query,
) -> Result<Response, Problem> {
    let wanted = Wanted::take(&api, &mut query.params, &stream)?;
    let answer = query.wait(&api.read_models, &[&api.model.name]).await?;
    Ok(answer.events(stream_of(&api, client, wanted, last).await))
}

async fn stream_of(
    api: &StatisticsApi,
    client: Client,
    wanted: Wanted,
    last: Option<Vec<u8>>,
) -> Result<Body, Problem> {
    let room = api.watched.room(client)?;
    let (wanted, asked) = (Arc::new(wanted), api.clone());
    let read = {
        let wanted = wanted.clone();
        move || {
            let (api, wanted) = (asked.clone(), wanted.clone());
            async move { snapshot(&api, &wanted).await.ok() }
        }
    };
    let mut watching = api.watched.watch(Some(client), &wanted.name, read)?;
    let unavailable = || Problem::unavailable("live streams are not available now; try again");
    let now = watching.first(PATIENCE).await.ok_or_else(unavailable)?;
    let mut first = None;
    if let Some(last) = last {
        match api.ids.read_shown(&last) {
            Some((positions, shown)) => watching.go_on(shown, &positions, PATIENCE).await,
            None => first = Some(Frame::reset().with_id(&api.ids.text_of_shown(&now.positions, now.shown))),
        }
    }
    Ok(body(first, snapshots(watching), room))
}

/// The counts as they are now. How far they have come is asked before, so that it is at least so far.
async fn snapshot(api: &StatisticsApi, wanted: &Wanted) -> Result<Snapshot, Problem> {
    let reader = api.read_models.reader();
    let read = || async {
        let positions = reader.checkpoints(&api.model).await?;
        let frame = Frame::new("stats", &counts(api, wanted).await?);
        Ok(Snapshot::of(&wanted.name, &frame, positions, &api.ids))
    };
    reader.undisturbed(read).await
}
