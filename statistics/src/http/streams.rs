use axum::extract::State;
use axum::response::Response;
use balcony_http::Problem;
use balcony_http::list::Page;
use balcony_http::query::Query;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::StatisticsApi;
use crate::{Shape, Shapes};

/// A stream of events that are counted.
#[derive(Serialize, ToSchema)]
pub(super) struct StreamItem {
    /// Its name.
    name: String,
    /// What it is counted by.
    dimensions: Vec<String>,
    /// Whether it has a measure, with sum, least and most.
    is_measured: bool,
    /// How long its windows are, the shortest first.
    windows: Vec<String>,
}

/// What is counted: the streams, by what, and in which windows.
#[utoipa::path(
    get, path = "/v1/stats", tag = "stats", operation_id = "list_streams",
    responses(
        (status = 200, description = "Every stream, in one page, with an `ETag`", body = Page<StreamItem>),
        (status = 304, description = "The client has this page already"),
    ),
)]
pub(super) async fn list(State(api): State<StatisticsApi>, query: Query) -> Result<Response, Problem> {
    let answer = query.wait(&api.read_models, &[&api.model.name]).await?;
    Ok(answer.public_list(Ok(Page::whole(api.shapes.iter().map(|shape| StreamItem::of(shape, &api.shapes)).collect()))))
}

impl StreamItem {
    fn of(shape: &Shape, shapes: &Shapes) -> Self {
        Self {
            name: shape.name.to_string(),
            dimensions: shape.dimensions.iter().map(|dimension| dimension.name.to_string()).collect(),
            is_measured: shape.decimals.is_some(),
            windows: shapes.windows().lengths().map(|window| window.to_string()).collect(),
        }
    }
}
