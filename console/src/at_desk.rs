use axum::extract::{FromRef, FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use balcony_http::describe::{Describe, Description};
use balcony_http::{Admin, Problem};
use balcony_projector::operations::Desk;

/// The desk, for whoever may stand at it.
pub(crate) struct AtDesk(pub(crate) Desk);

/// A step that has generations, by the name in the path.
pub(crate) struct StepName(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for AtDesk
where
    Desk: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Admin::from_request_parts(parts, state).await?;
        Ok(Self(Desk::from_ref(state)))
    }
}

impl Describe for AtDesk {
    fn describe(description: &mut Description<'_>) {
        Admin::describe(description);
        description.refuses(StatusCode::SERVICE_UNAVAILABLE, "the log or the database is away");
    }
}

impl<S: Send + Sync> FromRequestParts<S> for StepName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = Path::from_request_parts(parts, state).await;
        let Path(name) = name.map_err(|_| Problem::not_found("there is no step of this name"))?;
        Ok(Self(name))
    }
}

impl Describe for StepName {
    fn describe(description: &mut Description<'_>) {
        description.refuses(StatusCode::NOT_FOUND, "there is no step of this name");
        description.refuses(StatusCode::UNPROCESSABLE_ENTITY, "the step is a reactor, which has no generations");
    }
}
