//! The query API: timelines, favourites, movies and people, from the read models, and search.
//!
//! A query takes its parameters, waits for what its client has seen ([`query`]), reads, and answers ([`answer`]). One
//! file per resource; what lists share is their shape ([`page`]) and their cursors ([`cursor`]). **Nothing is written
//! here, and no state is held between requests.**

mod answer;
mod comment;
mod comments;
mod companies;
mod conditions;
mod cursor;
mod journey;
mod me;
mod movies;
mod page;
mod query;
mod search;
mod time_range;
mod timeline;
mod users;

use axum::Router;
use balcony_domain::{Timestamp, Topics};
use balcony_http::service::Check;
use balcony_http::{Consistency, Problem};
use balcony_search::Serving;
use balcony_store::{Database, Reader};
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::query::ReadModel;
use crate::search::Search;

/// The query API over the read models. Cheap to clone.
#[derive(Clone)]
pub struct QueryApi {
    reader: Reader,
    consistency: Consistency,
    topics: Topics,
    search: Search,
}

/// The read models it reads in the database.
pub const PROJECTIONS: &[&str] = &[
    ReadModel::Registry.name(),
    ReadModel::Comments.name(),
    ReadModel::Favorites.name(),
    ReadModel::Journeys.name(),
    ReadModel::Statistics.name(),
];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Balcony query API", description = "Shows what happened: comments, timelines, movies, people."),
    modifiers(&Token)
)]
struct Description;

/// The scheme that operations call `token`.
struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

impl QueryApi {
    /// An API on the read models in `database`, and on the index of comments that `serving` has.
    pub async fn open(database: &Database, topics: Topics, consistency: Consistency, serving: Serving) -> Self {
        let search = Search::new(serving);
        Self { reader: Reader::open(database, PROJECTIONS).await, consistency, topics, search }
    }

    /// The routes and what they are described as.
    pub fn routes(&self) -> (Router, OpenApi) {
        OpenApiRouter::with_openapi(Description::openapi())
            .routes(routes!(comments::list))
            .routes(routes!(comments::get))
            .routes(routes!(movies::list))
            .routes(routes!(movies::get))
            .routes(routes!(movies::list_comments))
            .routes(routes!(companies::get))
            .routes(routes!(companies::list_comments))
            .routes(routes!(users::get))
            .routes(routes!(users::list_comments))
            .routes(routes!(search::search))
            .routes(routes!(journey::list))
            .routes(routes!(me::get))
            .routes(routes!(me::list_favorites))
            .routes(routes!(me::timeline))
            .with_state(self.clone())
            .split_for_parts()
    }

    /// What has to be there for queries to be answered.
    pub fn checks(&self) -> Vec<Check> {
        let reader = self.reader.clone();
        let serving = self.search.serving.clone();
        vec![
            Check::new("read models", move || {
                let reader = reader.clone();
                async move { reader.check().await.map_err(|error| error.to_string()) }
            }),
            Check::new("search", move || {
                let index = serving.index();
                async move { index.map(drop) }
            }),
        ]
    }
}

/// A time as a read model holds it, in milliseconds.
fn stored_time(milliseconds: i64) -> Result<Timestamp, Problem> {
    Timestamp::from_milliseconds(milliseconds).map_err(|error| Problem::internal(&error))
}
