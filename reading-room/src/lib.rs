//! The reading room: what the query API answers, as pages for people.
//!
//! Each page asks the query API within the process ([`api`]) and writes HTML ([`pages`], [`parts`]); a script makes it live and
//! lets whoever is signed in write. Reading works without it. **This crate knows the shapes of the API's answers and
//! nothing of what is behind them**, so that a page shows what any client would be told.

mod accept;
mod api;
mod asked;
mod pages;
mod parts;
mod room;
mod texts;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};
use balcony_http::page::{Asset, SCRIPT, STYLE, assets};

use crate::room::Room;

const ASSETS: &[Asset] = &[
    Asset { path: "/assets/room.css", content_type: STYLE, bytes: include_bytes!("assets/room.css") },
    Asset { path: "/assets/room.js", content_type: SCRIPT, bytes: include_bytes!("assets/room.js") },
];

/// The pages over `queries`. Their script sends commands to the origin `commands`, or to the page's own. The style that
/// the house shares ([`balcony_http::page::HOUSE_STYLE`]) is served by whoever mounts them.
pub fn routes(queries: Router, commands: Option<Arc<str>>) -> Router {
    let room = Room { queries, commands };
    Router::new()
        .route("/", get(pages::front))
        .route("/movies", get(pages::movies))
        .route("/movies/{id}", get(pages::movie))
        .route("/people/{id}", get(pages::person))
        .route("/companies/{id}", get(pages::company))
        .route("/search", get(pages::search))
        .route("/favorites", get(pages::favorites))
        // Whatever no other route is for.
        .route("/{*path}", any(pages::unknown))
        .with_state(room)
        .merge(assets(ASSETS.iter().copied()))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode, header};
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_page_that_cannot_be_shown_says_when_to_ask_again() {
        let away = async || (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "7")], "{}");
        let room = routes(Router::new().fallback(away), None);
        for path in ["/", "/movies", "/search?q=x", "/movies/0192f0c1-7c3e-7b0a-9d58-2f6a1b3c4d5e"] {
            let request = Request::get(path).body(Body::empty()).expect("a request");
            let answer = room.clone().oneshot(request).await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_eq!(answer.headers()[header::RETRY_AFTER], "7", "{path}");
        }
    }
}
