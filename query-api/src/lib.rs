//! The query API: timelines, favourites, movies and people, from the read models, search, and live streams.
//!
//! A query takes its parameters, waits for what its client has seen ([`balcony_http::query`]), reads, and answers
//! ([`balcony_http::answer`]). One file per resource, which names the read models that it reads. Statistics are those of any
//! program ([`balcony_statistics::http`]). **Nothing is written here, and no state is held between requests** but by streams ([`live`]), which
//! go on from any other node, and by pages that are hot ([`hot`]), which are what the read models would give.

mod api;
mod comment;
mod comments;
mod companies;
mod conditions;
mod hot;
mod index;
mod journey;
mod keys;
mod labels;
mod live;
mod me;
mod movies;
mod ranking;
mod recommendations;
mod search;
mod time;
mod time_range;
mod timeline;
mod trending;
mod users;
mod watching;

use std::sync::Arc;

use axum::{Router, middleware};
use balcony_event_log::EventLog;
use balcony_http::{answer, operation};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use crate::api::QueryApi;
use crate::hot::Hot;
use crate::live::Live;

/// The path of the search.
pub const SEARCH: &str = "/v1/search";

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "Balcony query API",
    description = "Shows what happened: comments, timelines, movies, people."
))]
struct Description;

/// The operations whose answers `hot` keeps. Those of which there are streams in `live` say where they were read.
fn pages(hot: Option<Hot>, live: Option<Live>) -> OpenApiRouter<Arc<QueryApi>> {
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

fn operations(hot: Option<Hot>, live: Option<Live>) -> OpenApiRouter<Arc<QueryApi>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .merge(pages(hot, live))
        .routes(operation!(movies::list))
        .routes(operation!(movies::get))
        .routes(operation!(trending::list))
        .routes(operation!(companies::get))
        .routes(operation!(users::get))
        .routes(operation!(search::search))
        .routes(operation!(journey::list))
        .routes(operation!(watching::movie))
        .routes(operation!(watching::timeline))
        .routes(operation!(me::get))
        .routes(operation!(me::list_favorites))
        .routes(operation!(recommendations::list))
}

impl QueryApi {
    /// With live streams of what is in `facts`, a topic of `log`, and with pages of up to `hot_bytes` in memory, which are
    /// forgotten by the same reading.
    #[must_use]
    pub fn with_live(mut self, log: Arc<dyn EventLog>, facts: Arc<str>, hot_bytes: usize) -> Self {
        let (reader, consistency) = (&self.reader, self.read_models.consistency());
        self.hot = (hot_bytes > 0).then(|| Hot::start(reader.clone(), me::READS, consistency.clone(), hot_bytes));
        self.live = Some(Live::start(log, facts, reader.clone(), consistency.clone(), self.hot.clone()));
        self
    }

    /// The routes and what they are described as.
    pub fn routes(&self) -> (Router, OpenApi) {
        let (routes, mut openapi) =
            operations(self.hot.clone(), self.live.clone()).with_state(Arc::new(self.clone())).split_for_parts();
        let routes = routes.layer(middleware::from_fn(answer::when_taken_back));
        let (stats, stats_openapi) = self.statistics().with_labels(labels::Names(self.clone())).routes();
        openapi.merge(stats_openapi);
        (routes.merge(stats), openapi)
    }
}

#[cfg(test)]
mod tests {
    use balcony_http::service::described;
    use balcony_http::testing::{gaps, operations};
    use balcony_read_models::Statistics;

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
            let is_public_list =
                operation.parameters().contains(&"cursor") && !of_oneself && !operation.name.contains("/live/");
            assert!(operation.answers(304) || !is_public_list, "{}", operation.name);
        }
        let mut found: Vec<_> = described.iter().map(|found| (found.name.as_str(), found.parameters())).collect();
        let mut expected: Vec<_> = PARAMETERS.iter().map(|&(name, parameters)| (name, parameters.to_vec())).collect();
        for (_, parameters) in found.iter_mut().chain(&mut expected) {
            parameters.sort_unstable();
        }
        assert_eq!(found, expected);
    }
}
