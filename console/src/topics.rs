use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use balcony_projector::operations::Desk;

use crate::admin::Admin;
use crate::place::{Asked, Page};
use crate::refusal::Refusal;

/// The topics of the log: how long their records are kept, and where each partition begins and ends.
#[utoipa::path(
    get, path = "/v1/admin/topics", tag = "operators", operation_id = "list_topics",
    responses((status = 200, description = "Every topic, in one page", body = serde_json::Value)),
)]
pub(crate) async fn list(
    State(desk): State<Desk>,
    _: Admin,
    Asked(params): Asked,
) -> Result<impl IntoResponse, Refusal> {
    params.finish()?;
    Ok(Json(Page { items: desk.topics().await?, next_cursor: None }))
}
