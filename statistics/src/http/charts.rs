//! Charts over HTTP: one as it is now, and those of a page while they move.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use balcony_http::events::{Frame, LastEventId};
use balcony_http::query::Query;
use balcony_http::{Client, PathId, Problem};
use futures_util::stream::SelectAll;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::StatisticsApi;
use super::chart::{Drawn, MOST_LENGTH, Plan, USUAL_LENGTH};
use super::drawing::Drawing;
use super::list::{StreamName, series, window};
use super::sending::{body, snapshots};
use super::watched::Snapshot;
use crate::clock::now;

/// The charts of a page. Cheap to clone.
#[derive(Clone)]
pub(super) struct Charts {
    pub(super) api: StatisticsApi,
    pub(super) plans: Arc<[Plan]>,
}

/// A chart of a page, as it is now.
#[derive(Serialize, ToSchema)]
pub(super) struct Moved {
    /// Which of the page's charts it is, from 0.
    chart: usize,
    drawing: Drawing,
}

#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters, which are read one by one")]
struct ChartParams {
    /// What is counted by.
    dimension: Option<String>,
    /// Only this value of the dimension; the five most frequent when absent.
    value: Option<String>,
    /// How long a window is.
    window: Option<String>,
    /// What is drawn of each window.
    #[param(pattern = "^(count|sum|average|least|most)$", default = "count")]
    drawn: Option<String>,
    /// How many windows it goes back.
    #[param(minimum = 1, maximum = 500, default = 60)]
    windows: Option<u32>,
}

/// Lines in time of a stream, up to the window that it is now: a number for each window and value.
#[utoipa::path(
    get, path = "/v1/stats/{stream}/chart", tag = "stats", operation_id = "draw_stats",
    params(("stream" = String, Path, description = "The stream"), ChartParams),
    responses(
        (status = 200, description = "The lines, with an `ETag`", body = Drawing),
        (status = 304, description = "The client has these lines already"),
    ),
)]
pub(super) async fn draw(
    State(api): State<StatisticsApi>,
    PathId(StreamName(stream)): PathId<StreamName>,
    mut query: Query,
) -> Result<Response, Problem> {
    let params = &mut query.params;
    let (_, series) = series(&api, params, &stream)?;
    let window = window(params, &series);
    let values = params.text("value").map(|value| series.value(&value).into_owned()).into_iter().collect();
    let drawn = params.choice("drawn", &Drawn::ALL.map(|drawn| (drawn.name(), drawn)));
    if drawn != Drawn::Count && series.decimals.is_none() {
        params.refuse("drawn", "is of a measure, which this stream does not have");
    }
    let length = params.parsed::<u32>("windows").unwrap_or(USUAL_LENGTH);
    if !(1..=MOST_LENGTH).contains(&length) {
        params.refuse("windows", format!("is not a number from 1 to {MOST_LENGTH}"));
    }
    let plan = Plan { series, values, window, drawn: vec![drawn], length };
    let answer = query.wait(&api.read_models, &[&api.model.name]).await?;
    Ok(answer.public_list(plan.draw(&api, now()).await))
}

/// The charts of the page as they move: `chart` with one of them as it is now, each at once and then at most once a second.
#[utoipa::path(
    get, path = "/v1/live/charts", tag = "live", operation_id = "watch_charts",
    responses((status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream")),
)]
pub(super) async fn watch(
    State(charts): State<Charts>,
    client: Client,
    // Whatever the client has, it is sent all there is.
    _: LastEventId,
    query: Query,
) -> Result<Response, Problem> {
    let answer = query.wait(&charts.api.read_models, &[&charts.api.model.name]).await?;
    Ok(answer.events(charts.stream(client)))
}

impl Charts {
    fn stream(&self, client: Client) -> Result<Body, Problem> {
        let watched = &self.api.watched;
        let room = watched.room(client)?;
        let mut moves = SelectAll::new();
        for (chart, plan) in self.plans.iter().enumerate() {
            let (api, plan) = (self.api.clone(), plan.clone());
            let name = format!("chart {chart} {plan:?}");
            let read = {
                let name = name.clone();
                move || {
                    let (api, plan, name) = (api.clone(), plan.clone(), name.clone());
                    async move { snapshot(&api, chart, &plan, &name).await.ok() }
                }
            };
            let mut watching = watched.watch(None, &name, read)?;
            watching.begin_with_what_is_there();
            moves.push(snapshots(watching));
        }
        Ok(body(None, moves, room))
    }
}

/// The chart as it is now. How far it has come is asked before, so that it is at least so far.
async fn snapshot(api: &StatisticsApi, chart: usize, plan: &Plan, name: &str) -> Result<Snapshot, Problem> {
    let reader = api.read_models.reader();
    let read = || async {
        let positions = reader.checkpoints(&api.model).await?;
        let drawing = plan.draw(api, now()).await?;
        Ok(Snapshot::of(name, &Frame::new("chart", &Moved { chart, drawing }), positions, &api.ids))
    };
    reader.undisturbed(read).await
}
