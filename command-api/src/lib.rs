//! The command API: authenticate, check the shape, check the rules, append one event, answer.
//!
//! **Nothing else happens in a request**: no read model is written, and the only one that is read is the registry
//! (what exists, who wrote it). One file per resource; what they share is how a command comes in ([`command`]), how
//! something is made once ([`creating`], [`idempotency`]), how an event is recorded ([`recorder`]) and what the registry
//! is asked ([`registry`]).

mod api;
mod command;
mod comments;
mod companies;
mod creating;
mod idempotency;
mod mail;
mod me;
mod movies;
mod recorder;
mod registry;

use std::sync::Arc;

use axum::Router;
use balcony_http::operation;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use crate::api::CommandApi;

#[derive(utoipa::OpenApi)]
#[openapi(info(title = "Balcony command API", description = "Posts what happens: comments, favourites, movies."))]
struct Description;

fn operations() -> OpenApiRouter<Arc<CommandApi>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(operation!(companies::register))
        .routes(operation!(mail::unsubscribe))
        .routes(operation!(movies::register))
        .routes(operation!(movies::view))
        .routes(operation!(comments::post))
        .routes(operation!(comments::delete))
        .routes(operation!(me::change_profile))
        .routes(operation!(me::favorite))
        .routes(operation!(me::unfavorite))
}

/// Pages for people, which are no commands.
fn pages() -> OpenApiRouter<Arc<CommandApi>> {
    OpenApiRouter::new().routes(operation!(mail::ask))
}

impl CommandApi {
    /// The routes and what they are described as.
    pub fn routes(self: &Arc<Self>) -> (Router, OpenApi) {
        operations().merge(pages()).with_state(self.clone()).split_for_parts()
    }
}

#[cfg(test)]
mod tests {
    use balcony_http::service::described;
    use balcony_http::testing::{gaps, operations};

    use super::*;

    /// What every operation takes at the least.
    const PARAMETERS: &[(&str, &[&str])] = &[
        ("DELETE /v1/comments/{id}", &["id"]),
        ("DELETE /v1/me/favorites/{user_id}", &["user_id"]),
        ("POST /v1/companies", &["Idempotency-Key"]),
        ("POST /v1/mail/unsubscribe/{ticket}", &["ticket", "Idempotency-Key"]),
        ("POST /v1/movies", &["Idempotency-Key"]),
        ("POST /v1/movies/{id}/comments", &["id", "Idempotency-Key"]),
        ("POST /v1/movies/{id}/views", &["id"]),
        ("PUT /v1/me", &[]),
        ("PUT /v1/me/favorites/{user_id}", &["user_id"]),
    ];

    /// What needs no token that says who one is.
    const FOR_ANYBODY: [&str; 2] = [UNSUBSCRIBES, "POST /v1/movies/{id}/views"];

    /// What takes a key and makes nothing.
    const UNSUBSCRIBES: &str = "POST /v1/mail/unsubscribe/{ticket}";

    fn openapi() -> OpenApi {
        described(super::operations().split_for_parts().1)
    }

    #[test]
    fn the_description_has_no_gaps() {
        assert_eq!(gaps(&openapi()), [""; 0]);
    }

    #[test]
    fn every_operation_is_described_with_what_it_takes_and_refuses() {
        let openapi = openapi();
        let described = operations(&openapi);
        let names: Vec<&str> = described.iter().map(|operation| operation.name.as_str()).collect();
        let expected: Vec<&str> = PARAMETERS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, expected);
        for (operation, (name, parameters)) in described.iter().zip(PARAMETERS) {
            let found = operation.parameters();
            for parameter in parameters.iter().chain(&["Consistency-Token"]) {
                assert!(found.contains(parameter), "{name} lacks {parameter}");
            }
            let takes_key = found.contains(&"Idempotency-Key");
            assert_eq!(operation.answers(201), takes_key && *name != UNSUBSCRIBES, "{name}");
            assert_eq!(operation.answers(409), takes_key, "{name}");
            assert!(operation.answers(422) && operation.answers(503), "{name}");
            let needs_token = operation.described["security"] == serde_json::json!([{"token": []}]);
            assert_eq!(needs_token, !FOR_ANYBODY.contains(name), "{name}");
        }
        let answering = |status| -> Vec<&str> {
            described.iter().filter(|operation| operation.answers(status)).map(|found| found.name.as_str()).collect()
        };
        assert_eq!(answering(403), ["DELETE /v1/comments/{id}", "POST /v1/companies", "POST /v1/movies"]);
        // Whether it wants a body or none, what is sent is looked at.
        assert_eq!(answering(415), names);
    }
}
