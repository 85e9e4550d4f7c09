//! The query API: timelines, favourites, movies and people, from the read models.

use axum::Router;
use balcony_domain::Topics;
use balcony_http::Consistency;
use balcony_http::service::Check;
use balcony_store::{Database, Reader};
use utoipa::openapi::OpenApi;

/// The query API over the read models. Cheap to clone.
#[derive(Clone)]
pub struct QueryApi {
    reader: Reader,
    #[expect(dead_code)]
    consistency: Consistency,
    #[expect(dead_code)]
    topics: Topics,
}

/// The read models it reads.
pub const PROJECTIONS: &[&str] = &["registry", "comments", "favorites", "statistics"];

impl QueryApi {
    /// An API on the read models in `database`.
    pub async fn open(database: &Database, topics: Topics, consistency: Consistency) -> Self {
        Self { reader: Reader::open(database, PROJECTIONS).await, consistency, topics }
    }

    /// The routes and what they are described as.
    pub fn routes(&self) -> (Router, OpenApi) {
        (Router::new(), OpenApi::default())
    }

    /// What has to be there for queries to be answered.
    pub fn checks(&self) -> Vec<Check> {
        let reader = self.reader.clone();
        vec![Check::new("read models", move || {
            let reader = reader.clone();
            async move { reader.check().await.map_err(|error| error.to_string()) }
        })]
    }
}
