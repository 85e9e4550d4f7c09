//! The query API: timelines, favourites, movies and people, from the read models, search, and live streams.
//!
//! A query takes its parameters, waits for what its client has seen ([`query`]), reads, and answers ([`answer`]). One
//! file per resource, which names the read models that it reads; what lists share is their shape ([`page`]) and their
//! cursors ([`cursor`]). **Nothing is written here, and no state is held between requests** but by streams ([`live`]), which
//! go on from any other node.

mod again;
mod answer;
mod comment;
mod comments;
mod companies;
mod conditions;
mod cursor;
mod journey;
mod live;
mod log_end;
mod me;
mod movies;
mod page;
mod query;
mod ranking;
mod recommendations;
mod search;
mod stats;
mod time_range;
mod timeline;
mod trending;
mod users;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{Router, middleware};
use balcony_domain::Timestamp;
use balcony_event_log::{EventLog, Positions};
use balcony_http::probes::Check;
use balcony_http::{Consistency, ConsistencyToken, FieldError, Problem, operation};
use balcony_projector::{Catalogue, Serving, Step};
use balcony_search::Index;
use balcony_store::{Database, GenerationState, ReadModel, Reader, StoreError};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::live::Live;
use crate::log_end::LogEnd;
use crate::search::Search;

/// The query API over the read models. Cheap to clone.
#[derive(Clone)]
pub struct QueryApi {
    reader: Reader,
    database: Database,
    /// What it reads, in the database and elsewhere.
    models: Arc<[ReadModel]>,
    consistency: Consistency,
    search: Search,
    /// `None` where no log is read.
    live: Option<Live>,
    opened: Instant,
    /// `None` when the log is not there to be asked.
    log_end: Option<LogEnd>,
    /// What queries that wait take one of.
    turns: Arc<Semaphore>,
}

/// How long the service is not ready for a read model that is still being built. One that takes longer makes only its own
/// queries wait.
const BUILT_IN: Duration = Duration::from_secs(10);

/// How many queries may wait for what was written, in one process.
const WAITERS: usize = 1_024;
/// How long it is waited before the log is asked whether what is waited for was ever written.
const SOON: Duration = Duration::from_millis(250);

/// The path of the search.
pub const SEARCH: &str = "/v1/search";

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "Balcony query API",
    description = "Shows what happened: comments, timelines, movies, people."
))]
struct Description;

fn operations() -> OpenApiRouter<QueryApi> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(operation!(comments::list))
        .routes(operation!(comments::get))
        .routes(operation!(movies::list))
        .routes(operation!(movies::get))
        .routes(operation!(trending::list))
        .routes(operation!(movies::list_comments))
        .routes(operation!(companies::get))
        .routes(operation!(companies::list_comments))
        .routes(operation!(users::get))
        .routes(operation!(users::list_comments))
        .routes(operation!(search::search))
        .routes(operation!(journey::list))
        .routes(operation!(live::movie))
        .routes(operation!(live::timeline))
        .routes(operation!(live::stats))
        .routes(operation!(me::get))
        .routes(operation!(me::list_favorites))
        .routes(operation!(me::timeline))
        .routes(operation!(recommendations::list))
        .routes(operation!(stats::list))
}

impl QueryApi {
    /// An API on the read models of `catalogue` in `database`, each in its version, and on the index of comments that
    /// `serving` has.
    pub async fn open(
        database: &Database,
        catalogue: &Catalogue,
        consistency: Consistency,
        serving: Serving<Index>,
    ) -> Self {
        let (mut in_database, mut models) = (Vec::new(), Vec::new());
        for step in catalogue.steps() {
            match step {
                Step::Projection(projection) => {
                    in_database.push(projection.read_model().clone());
                    models.push(projection.read_model().clone());
                }
                Step::Replica { replica, .. } => models.push(replica.read_model().clone()),
                Step::Reactor(_) => {}
            }
        }
        Self {
            reader: Reader::open(database, in_database).await,
            database: database.clone(),
            models: models.into(),
            consistency,
            search: Search::new(serving),
            live: None,
            opened: Instant::now(),
            log_end: None,
            turns: Arc::new(Semaphore::new(WAITERS)),
        }
    }

    /// The same, which refuses tokens from beyond the end of `log`.
    #[must_use]
    pub fn bounded_by(mut self, log: Arc<dyn EventLog>) -> Self {
        let mut topics: Vec<_> = self.models.iter().flat_map(|model| model.topics.iter().cloned()).collect();
        topics.sort_unstable();
        topics.dedup();
        self.log_end = Some(LogEnd::new(log, topics));
        self
    }

    /// The right to wait for `token`, until it is dropped. Nobody needs one to wait for nothing.
    fn turn(&self, token: &ConsistencyToken) -> Result<Option<SemaphorePermit<'_>>, Problem> {
        if token.0.is_empty() {
            return Ok(None);
        }
        let turn = self.turns.try_acquire();
        turn.map(Some).map_err(|_| Problem::unavailable("too many queries wait for what was written; try again"))
    }

    /// As [`QueryApi::wait_for`], for what a client's token stands for. What has not come soon may be beyond the log's
    /// end, as when the log was restored to an earlier time: it is not waited for.
    async fn wait_for_written(&self, name: &str, token: &ConsistencyToken, deadline: Instant) -> Result<bool, Problem> {
        let soon = deadline.min(Instant::now() + SOON);
        if self.wait_for(name, &token.0, soon).await? {
            return Ok(true);
        }
        if let Some(log_end) = &self.log_end
            && log_end.is_before(&token.0).await
        {
            let detail = "stands for what the log does not have; leave it out";
            return Err(Problem::invalid(vec![FieldError::header("Consistency-Token", detail)]));
        }
        if soon < deadline { self.wait_for(name, &token.0, deadline).await } else { Ok(false) }
    }

    /// With live streams of what is in `facts`, a topic of `log`.
    #[must_use]
    pub fn with_live(mut self, log: Arc<dyn EventLog>, facts: Arc<str>) -> Self {
        self.live = Some(Live::start(log, facts, self.reader.clone(), self.consistency.clone()));
        self
    }

    /// Ends every live stream, and lets none begin: what a process does that is told to end, so that its clients go
    /// elsewhere.
    pub fn close_streams(&self) {
        if let Some(live) = &self.live {
            live.close();
        }
    }

    fn live(&self) -> Result<&Live, Problem> {
        self.live.as_ref().ok_or_else(|| Problem::unavailable("there are no live streams here"))
    }

    /// Waits until the read model called `name` has everything below `wanted` of its topics; `false` when it has not by
    /// `deadline`.
    async fn wait_for(&self, name: &str, wanted: &Positions, deadline: Instant) -> Result<bool, Problem> {
        let model = self.models.iter().find(|model| &*model.name == name);
        let model = model.expect("a query reads what the catalogue has");
        let wanted = wanted.of_topics(&model.topics);
        if name == balcony_read_models::Search::NAME {
            return if wanted.is_empty() { Ok(true) } else { self.search.wait_for(&wanted, deadline).await };
        }
        if wanted.is_empty() {
            self.reader.check(model).await?;
            return Ok(true);
        }
        Ok(self.reader.wait_for(model, &wanted, deadline).await?)
    }

    /// The routes and what they are described as.
    pub fn routes(&self) -> (Router, OpenApi) {
        let (routes, openapi) = operations().with_state(self.clone()).split_for_parts();
        (routes.layer(middleware::from_fn(again::when_taken_back)), openapi)
    }

    /// What has to be there for queries to be answered.
    pub fn checks(&self) -> Vec<Check> {
        let (api, serving) = (self.clone(), self.search.serving.clone());
        vec![
            Check::new("read models", move || {
                let api = api.clone();
                async move { api.ready().await.map_err(|error| error.to_string()) }
            }),
            Check::new("search", move || {
                let index = serving.view();
                async move { index.map(drop) }
            }),
        ]
    }
}

impl QueryApi {
    /// Whether every read model is there in its version. One that is only there in another version is waited for however
    /// long its build takes, because its readers are elsewhere meanwhile; one that is new is waited for a while.
    async fn ready(&self) -> Result<(), StoreError> {
        for model in self.reader.models() {
            if let Err(error) = self.reader.check(model).await {
                let listed = self.database.generations(Some(&model.name)).await?;
                let is_new = !listed.iter().any(|listed| listed.state == GenerationState::Live);
                if !is_new || self.opened.elapsed() < BUILT_IN {
                    return Err(error);
                }
            }
        }
        self.database.ping().await
    }
}

/// The time it is, in milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time as a read model holds it, in milliseconds.
fn stored_time(milliseconds: i64) -> Result<Timestamp, Problem> {
    Timestamp::from_milliseconds(milliseconds).map_err(|error| Problem::internal(&error))
}

#[cfg(test)]
mod tests {
    use balcony_http::service::described;
    use balcony_http::testing::{gaps, operations};

    use super::*;

    /// What every operation takes.
    const PARAMETERS: &[(&str, &[&str])] = &[
        (
            "GET /v1/comments",
            &[
                "movie",
                "author",
                "author_location",
                "since",
                "until",
                "sort",
                "limit",
                "cursor",
                "wait",
                "stale",
                "Consistency-Token",
            ],
        ),
        ("GET /v1/comments/{id}", &["id", "wait", "stale", "Consistency-Token"]),
        ("GET /v1/companies/{id}", &["id", "wait", "stale", "Consistency-Token"]),
        ("GET /v1/companies/{id}/comments", &["id", "limit", "cursor", "wait", "stale", "Consistency-Token"]),
        ("GET /v1/live/me/timeline", &["wait", "stale", "Consistency-Token", "Last-Event-ID"]),
        ("GET /v1/live/movies/{id}", &["id", "wait", "stale", "Consistency-Token", "Last-Event-ID"]),
        (
            "GET /v1/live/stats/{stream}",
            &[
                "stream",
                "dimension",
                "value",
                "window",
                "since",
                "until",
                "limit",
                "cursor",
                "wait",
                "stale",
                "Consistency-Token",
                "Last-Event-ID",
            ],
        ),
        ("GET /v1/me", &["wait", "stale", "Consistency-Token"]),
        ("GET /v1/me/favorites", &["limit", "cursor", "wait", "stale", "Consistency-Token"]),
        ("GET /v1/me/timeline", &["limit", "cursor", "wait", "stale", "Consistency-Token"]),
        ("GET /v1/movies", &["limit", "cursor", "wait", "stale", "Consistency-Token"]),
        ("GET /v1/movies/trending", &["window", "limit", "cursor", "wait", "stale", "Consistency-Token"]),
        ("GET /v1/movies/{id}", &["id", "wait", "stale", "Consistency-Token"]),
        ("GET /v1/movies/{id}/comments", &["id", "limit", "cursor", "wait", "stale", "Consistency-Token"]),
        ("GET /v1/recommendations", &["limit", "cursor", "wait", "stale", "Consistency-Token"]),
        (
            "GET /v1/search",
            &[
                "q",
                "movie",
                "author",
                "since",
                "until",
                "sort",
                "limit",
                "cursor",
                "wait",
                "stale",
                "Consistency-Token",
            ],
        ),
        (
            "GET /v1/stats/{stream}",
            &[
                "stream",
                "dimension",
                "value",
                "window",
                "since",
                "until",
                "limit",
                "cursor",
                "wait",
                "stale",
                "Consistency-Token",
            ],
        ),
        ("GET /v1/users/{id}", &["id", "wait", "stale", "Consistency-Token"]),
        ("GET /v1/users/{id}/comments", &["id", "limit", "cursor", "wait", "stale", "Consistency-Token"]),
        ("GET /v1/users/{id}/journey", &["id", "limit", "cursor", "wait", "stale", "Consistency-Token"]),
    ];

    fn openapi() -> OpenApi {
        described(super::operations().split_for_parts().1)
    }

    #[test]
    fn the_description_has_no_gaps() {
        assert_eq!(gaps(&openapi()), [""; 0]);
    }

    #[test]
    fn every_operation_is_described_with_what_it_takes_and_refuses() {
        let described = operations(&openapi());
        for operation in &described {
            assert!(operation.answers(422) && operation.answers(503), "{}", operation.name);
            let needs_token = operation.described["security"] == serde_json::json!([{"token": []}]);
            let of_oneself = operation.name.starts_with("GET /v1/me") || operation.name.starts_with("GET /v1/live/me");
            assert_eq!(needs_token, of_oneself, "{}", operation.name);
        }
        let mut found: Vec<_> = described.iter().map(|found| (found.name.as_str(), found.parameters())).collect();
        let mut expected: Vec<_> = PARAMETERS.iter().map(|&(name, parameters)| (name, parameters.to_vec())).collect();
        for (_, parameters) in found.iter_mut().chain(&mut expected) {
            parameters.sort_unstable();
        }
        assert_eq!(found, expected);
    }
}
