//! The command API: authenticate, check the shape, check the rules, append one event, answer.
//!
//! **Nothing else happens in a request**: no read model is written, and the only one that is read is the registry
//! (what exists, who wrote it). One file per resource; what they share is how a command comes in ([`command`]), how
//! an event is recorded ([`recorder`]) and what the registry is asked ([`registry`]).

mod command;
mod comments;
mod companies;
mod idempotency;
mod me;
mod movies;
mod recorder;
mod registry;

use std::sync::Arc;

use axum::Router;
use balcony_domain::Topics;
use balcony_event_log::EventLog;
use balcony_http::Consistency;
use balcony_http::service::Check;
use balcony_store::{Database, Reader};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::idempotency::InFlight;
use crate::recorder::Recorder;
use crate::registry::Registry;

/// The command API over one log and its registry.
pub struct CommandApi {
    recorder: Recorder,
    registry: Registry,
    consistency: Consistency,
    in_flight: InFlight,
}

#[derive(utoipa::OpenApi)]
#[openapi(info(title = "Balcony command API", description = "Posts what happens: comments, favourites, movies."))]
struct Description;

impl CommandApi {
    /// An API that appends to `log` and asks the registry in `database`.
    pub async fn open(
        log: Arc<dyn EventLog>,
        database: &Database,
        topics: Topics,
        consistency: Consistency,
    ) -> Arc<Self> {
        let reader = Reader::open(database, &["registry"]).await;
        Arc::new(Self {
            recorder: Recorder::new(log.clone(), topics.clone()),
            registry: Registry::new(reader, log, topics),
            consistency,
            in_flight: InFlight::default(),
        })
    }

    /// The routes and what they are described as.
    pub fn routes(self: &Arc<Self>) -> (Router, OpenApi) {
        OpenApiRouter::with_openapi(Description::openapi())
            .routes(routes!(companies::register))
            .routes(routes!(movies::register))
            .routes(routes!(movies::view))
            .routes(routes!(comments::post))
            .routes(routes!(comments::delete))
            .routes(routes!(me::change_profile))
            .routes(routes!(me::favorite, me::unfavorite))
            .with_state(self.clone())
            .split_for_parts()
    }

    /// What has to be there for commands to be taken.
    pub fn checks(&self) -> Vec<Check> {
        let (log, registry) = (self.recorder.clone(), self.registry.clone());
        vec![
            Check::new("log", move || {
                let log = log.clone();
                async move { log.check().await.map_err(|error| error.to_string()) }
            }),
            Check::new("registry", move || {
                let registry = registry.clone();
                async move { registry.check().await.map_err(|error| error.to_string()) }
            }),
        ]
    }
}
