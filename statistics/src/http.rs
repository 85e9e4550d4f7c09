//! Statistics over HTTP, for the streams of any program: what is counted (`GET /v1/stats`), a series as a list
//! (`GET /v1/stats/{stream}`) and as server-sent events while it moves (`GET /v1/live/stats/{stream}`), the values that were
//! most frequent lately (`…/top`), and lines in time (`…/chart`); and the charts of a page, as a program declares them
//! ([`Chart`]).
//!
//! ```
//! use balcony_http::Consistency;
//! # use balcony_event_log::Record;
//! # use balcony_projector::Decode;
//! use balcony_statistics::http::StatisticsApi;
//! use balcony_statistics::{Occurrence, Statistics};
//! use balcony_store::Database;
//! # use balcony_store::Uuid;
//! # struct Sale;
//! # impl Decode for Sale { fn decode(_: &Record) -> Result<Option<Self>, String> { Ok(None) } }
//! # impl Occurrence for Sale { fn at(&self) -> i64 { 0 } fn id(&self) -> Option<Uuid> { None } }
//!
//! async fn routes(statistics: &Statistics<Sale>, database: &Database, consistency: Consistency) -> axum::Router {
//!     let api = StatisticsApi::open(statistics, database, consistency).await;
//!     let (routes, openapi) = api.routes();
//!     // … merged with the program's own.
//!     routes
//! }
//! ```

mod api;
mod chart;
mod charts;
mod decimal;
mod describing;
mod drawing;
mod item;
mod labels;
mod list;
mod live;
mod ranking;
mod sending;
mod streams;
mod watched;

use axum::{Router, middleware};
use balcony_http::{answer, operation};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use self::api::StatisticsApi;
pub use self::chart::{Chart, Drawn};
use self::charts::Charts;
pub use self::labels::{Labelling, Labels};
use crate::Shapes;

impl StatisticsApi {
    /// The routes and what they are described as.
    pub fn routes(&self) -> (Router, OpenApi) {
        let (routes, openapi) = operations().with_state(self.clone()).split_for_parts();
        (routes.layer(middleware::from_fn(answer::when_taken_back)), describing::with_names(openapi, &self.shapes))
    }

    /// The route of the charts of a page while they move (`GET /v1/live/charts`), and what it is described as.
    ///
    /// # Panics
    /// When a chart is of what is not counted, which is an error of the program.
    pub fn charts(&self, charts: &[Chart]) -> (Router, OpenApi) {
        let plans = charts.iter().map(|chart| chart.plan(&self.shapes)).collect();
        let state = Charts { api: self.clone(), plans };
        untitled().routes(operation!(charts::watch)).with_state(state).split_for_parts()
    }
}

/// What [`StatisticsApi::routes`] are described as, for streams of `shapes`.
pub fn described(shapes: &Shapes) -> OpenApi {
    describing::with_names(operations().split_for_parts().1, shapes)
}

/// Routes whose description has no title, which is the program's to give.
fn untitled<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S> {
    OpenApiRouter::with_openapi(OpenApi::default())
}

fn operations() -> OpenApiRouter<StatisticsApi> {
    untitled()
        .routes(operation!(streams::list))
        .routes(operation!(list::list))
        .routes(operation!(ranking::list))
        .routes(operation!(charts::draw))
        .routes(operation!(live::watch))
}
