use balcony_event_log::{LogError, TopicPartition};
use balcony_store::StoreError;

use crate::ReplicaError;
use crate::intake::IntakeError;
use crate::parking::{Limit, MOST_FAILED_IN_A_ROW};

/// Why whoever works on a generation stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error(
        "{MOST_FAILED_IN_A_ROW} records in a row failed and were parked, and so would the next, because {0}; look at \
         what they have in common among the parked records, mend it and start the process again; `parked accept` parks \
         all that fails up to the log's end and goes on"
    )]
    TooManyInARow(String),
    #[error(
        "more than half of the last records failed and were parked, the last because {0}; look at what they have in \
         common among the parked records, mend it and start the process again; `parked accept` parks all that fails up \
         to the log's end and goes on"
    )]
    TooLargeAShare(String),
    #[error(
        "{} failed at every attempt and were parked, and so would the next, because {reason}; look at what they have in \
         common among the parked records, mend it and start the process again; `parked retry` delivers the parked ones",
        match .limit {
            Limit::InARow => format!("{MOST_FAILED_IN_A_ROW} deliveries in a row"),
            Limit::Share => "more than half of the last deliveries".to_owned(),
        }
    )]
    Undelivered { limit: Limit, reason: String },
    #[error(
        "{}/{} offset {offset} cannot be applied and was never parked: {error}; mend the step and rebuild again, \
         which goes on from here, or rebuild with --park to park what fails, or with --cancel to give up",
        .partition.topic, .partition.partition
    )]
    Unapplicable { partition: TopicPartition, offset: i64, error: String },
    #[error(
        "the log begins at offset {start} of {}/{}, and the generation before has read what stood below: a rebuild \
         would lose it; the generation before stays live. Give up with --cancel, or let the projection inherit it",
        .partition.topic, .partition.partition
    )]
    Forgotten { partition: TopicPartition, start: i64 },
    #[error("{0}")]
    Differs(String),
    #[error("the database refuses to move the checkpoints: {0}")]
    Stuck(String),
    #[error("it panicked; the message is in the log")]
    Panicked,
}

impl WorkError {
    /// That records which fail with `error` have reached a limit.
    pub(crate) fn at_limit(limit: Limit, error: &str) -> Self {
        match limit {
            Limit::InARow => Self::TooManyInARow(error.to_owned()),
            Limit::Share => Self::TooLargeAShare(error.to_owned()),
        }
    }

    /// That records which could not be delivered have reached a limit, the next because of `reason`.
    pub(crate) fn undelivered(limit: Limit, reason: String) -> Self {
        Self::Undelivered { limit, reason }
    }

    /// Whether starting again could help without anybody changing anything.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Store(_) | Self::Log(_) | Self::Replica(_) | Self::Intake(_) | Self::Panicked => true,
            Self::TooManyInARow(_)
            | Self::TooLargeAShare(_)
            | Self::Undelivered { .. }
            | Self::Unapplicable { .. }
            | Self::Forgotten { .. }
            | Self::Differs(_)
            | Self::Stuck(_) => false,
        }
    }
}
