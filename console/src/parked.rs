use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use balcony_http::list::Page;
use balcony_http::{NoBody, NoParams, Params, PathId};
use balcony_projector::operations::ParkedPlace;
use uuid::Uuid;

use crate::at_desk::AtDesk;
use crate::cursor;
use crate::once::Once;
use crate::refusal::Refusal;

/// What could not be applied or delivered and was set aside: by step, then in the order of the log.
#[utoipa::path(
    get, path = "/v1/admin/parked", tag = "operators", operation_id = "list_parked",
    params(
        ("projection" = Option<String>, Query, description = "Only what is parked in this step"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 100, description = "How many at the most; 20 when absent"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of records", body = serde_json::Value),
        (status = 404, description = "There is no step of this name"),
    ),
)]
pub(crate) async fn list(AtDesk(desk): AtDesk, mut params: Params) -> Result<impl IntoResponse, Refusal> {
    let step = params.text("projection");
    let most = params.limit();
    let list = format!("parked {step:?}");
    let after: Option<ParkedPlace> = cursor::take(&mut params, &list);
    params.finish()?;
    let mut items = desk.parked(step.as_deref(), after.as_ref(), most + 1).await?;
    let has_more = items.len() > most;
    items.truncate(most);
    let last = items.last().filter(|_| has_more);
    let next_cursor = last.map(|last| cursor::write(&list, &last.place()));
    Ok(Json(Page { items, next_cursor }))
}

/// Everything that is known of one record that was set aside.
#[utoipa::path(
    get, path = "/v1/admin/parked/{id}", tag = "operators", operation_id = "get_parked",
    params(("id" = Uuid, Path, description = "The record, as the list shows it")),
    responses((status = 200, description = "The record", body = serde_json::Value)),
)]
pub(crate) async fn get(
    AtDesk(desk): AtDesk,
    PathId(id): PathId<Uuid>,
    _: NoParams,
) -> Result<impl IntoResponse, Refusal> {
    Ok(Json(desk.parked_record(id).await?))
}

/// Applies or delivers a record after all, with what waits behind it.
#[utoipa::path(
    post, path = "/v1/admin/parked/{id}/retry", tag = "operators", operation_id = "retry_parked",
    params(("id" = Uuid, Path, description = "The record, as the list shows it")),
    responses(
        (status = 200, description = "How many were applied, and what failed again", body = serde_json::Value),
        (status = 409, description = "It cannot be retried as things stand"),
    ),
)]
pub(crate) async fn retry(
    AtDesk(desk): AtDesk,
    PathId(id): PathId<Uuid>,
    _: NoParams,
    once: Once,
    _: NoBody,
) -> Result<Response, Refusal> {
    let at_desk = desk.clone();
    once.answer(&desk, StatusCode::OK, String::new(), async move { at_desk.retry(id).await }).await
}

/// Gives a record up, so that it is never applied or delivered, and retries what waited behind it.
#[utoipa::path(
    post, path = "/v1/admin/parked/{id}/discard", tag = "operators", operation_id = "discard_parked",
    params(("id" = Uuid, Path, description = "The record, as the list shows it")),
    responses(
        (status = 200, description = "How many were given up and applied, and what failed again", body = serde_json::Value),
        (status = 409, description = "It cannot be given up as things stand"),
    ),
)]
pub(crate) async fn discard(
    AtDesk(desk): AtDesk,
    PathId(id): PathId<Uuid>,
    _: NoParams,
    once: Once,
    _: NoBody,
) -> Result<Response, Refusal> {
    let at_desk = desk.clone();
    once.answer(&desk, StatusCode::OK, String::new(), async move { at_desk.discard(id).await }).await
}
