//! The query API: timelines, favourites, movies and people, from the read models, search, and live streams.
//!
//! A query takes its parameters, waits for what its client has seen ([`balcony_http::query`]), reads, and answers
//! ([`balcony_http::answer`]). One file per resource, which names the read models that it reads. Statistics are those of any
//! program ([`balcony_statistics::http`]). **Nothing is written here, and no state is held between requests** but by streams ([`live`]), which
//! go on from any other node, and by pages that are hot ([`hot`]), which are what the read models would give.

mod comment;
mod comments;
mod companies;
mod conditions;
mod hot;
mod journey;
mod keys;
mod live;
mod me;
mod movies;
mod ranking;
mod recommendations;
mod search;
mod time_range;
mod timeline;
mod trending;
mod users;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{Router, middleware};
use balcony_domain::Timestamp;
use balcony_event_log::EventLog;
use balcony_http::probes::Check;
use balcony_http::reading::ReadModels;
use balcony_http::{Consistency, Problem, answer, operation};
use balcony_projector::{Catalogue, Serving, Step};
use balcony_read_models::Statistics;
use balcony_search::Index;
use balcony_statistics::http::StatisticsApi;
use balcony_store::{Database, GenerationState, Reader, StoreError};
use tokio::time::Instant;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::hot::Hot;
use crate::live::Live;
use crate::search::Search;

/// The query API over the read models. Cheap to clone.
#[derive(Clone)]
pub struct QueryApi {
    reader: Reader,
    database: Database,
    /// What it reads, in the database and elsewhere.
    read_models: ReadModels,
    search: Search,
    /// `None` where no log is read.
    live: Option<Live>,
    /// `None` where no log is read, and where no pages are to be kept.
    hot: Option<Hot>,
    opened: Instant,
}

/// How long the service is not ready for a read model that is still being built. One that takes longer makes only its own
/// queries wait.
const BUILT_IN: Duration = Duration::from_secs(10);

/// The path of the search.
pub const SEARCH: &str = "/v1/search";

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "Balcony query API",
    description = "Shows what happened: comments, timelines, movies, people."
))]
struct Description;

/// The operations whose answers `hot` keeps. Those of which there are streams in `live` say where they were read.
fn pages(hot: Option<Hot>, live: Option<Live>) -> OpenApiRouter<QueryApi> {
    let kept = middleware::from_fn_with_state(hot, hot::kept);
    let named = |reads| middleware::from_fn_with_state((live.clone(), reads), live::named);
    let of_movie = OpenApiRouter::new()
        .routes(operation!(movies::list_comments))
        .route_layer(kept.clone())
        .route_layer(named(comments::READS));
    let of_favorites =
        OpenApiRouter::new().routes(operation!(me::timeline)).route_layer(kept.clone()).route_layer(named(me::READS));
    let others = OpenApiRouter::new()
        .routes(operation!(comments::list))
        .routes(operation!(comments::get))
        .routes(operation!(companies::list_comments))
        .routes(operation!(users::list_comments))
        .route_layer(kept);
    others.merge(of_movie).merge(of_favorites)
}

fn operations(hot: Option<Hot>, live: Option<Live>) -> OpenApiRouter<QueryApi> {
    OpenApiRouter::with_openapi(Description::openapi())
        .merge(pages(hot, live))
        .routes(operation!(movies::list))
        .routes(operation!(movies::get))
        .routes(operation!(trending::list))
        .routes(operation!(companies::get))
        .routes(operation!(users::get))
        .routes(operation!(search::search))
        .routes(operation!(journey::list))
        .routes(operation!(live::movie))
        .routes(operation!(live::timeline))
        .routes(operation!(me::get))
        .routes(operation!(me::list_favorites))
        .routes(operation!(recommendations::list))
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
        let in_database = catalogue.steps().iter().filter_map(|step| match step {
            Step::Projection(projection) => Some(projection.read_model().clone()),
            _ => None,
        });
        let reader = Reader::open(database, in_database.collect()).await;
        let search = Search::new(serving);
        let mut read_models = ReadModels::new(reader.clone(), consistency);
        for step in catalogue.steps() {
            if let Step::Replica { replica, .. } = step {
                let search = search.clone();
                read_models = read_models.with(replica.read_model().clone(), move |wanted, deadline| {
                    let search = search.clone();
                    async move { search.wait_for(&wanted, deadline).await }
                });
            }
        }
        Self { reader, database: database.clone(), read_models, search, live: None, hot: None, opened: Instant::now() }
    }

    /// The same, which refuses tokens from beyond the end of `log`.
    #[must_use]
    pub fn bounded_by(mut self, log: Arc<dyn EventLog>) -> Self {
        self.read_models = self.read_models.bounded_by(log);
        self
    }

    /// With live streams of what is in `facts`, a topic of `log`, and with pages of up to `hot_bytes` in memory, which are
    /// forgotten by the same reading.
    #[must_use]
    pub fn with_live(mut self, log: Arc<dyn EventLog>, facts: Arc<str>, hot_bytes: usize) -> Self {
        let (reader, consistency) = (&self.reader, self.read_models.consistency());
        self.hot = (hot_bytes > 0).then(|| Hot::start(reader.clone(), me::READS, consistency.clone(), hot_bytes));
        self.live = Some(Live::start(log, facts, reader.clone(), consistency.clone(), self.hot.clone()));
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

    /// The routes and what they are described as.
    pub fn routes(&self) -> (Router, OpenApi) {
        let (routes, mut openapi) =
            operations(self.hot.clone(), self.live.clone()).with_state(self.clone()).split_for_parts();
        let routes = routes.layer(middleware::from_fn(answer::when_taken_back));
        let (stats, stats_openapi) = self.statistics().routes();
        openapi.merge(stats_openapi);
        (routes.merge(stats), openapi)
    }

    fn statistics(&self) -> StatisticsApi {
        let model = self.reader.models().iter().find(|model| &*model.name == Statistics::NAME);
        let model = model.expect("the catalogue has the statistics").clone();
        StatisticsApi::of(Statistics::shapes(), model, self.read_models.clone())
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
        ("GET /v1/stats", &["wait", "stale", "Consistency-Token"]),
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
        (
            "GET /v1/stats/{stream}/chart",
            &["stream", "dimension", "value", "window", "drawn", "windows", "wait", "stale", "Consistency-Token"],
        ),
        (
            "GET /v1/stats/{stream}/top",
            &["stream", "dimension", "last", "limit", "cursor", "wait", "stale", "Consistency-Token"],
        ),
        ("GET /v1/users/{id}", &["id", "wait", "stale", "Consistency-Token"]),
        ("GET /v1/users/{id}/comments", &["id", "limit", "cursor", "wait", "stale", "Consistency-Token"]),
        ("GET /v1/users/{id}/journey", &["id", "limit", "cursor", "wait", "stale", "Consistency-Token"]),
    ];

    fn openapi() -> OpenApi {
        let mut openapi = super::operations(None, None).split_for_parts().1;
        openapi.merge(balcony_statistics::http::described(&Statistics::shapes()));
        described(openapi)
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
