use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use balcony_http::{NoBody, NoParams, Params};
use balcony_store::{BuildOptions, Generation};
use serde::Serialize;
use utoipa::ToSchema;

use crate::at_desk::{AtDesk, StepName};
use crate::history::{Course, Shared};
use crate::once::Once;
use crate::refusal::Refusal;

/// A generation that is built, or was given up.
#[derive(Serialize, ToSchema)]
pub(crate) struct Built {
    /// Its number.
    generation: i64,
    /// Its version.
    version: i64,
}

/// What became of a rollback.
#[derive(Serialize, ToSchema)]
pub(crate) struct WentBack {
    /// The generation that is live again.
    live: i64,
    /// The one that was retired, if one was.
    #[schema(required)]
    retired: Option<i64>,
}

/// Every step, as doctor sees it.
#[utoipa::path(
    get, path = "/v1/admin/steps", tag = "operators", operation_id = "list_steps",
    responses((status = 200, description = "What `doctor --json` says", body = serde_json::Value)),
)]
pub(crate) async fn list(AtDesk(desk): AtDesk, _: NoParams) -> Result<impl IntoResponse, Refusal> {
    Ok(Json(desk.examine().await?))
}

/// How every step was doing in the last hour, as this process has looked every ten seconds since it began: lag, rate, state and
/// generation.
#[utoipa::path(
    get, path = "/v1/admin/steps/history", tag = "operators", operation_id = "list_history_of_steps",
    responses((status = 200, description = "A value for each look and step", body = Course)),
)]
pub(crate) async fn history(_: AtDesk, State(shared): State<Shared>, _: NoParams) -> Json<Course> {
    Json(shared.course())
}

/// Builds the read model of a step anew from the log, beside the live one, and switches to it.
#[utoipa::path(
    post, path = "/v1/admin/steps/{name}/rebuild", tag = "operators", operation_id = "rebuild_step",
    params(
        ("name" = String, Path, description = "The step"),
        ("keep_old" = Option<bool>, Query, description = "Keep retired generations; otherwise only the live one is kept"),
        ("park" = Option<bool>, Query, description = "Park records that cannot be applied; otherwise the first stops the rebuild"),
        ("allow_differences" = Option<bool>, Query, description = "Switch although the new generation differs from the live one"),
    ),
    responses(
        (status = 202, description = "It is being built; the list of steps says how far it is", body = Built),
        (status = 409, description = "It cannot be built as things stand"),
    ),
)]
pub(crate) async fn rebuild(
    AtDesk(desk): AtDesk,
    StepName(name): StepName,
    mut params: Params,
    once: Once,
    _: NoBody,
) -> Result<Response, Refusal> {
    let mut flag = |name| params.choice(name, &[("false", false), ("true", true)]);
    let options = BuildOptions {
        keep_old: flag("keep_old"),
        park_failures: flag("park"),
        allow_differences: flag("allow_differences"),
    };
    params.finish()?;
    let BuildOptions { keep_old, park_failures, allow_differences } = options;
    let said = format!("keep_old={keep_old}&park={park_failures}&allow_differences={allow_differences}");
    let at_desk = desk.clone();
    let deed = async move { at_desk.rebuild(&name, options).await.map(Built::from) };
    once.answer(&desk, StatusCode::ACCEPTED, said, deed).await
}

/// Makes the generation before live again; it catches up by itself.
#[utoipa::path(
    post, path = "/v1/admin/steps/{name}/rollback", tag = "operators", operation_id = "roll_back_step",
    params(("name" = String, Path, description = "The step")),
    responses(
        (status = 200, description = "It is live again", body = WentBack),
        (status = 409, description = "There is no generation to go back to"),
    ),
)]
pub(crate) async fn roll_back(
    AtDesk(desk): AtDesk,
    StepName(name): StepName,
    _: NoParams,
    once: Once,
    _: NoBody,
) -> Result<Response, Refusal> {
    let at_desk = desk.clone();
    let deed = async move {
        let done = at_desk.roll_back(&name).await?;
        Ok(WentBack { live: done.live, retired: done.retired })
    };
    once.answer(&desk, StatusCode::OK, String::new(), deed).await
}

/// Gives up the rebuild that is under way, or has failed.
#[utoipa::path(
    post, path = "/v1/admin/steps/{name}/cancel", tag = "operators", operation_id = "cancel_rebuild",
    params(("name" = String, Path, description = "The step")),
    responses(
        (status = 200, description = "The generation that was given up", body = Built),
        (status = 409, description = "No rebuild is under way"),
    ),
)]
pub(crate) async fn cancel(
    AtDesk(desk): AtDesk,
    StepName(name): StepName,
    _: NoParams,
    once: Once,
    _: NoBody,
) -> Result<Response, Refusal> {
    let at_desk = desk.clone();
    let deed = async move { at_desk.cancel(&name).await.map(Built::from) };
    once.answer(&desk, StatusCode::OK, String::new(), deed).await
}

impl From<Generation> for Built {
    fn from(generation: Generation) -> Self {
        Self { generation: generation.number, version: generation.version }
    }
}
