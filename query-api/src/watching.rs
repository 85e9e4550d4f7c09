//! The routes of live streams: who watches what ([`crate::live`]).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use balcony_domain::MovieId;
use balcony_http::events::LastEventId;
use balcony_http::query::Query;
use balcony_http::{Client, Identity, PathId, Problem};
use tokio::time::Instant;
use uuid::Uuid;

use crate::api::QueryApi;
use crate::live::{Audience, Favorites, PATIENCE};
use crate::{comments, me, movies};

/// The comments on a movie as they are posted and deleted: `comment.posted` with the comment, `comment.deleted` with
/// its id.
#[utoipa::path(
    get, path = "/v1/live/movies/{id}", tag = "live", operation_id = "watch_movie",
    params(("id" = Uuid, Path, description = "The movie")),
    responses((status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream")),
)]
pub(crate) async fn movie(
    State(api): State<Arc<QueryApi>>,
    PathId(id): PathId<MovieId>,
    client: Client,
    LastEventId(last): LastEventId,
    query: Query,
) -> Result<Response, Problem> {
    let answer = query.wait(&api.read_models, comments::READS).await?;
    let watched = async {
        movies::check_known(&api, id).await?;
        api.live()?.watch(client, Audience::Movie(id.0), last, None).await
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
    State(api): State<Arc<QueryApi>>,
    me: Identity,
    client: Client,
    LastEventId(last): LastEventId,
    query: Query,
) -> Result<Response, Problem> {
    let answer = query.wait(&api.read_models, me::READS).await?;
    Ok(answer.events(watch_timeline(&api, client, me.user, last).await))
}

async fn watch_timeline(api: &QueryApi, client: Client, user: Uuid, last: Option<Vec<u8>>) -> Result<Body, Problem> {
    let live = api.live()?;
    // What changes from here on is in the history; what was before is looked up.
    let (taken_in, reached) = live.begun().await?;
    let deadline = Instant::now() + PATIENCE;
    let read = || async {
        if !api.read_models.wait_for(balcony_read_models::Favorites::NAME, &reached, deadline).await? {
            return Err(Problem::projection_behind());
        }
        Ok(api.reader.fetch("SELECT followee_id FROM favorites WHERE follower_id = $1", &[user.into()]).await?)
    };
    let favorites: Vec<(Uuid,)> = api.reader.undisturbed(read).await?;
    let favorites = Favorites { of: favorites.into_iter().map(|(id,)| id).collect(), taken_in };
    live.watch(client, Audience::Timeline(user), last, Some(favorites)).await
}
