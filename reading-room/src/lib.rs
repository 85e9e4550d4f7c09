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
    use axum::http::{Request, StatusCode, Uri, header};
    use axum::response::IntoResponse as _;
    use serde_json::json;
    use tower::ServiceExt as _;

    use super::*;

    /// The page at `path` over `queries`, in Japanese.
    async fn japanese(queries: Router, path: &str) -> String {
        let request = Request::get(path).header(header::ACCEPT, "text/html").header(header::ACCEPT_LANGUAGE, "ja");
        let answer = routes(queries, None).oneshot(request.body(Body::empty()).expect("a request")).await;
        let body = axum::body::to_bytes(answer.expect("an answer").into_body(), 1 << 20).await.expect("a page");
        String::from_utf8(body.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn what_the_api_says_in_english_is_marked_on_a_page_in_another_language() {
        for (status, own) in [
            (StatusCode::NOT_FOUND, "このアドレスにページはありません。"),
            (StatusCode::TOO_MANY_REQUESTS, "リクエストが多すぎます。"),
            (StatusCode::SERVICE_UNAVAILABLE, "サービスが応答できません。"),
            (StatusCode::UNPROCESSABLE_ENTITY, ""),
        ] {
            let refuse = async move || (status, json!({"detail": "words of the API"}).to_string());
            let page = japanese(Router::new().fallback(refuse), "/movies?cursor=x").await;
            assert!(page.contains(own), "{page}");
            assert_eq!(page.matches("words of the API").count(), page.matches(" lang=\"en\">words of the API").count());
            assert_eq!(page.contains("words of the API"), status != StatusCode::NOT_FOUND, "{page}");
        }
        let page = japanese(Router::new(), "/no/such/page").await;
        assert!(page.contains("このアドレスにページはありません。"), "{page}");
    }

    #[tokio::test]
    async fn the_lists_of_a_persons_page_go_back_each_by_itself() {
        let id = "0192f0c1-7c3e-7b0a-9d58-2f6a1b3c4d5e";
        let answer = async |uri: Uri| {
            let cursor = uri.query().and_then(|query| query.split_once("cursor=")).map_or("", |(_, cursor)| cursor);
            let (items, next_cursor) = (json!([]), format!("{cursor}1"));
            let user = json!({"id": "0192f0c1-7c3e-7b0a-9d58-2f6a1b3c4d5e", "display_name": "Mia"});
            let list = json!({"items": items, "next_cursor": next_cursor});
            axum::Json(if uri.path().ends_with("4d5e") { user } else { list }).into_response()
        };
        let page = japanese(Router::new().fallback(answer), &format!("/people/{id}?cursor=a&steps=b")).await;
        assert!(page.contains(&format!("href=\"/people/{id}?steps=b&amp;cursor=a1\"")), "{page}");
        assert!(page.contains(&format!("href=\"/people/{id}?cursor=a&amp;steps=b1#journey\"")), "{page}");
    }

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
