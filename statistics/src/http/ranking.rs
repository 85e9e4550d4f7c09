use axum::extract::State;
use axum::response::Response;
use balcony_http::cursor::{Key, Scope, text};
use balcony_http::list::{Page, PageParams, PageRequest};
use balcony_http::query::Query;
use balcony_http::{PathId, Problem};
use serde::Serialize;
use utoipa::ToSchema;

use super::api::StatisticsApi;
use super::list::{StreamName, series};
use crate::clock::now;
use crate::{Series, Window, top};

/// A value, and how often it was counted.
#[derive(Serialize, ToSchema)]
pub(super) struct RankedItem {
    /// The value of the dimension.
    value: String,
    /// What the value is called, where the program says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// How many.
    count: i64,
}

#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters, which are read one by one")]
struct RankingParams {
    /// What is counted by.
    dimension: Option<String>,
    /// How far back it counts, from now.
    #[param(pattern = "^(30m|1h|24h)$", default = "30m")]
    last: Option<String>,
}

/// The place of a value in the ranking of a time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RankKey {
    /// When the ranking was made, in milliseconds since 1970. Later pages are of the same time.
    now: i64,
    count: i64,
    value: String,
}

/// The values of a dimension that were most frequent lately, up to now.
#[utoipa::path(
    get, path = "/v1/stats/{stream}/top", tag = "stats", operation_id = "rank_values",
    params(("stream" = String, Path, description = "The stream"), RankingParams, PageParams),
    responses(
        (status = 200, description = "A page of values, the most frequent first, with an `ETag`", body = Page<RankedItem>),
        (status = 304, description = "The client has this page already"),
    ),
)]
pub(super) async fn list(
    State(api): State<StatisticsApi>,
    PathId(StreamName(stream)): PathId<StreamName>,
    mut query: Query,
) -> Result<Response, Problem> {
    let (dimension, series) = series(&api, &mut query.params, &stream)?;
    let minutes = query.params.choice("last", &[("30m", 30), ("1h", 60), ("24h", 24 * 60)]);
    let scope = Scope::of("top").with("stream", stream).with_any("dimension", dimension).with("minutes", minutes);
    let wanted = PageRequest::take(&mut query.params, scope);
    let answer = query.wait(&api.read_models, &[&api.model.name]).await?;
    Ok(answer.public_list(ranking(&api, &series, minutes, &wanted).await))
}

async fn ranking(
    api: &StatisticsApi,
    series: &Series,
    minutes: u32,
    wanted: &PageRequest<RankKey>,
) -> Result<Page<RankedItem>, Problem> {
    let now = wanted.after.as_ref().map_or_else(now, |after| after.now);
    let after = wanted.after.as_ref().map(|after| (after.count, after.value.clone()));
    let places = top(api.read_models.reader(), series, minutes, now, after.as_ref(), wanted.rows()).await?;
    // The shortest windows that rankings slide by are whole seconds.
    let now = Window::seconds(1).start(now);
    let page = wanted.page(places, |(count, value)| RankKey { now, count: *count, value: value.clone() });
    let values: Vec<String> = page.items.iter().map(|(_, value)| value.clone()).collect();
    let mut labels = api.labels(series, &values).await;
    page.try_map(|(count, value)| Ok(RankedItem { label: labels.remove(&value), value, count }))
}

impl Key for RankKey {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.now.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(self.value.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (now, rest) = bytes.split_first_chunk()?;
        let (count, value) = rest.split_first_chunk()?;
        let value = text(value)?;
        Some(Self { now: i64::from_be_bytes(*now), count: i64::from_be_bytes(*count), value })
    }
}
