//! What faults of the log and of the database are to a client.

use balcony_event_log::{AppendError, LogError};
use balcony_store::StoreError;

use crate::body;
use crate::problem::{Problem, chain};

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotReady(_) => Self::unavailable(error.to_string()),
            StoreError::Lost(_) => {
                tracing::error!(%error, "it has to be rebuilt");
                Self::unavailable("a read model has to be built again; try again later")
            }
            StoreError::Unavailable(_) | StoreError::Locked(_) => {
                tracing::warn!(error = %chain(&error), "the database is away");
                Self::unavailable("the database is not available; try again")
            }
            error => Self::internal(&error),
        }
    }
}

/// What is said when the log was exchanged under the service. Why it is taken to be so is in the log lines and at `/readyz`.
const FOREIGN: &str = "the log is not the one that this installation was made with; nothing was done";

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        tracing::warn!(%error, "an event could not be appended");
        match error {
            AppendError::Unavailable(_) | AppendError::UnknownTopic { .. } => {
                Self::unavailable("the log is not available; nothing was done, try again")
            }
            AppendError::Foreign(_) => Self::unavailable(FOREIGN),
            AppendError::Unknown(_) => Self::outcome_unknown(),
            AppendError::TooLarge => Self::too_large(body::LIMIT),
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        tracing::warn!(%error, "the log could not be read");
        match error {
            LogError::Misconfigured(_) => Self::unavailable(FOREIGN),
            _ => Self::unavailable("the log is not available; try again"),
        }
    }
}
