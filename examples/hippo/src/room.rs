//! What hippo shows: its steps at `/`, and what its jobs printed.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use balcony_console::plain_page;
use balcony_http::{Admin, Params, Problem};
use balcony_store::Reader;
use maud::html;
use serde_json::Value;

use crate::config::Config;
use crate::jobs;

#[derive(Clone)]
struct Room {
    config: Arc<Config>,
    reader: Reader,
}

/// The page, and the jobs for admins.
pub(crate) fn routes(config: Arc<Config>, reader: Reader) -> Router {
    Router::new().route("/", get(steps)).route("/v1/jobs", get(list)).with_state(Room { config, reader })
}

/// The jobs that ended last: `?step= &limit=`.
async fn list(_: Admin, State(room): State<Room>, mut params: Params) -> Result<Json<Vec<Value>>, Problem> {
    let (step, limit) = (params.text("step"), params.limit());
    params.finish()?;
    Ok(Json(jobs::last(&room.reader, step.as_deref(), limit).await?))
}

/// What starts what, and how it went.
async fn steps(State(room): State<Room>) -> Result<Response, Problem> {
    let counts = jobs::counts(&room.reader).await?;
    let content = html! {
        div.sheet.scroll tabindex="0" role="group" aria-label="Steps" { table {
            tr { th { "Step" } th { "Started by" } th { "Publishes to" } th { "Succeeded" } th { "Failed" } th { "Last end" } }
            @for step in &room.config.steps {
                @let count = counts.get(&step.name).cloned().unwrap_or_default();
                tr {
                    td { (step.name) } td { (step.subscribe.join(", ")) } td { (step.publish.as_deref().unwrap_or("—")) }
                    td { (count.succeeded) } td { (count.failed) }
                    td.number { time datetime=(count.last) { (count.last.replace('T', " ").split('.').next().unwrap_or_default()) } }
                }
            }
        } }
        ul {
            @for one in &room.config.frontiers { li { (one.name) " announces to " (one.publish) } }
            @for source in &room.config.sources { li { (source.topic) " is copied from another program" } }
        }
        p { "State and lag of each step, and every message: the " a href="/control" { "control room" } "." }
    };
    Ok(plain_page("hippo", Some(2), &content))
}
