use axum::Json;
use axum::response::IntoResponse;
use balcony_http::NoParams;
use balcony_http::list::Page;

use crate::at_desk::AtDesk;
use crate::refusal::Refusal;

/// The topics of the log: how long their records are kept, and where each partition begins and ends.
#[utoipa::path(
    get, path = "/v1/admin/topics", tag = "operators", operation_id = "list_topics",
    responses((status = 200, description = "Every topic, in one page", body = serde_json::Value)),
)]
pub(crate) async fn list(AtDesk(desk): AtDesk, _: NoParams) -> Result<impl IntoResponse, Refusal> {
    Ok(Json(Page::whole(desk.topics().await?)))
}
