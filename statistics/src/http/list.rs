use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::State;
use axum::response::Response;
use balcony_http::cursor::{Key, Scope, text};
use balcony_http::list::{Page, PageParams, PageRequest};
use balcony_http::query::Query;
use balcony_http::{Params, PathId, Problem};
use balcony_projector::Moment;

use super::api::StatisticsApi;
use super::item::StatsItem;
use crate::{Point, Series, Stretch, Unknown, Window, points};

#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters, which are read one by one")]
pub(super) struct StatsParams {
    /// What is counted by.
    dimension: Option<String>,
    /// Only this value of the dimension.
    value: Option<String>,
    /// How long a window is.
    window: Option<String>,
    /// Only windows that begin at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Moment>,
    /// Only windows that begin before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Moment>,
}

/// The name of a stream in a path, which may be none.
#[derive(Debug)]
pub(super) struct StreamName(pub(super) String);

/// The place of a point in a series.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PointKey {
    window_start: i64,
    value: String,
}

/// What is wanted of a stream.
pub(super) struct Wanted {
    series: Series,
    window: Window,
    value: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
    page: PageRequest<PointKey>,
    /// What is wanted, as a name: the same for the same.
    pub(super) name: String,
}

/// How many events of a stream there were in windows of time, the newest first. A window in which there were none of a
/// value has no item for it.
#[utoipa::path(
    get, path = "/v1/stats/{stream}", tag = "stats", operation_id = "list_stats",
    params(("stream" = String, Path, description = "The stream"), StatsParams, PageParams),
    responses(
        (status = 200, description = "A page of counts, with an `ETag`", body = Page<StatsItem>),
        (status = 304, description = "The client has this page already"),
    ),
)]
pub(super) async fn list(
    State(api): State<StatisticsApi>,
    PathId(StreamName(stream)): PathId<StreamName>,
    mut query: Query,
) -> Result<Response, Problem> {
    let wanted = Wanted::take(&api, &mut query.params, &stream)?;
    let answer = query.wait(&api.read_models, &[&api.model.name]).await?;
    Ok(answer.public_list(counts(&api, &wanted).await))
}

impl Wanted {
    /// Takes what is wanted of `stream`.
    pub(super) fn take(api: &StatisticsApi, params: &mut Params, stream: &str) -> Result<Self, Problem> {
        let (dimension, series) = series(api, params, stream)?;
        let value = params.text("value").map(|text| series.value(&text).into_owned());
        let window = window(params, &series);
        let since = params.parsed::<Moment>("since").map(Moment::milliseconds);
        let until = params.parsed::<Moment>("until").map(Moment::milliseconds);
        let length = window.milliseconds();
        let name = format!("{stream} {dimension:?} {value:?} {length} {since:?} {until:?}");
        let scope = Scope::of("stats")
            .with("stream", stream)
            .with_any("dimension", dimension)
            .with_any("value", value.as_ref())
            .with("window", length)
            .with_any("since", since)
            .with_any("until", until);
        let page = PageRequest::take(params, scope);
        let name = format!("{name} {} {:?}", page.limit(), page.after);
        Ok(Self { series, window, value, since, until, page, name })
    }
}

/// Takes `dimension`, one of `stream`.
pub(super) fn series(
    api: &StatisticsApi,
    params: &mut Params,
    stream: &str,
) -> Result<(Option<String>, Series), Problem> {
    let dimension = params.text("dimension");
    let series = match api.shapes.series(stream, dimension.as_deref()) {
        Err(Unknown::Dimension) => {
            let shape = api.shapes.iter().find(|shape| &*shape.name == stream);
            let dimensions = shape.map(|shape| &*shape.dimensions).unwrap_or_default();
            let known: Vec<&str> = dimensions.iter().map(|dimension| &*dimension.name).collect();
            params.refuse("dimension", format!("is not one of {}", known.join(", ")));
            api.shapes.series(stream, None)
        }
        found => found,
    };
    let series = series.map_err(|unknown| Problem::not_found(unknown.to_string()))?;
    Ok((dimension, series))
}

/// Takes `window`, one of those in which `series` is counted.
pub(super) fn window(params: &mut Params, series: &Series) -> Window {
    let usual = series.windows.usual();
    let Some(text) = params.text("window") else { return usual };
    let known = || series.windows.lengths();
    known().find(|window| window.to_string() == text).unwrap_or_else(|| {
        let names: Vec<String> = known().map(|window| window.to_string()).collect();
        params.refuse("window", format!("is not one of {}", names.join(", ")));
        usual
    })
}

/// A page of counts.
pub(super) async fn counts(api: &StatisticsApi, wanted: &Wanted) -> Result<Page<StatsItem>, Problem> {
    let after = wanted.page.after.clone().map(|after| (after.window_start, after.value));
    let stretch = Stretch { value: wanted.value.as_deref(), since: wanted.since, until: wanted.until, after };
    let reader = api.read_models.reader();
    let found = points(reader, &wanted.series, wanted.window, &stretch, wanted.page.rows()).await?;
    let key = |point: &Point| PointKey { window_start: point.window_start, value: point.value.clone() };
    wanted.page.page(found, key).try_map(|point| StatsItem::of(point, wanted.series.decimals))
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
        let value = text(value)?;
        Some(Self { window_start: i64::from_be_bytes(*window_start), value })
    }
}
