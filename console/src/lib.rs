//! Operators' HTTP and the control room, for any program on the library.
//!
//! What the operators' commands do is offered over HTTP, and on a page ([`room`]), to whoever has a token with the role admin: every step as doctor
//! sees it ([`steps`]), the log ([`topics`], [`records`]) and what was set aside ([`parked`]). A program mounts all of it
//! with [`routes`], in whichever of its services has an installation. A page for readers, of the charts that a program
//! declares, is [`ChartPage`], and of anything else [`plain_page`]. **Nothing here knows what the events say, and no
//! state is held between requests but how the steps were doing in the last hour** ([`history`]).

mod at_desk;
mod charts;
mod cursor;
mod history;
mod once;
mod parked;
mod plain;
mod records;
mod refusal;
mod room;
mod steps;
mod topics;

pub use self::charts::ChartPage;
pub use self::plain::plain_page;

use std::convert::Infallible;

use axum::Router;
use balcony_http::operation;
use balcony_projector::operations::Desk;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::history::Shared;

#[derive(utoipa::OpenApi)]
#[openapi(info(title = "Operators' API", description = "What operators see and do, admins only."))]
struct Description;

fn operations() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(operation!(steps::list))
        .routes(operation!(steps::history))
        .routes(operation!(steps::rebuild))
        .routes(operation!(steps::roll_back))
        .routes(operation!(steps::cancel))
        .routes(operation!(topics::list))
        .routes(operation!(records::list))
        .routes(operation!(parked::list))
        .routes(operation!(parked::get))
        .routes(operation!(parked::retry))
        .routes(operation!(parked::discard))
}

/// The routes of `desk` with the control room at `/control`, what the routes are described as, and the work beside them, for
/// as long as they are served: every step is looked at from time to time.
pub fn routes(desk: Desk) -> (Router, OpenApi, impl Future<Output = Infallible> + Send + 'static) {
    let shared = Shared::of(desk);
    let (routes, openapi) = operations().with_state(shared.clone()).split_for_parts();
    (routes.merge(room::routes()), openapi, shared.look_on())
}

#[cfg(test)]
mod tests {
    use balcony_http::service::described;
    use balcony_http::testing::{gaps, operations};

    #[test]
    fn the_description_has_no_gaps_and_everything_needs_an_admin() {
        let openapi = described(super::operations().split_for_parts().1);
        assert_eq!(gaps(&openapi), [""; 0]);
        for operation in operations(&openapi) {
            assert!(operation.name.contains(" /v1/admin/"), "{}", operation.name);
            assert!(operation.answers(403) && operation.answers(503), "{}", operation.name);
            let takes_a_key = operation.described["parameters"]
                .as_array()
                .is_some_and(|parameters| parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key"));
            assert_eq!(takes_a_key, operation.name.starts_with("POST "), "{}", operation.name);
            assert_eq!(operation.described["security"], serde_json::json!([{"token": []}]), "{}", operation.name);
        }
    }
}
