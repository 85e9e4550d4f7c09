use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use balcony_http::describe::{Describe, Description};
use balcony_http::{Identity, Problem, Role};

/// Whoever asks is an admin.
pub(crate) struct Admin;

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let identity = Identity::from_request_parts(parts, state).await?;
        match identity.role {
            Role::Admin => Ok(Self),
            Role::User | Role::Moderator => Err(Problem::forbidden("only admins may do this")),
        }
    }
}

impl Describe for Admin {
    fn describe(description: &mut Description<'_>) {
        Identity::describe(description);
        description.refuses(StatusCode::FORBIDDEN, "only admins may do this");
        description.refuses(StatusCode::SERVICE_UNAVAILABLE, "the log or the database is away");
    }
}
