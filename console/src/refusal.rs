use axum::response::{IntoResponse, Response};
use balcony_http::{FieldError, Problem};
use balcony_projector::operations::DeskError;

/// Why the desk did not do something, as an answer.
pub(crate) struct Refusal(Problem);

impl From<DeskError> for Refusal {
    fn from(error: DeskError) -> Self {
        Self(match error {
            DeskError::UnknownStep(_) | DeskError::UnknownTopic { .. } | DeskError::UnknownRecord(_) => {
                Problem::not_found(error.to_string())
            }
            DeskError::UnknownPartition { .. } => {
                Problem::invalid(vec![FieldError::parameter("partition", error.to_string())])
            }
            DeskError::Reactor(_) => Problem::broken_rule(error.to_string()),
            DeskError::NothingToCancel(_) | DeskError::Refused(_) => Problem::conflict(error.to_string()),
            DeskError::AnotherUnderKey => Problem::key_reused(),
            DeskError::UnderWay => Problem::in_progress(),
            DeskError::CutShort => Problem::conflict(error.to_string()),
            DeskError::Log(_) => Problem::unavailable("the log is not available; try again"),
            DeskError::Store(error) => error.into(),
        })
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}
