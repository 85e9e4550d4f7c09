use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use balcony_http::describe::{Describe, Description};
use balcony_http::{Admin, IdempotencyKey, Problem};
use balcony_projector::operations::{Desk, DeskError};
use serde::Serialize;
use uuid::Uuid;

use crate::refusal::Refusal;

/// A request for a deed that is done once under its `Idempotency-Key`, if it has one.
pub(crate) struct Once(Option<Uuid>);

/// Ids of requests are made in it.
const REQUESTS: Uuid = Uuid::from_u128(0x9d0f_5c1e_7a42_4b0e_8f6b_3f1c_52d7_a6e4);

impl<S: Send + Sync> FromRequestParts<S> for Once {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Admin(admin) = Admin::from_request_parts(parts, state).await?;
        let Some(key) = IdempotencyKey::take(&parts.headers)? else { return Ok(Self(None)) };
        let (user, method, path) = (admin.user, &parts.method, parts.uri.path());
        let name = format!("{user}\0{method}\0{path}\0{}", key.as_str());
        Ok(Self(Some(Uuid::new_v5(&REQUESTS, name.as_bytes()))))
    }
}

impl Describe for Once {
    fn describe(description: &mut Description<'_>) {
        IdempotencyKey::describe(description);
    }
}

impl Once {
    /// Answers with what `deed` gives, or gave when it was asked for under this key before. What the path does not say of it
    /// is in `said`.
    pub(crate) async fn answer<T: Serialize + Send + 'static>(
        self,
        desk: &Desk,
        status: StatusCode,
        said: String,
        deed: impl Future<Output = Result<T, DeskError>> + Send + 'static,
    ) -> Result<Response, Refusal> {
        Ok(match self.0 {
            Some(id) => (status, Json(desk.once(id, said, deed).await?)).into_response(),
            None => (status, Json(deed.await?)).into_response(),
        })
    }
}
