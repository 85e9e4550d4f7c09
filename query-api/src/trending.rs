use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use balcony_http::Problem;
use balcony_read_models::{Registry, Statistics};
use balcony_statistics::Window;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::QueryApi;
use crate::comment::CommentedMovie;
use crate::ranking::{most_viewed, titled};
use balcony_http::cursor::{Key, Scope};
use balcony_http::list::{Page, PageParams, PageRequest};
use balcony_http::query::Query;

/// A movie that is viewed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Trend {
    movie: CommentedMovie,
    /// How often its page was viewed in that time.
    views: i64,
}

#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters, which are read one by one")]
struct TrendParams {
    /// How far back views count, from the minute that it is now.
    #[param(pattern = "^(30m|1h|24h)$", default = "30m")]
    window: Option<String>,
}

/// The place of a movie in the ranking of a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RankKey {
    /// When the ranking was made, in milliseconds since 1970. Later pages are of the same time.
    now: i64,
    views: i64,
    movie: Uuid,
}

/// The movies whose pages were viewed most in the last minutes, up to now.
#[utoipa::path(
    get, path = "/v1/movies/trending", tag = "movies", operation_id = "list_trending_movies",
    params(TrendParams, PageParams),
    responses(
        (status = 200, description = "A page of movies, the most viewed first, with an `ETag`", body = Page<Trend>),
        (status = 304, description = "The client has this page already"),
    ),
)]
pub(crate) async fn list(State(api): State<Arc<QueryApi>>, mut query: Query) -> Result<Response, Problem> {
    let minutes = query.params.choice("window", &[("30m", 30), ("1h", 60), ("24h", 24 * 60)]);
    let wanted = PageRequest::take(&mut query.params, Scope::of("movies/trending").with("minutes", minutes));
    let answer = query.wait(&api.read_models, &[Registry::NAME, Statistics::NAME]).await?;
    Ok(answer.public_list(trends(&api, minutes, &wanted).await))
}

async fn trends(api: &QueryApi, minutes: u32, wanted: &PageRequest<RankKey>) -> Result<Page<Trend>, Problem> {
    let now = wanted.after.map_or_else(crate::time::now, |after| after.now);
    let after = wanted.after.map(|after| (after.views, after.movie.to_string()));
    let ranked = most_viewed(api, minutes, now, after.as_ref(), wanted.rows()).await?;
    let mut movies = titled(api, ranked.iter().map(|(movie, _)| *movie)).await?;
    let minute = Window::MINUTE.start(now);
    let page = wanted.page(ranked, |&(movie, views)| RankKey { now: minute, views, movie });
    // A movie that the registry has not read yet has no title to show.
    Ok(page.filter_map(|(movie, views)| movies.remove(&movie).map(|movie| Trend { movie, views })))
}

impl Key for RankKey {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.now.to_be_bytes());
        bytes.extend_from_slice(&self.views.to_be_bytes());
        bytes.extend_from_slice(self.movie.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (now, rest) = bytes.split_first_chunk()?;
        let (views, movie) = rest.split_first_chunk()?;
        let (now, views) = (i64::from_be_bytes(*now), i64::from_be_bytes(*views));
        Some(Self { now, views, movie: Uuid::from_slice(movie).ok()? })
    }
}
