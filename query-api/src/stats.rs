use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::State;
use axum::response::Response;
use balcony_domain::Timestamp;
use balcony_http::{Params, PathId, Problem};
use balcony_read_models::Statistics;
use balcony_statistics::{Point, Series, Stretch, Tally, Unknown, Window, points};
use serde::Serialize;
use utoipa::ToSchema;

use crate::cursor::{Key, Scope};
use crate::page::{Page, PageParams, PageRequest};
use crate::query::Query;
use crate::{QueryApi, stored_time};

/// What was counted of one value in one window of time.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatsItem {
    /// Where the window begins.
    #[schema(value_type = String, format = DateTime)]
    window_start: Timestamp,
    /// The value of the dimension: the id of a movie or a user, or the type of an event.
    value: String,
    /// How many.
    count: i64,
    #[serde(flatten)]
    measured: Option<Measured>,
}

/// Of a stream that has a measure: its sum, its least and its most in the window; null where nothing was measured.
#[derive(Serialize, ToSchema)]
pub(crate) struct Measured {
    sum: Option<i64>,
    min: Option<i64>,
    max: Option<i64>,
}

#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters, which are read one by one")]
pub(crate) struct StatsParams {
    /// What is counted by: `type` of `events`, `movie` or `author` of `comments`, `movie` of `views`; the first of them
    /// when absent.
    dimension: Option<String>,
    /// Only this value of the dimension.
    value: Option<String>,
    /// How long a window is.
    #[param(pattern = "^(1m|1h|1d)$", default = "1h")]
    window: Option<String>,
    /// Only windows that begin at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Only windows that begin before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// The name of a stream in a path, which may be none.
#[derive(Debug)]
pub(crate) struct StreamName(pub(crate) String);

/// The place of a point in a series.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PointKey {
    window_start: i64,
    value: String,
}

/// What is wanted of a stream.
pub(crate) struct Wanted {
    series: Series,
    window: Window,
    value: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
    page: PageRequest<PointKey>,
    /// What is wanted, as a name: the same for the same.
    name: String,
}

/// How many events of a stream there were in windows of time, the newest first. A window in which there were none of a
/// value has no item for it. Minutes are kept for two days, hours for 90, days for ever.
#[utoipa::path(
    get, path = "/v1/stats/{stream}", tag = "stats", operation_id = "list_stats",
    params(("stream" = String, Path, description = "`events`, `comments` or `views`"), StatsParams, PageParams),
    responses(
        (status = 200, description = "A page of counts, with an `ETag`", body = Page<StatsItem>),
        (status = 304, description = "The client has this page already"),
    ),
)]
pub(crate) async fn list(
    State(api): State<QueryApi>,
    PathId(StreamName(stream)): PathId<StreamName>,
    mut query: Query,
) -> Result<Response, Problem> {
    let wanted = Wanted::take(&mut query.params, &stream)?;
    let answer = query.wait(&api, &[Statistics::NAME]).await?;
    Ok(answer.public_list(counts(&api, &wanted).await))
}

impl Wanted {
    /// See [`Wanted::name`].
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Takes what is wanted of `stream`.
    pub(crate) fn take(params: &mut Params, stream: &str) -> Result<Self, Problem> {
        let dimension = params.text("dimension");
        let shapes = Statistics::shapes();
        let series = match shapes.series(stream, dimension.as_deref()) {
            Err(Unknown::Dimension) => {
                let shape = shapes.iter().find(|shape| &*shape.name == stream);
                let dimensions = shape.map(|shape| &*shape.dimensions).unwrap_or_default();
                let known: Vec<&str> = dimensions.iter().map(|dimension| &*dimension.name).collect();
                params.refuse("dimension", format!("is not one of {}", known.join(", ")));
                shapes.series(stream, None)
            }
            found => found,
        };
        let series = series.map_err(|unknown| Problem::not_found(unknown.to_string()))?;
        let value = params.text("value").map(|text| series.value(&text).into_owned());
        let windows = [("1h", Window::HOUR), ("1m", Window::MINUTE), ("1d", Window::DAY)];
        let window = params.choice("window", &windows);
        let since = params.parsed::<Timestamp>("since").map(Timestamp::milliseconds);
        let until = params.parsed::<Timestamp>("until").map(Timestamp::milliseconds);
        let length = window.milliseconds();
        let name = format!("{stream} {dimension:?} {value:?} {length} {since:?} {until:?}");
        let scope = Scope::of("stats")
            .with("stream", stream)
            .with_any("dimension", dimension)
            .with_any("value", value.as_ref())
            .with("window", window.milliseconds())
            .with_any("since", since)
            .with_any("until", until);
        let page = PageRequest::take(params, scope);
        let name = format!("{name} {} {:?}", page.limit(), page.after);
        Ok(Self { series, window, value, since, until, page, name })
    }
}

/// A page of counts.
pub(crate) async fn counts(api: &QueryApi, wanted: &Wanted) -> Result<Page<StatsItem>, Problem> {
    let after = wanted.page.after.clone().map(|after| (after.window_start, after.value));
    let stretch = Stretch { value: wanted.value.as_deref(), since: wanted.since, until: wanted.until, after };
    let found = points(&api.reader, &wanted.series, wanted.window, &stretch, wanted.page.rows()).await?;
    let key = |point: &Point| PointKey { window_start: point.window_start, value: point.value.clone() };
    let is_measured = wanted.series.decimals.is_some();
    wanted.page.page(found, key).try_map(|Point { window_start, value, tally }| {
        let Tally { count, sum, least: min, most: max } = tally;
        let measured = is_measured.then_some(Measured { sum, min, max });
        Ok(StatsItem { window_start: stored_time(window_start)?, value, count, measured })
    })
}

impl FromStr for StreamName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl Key for PointKey {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.window_start.to_be_bytes());
        bytes.extend_from_slice(self.value.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (window_start, value) = bytes.split_first_chunk()?;
        let value = String::from_utf8(value.to_vec()).ok()?;
        Some(Self { window_start: i64::from_be_bytes(*window_start), value })
    }
}
