//! What the operators' commands do, for a program that offers it another way, such as over HTTP.

mod once;
mod parked;
mod records;

use std::sync::Arc;

use balcony_event_log::LogError;
use balcony_store::{BuildOptions, Generation, ReadModel, StoreError};
use uuid::Uuid;

pub use self::parked::{ParkedDetail, ParkedItem, ParkedPlace};
pub use self::records::{PartitionExtent, RecordsFound, RecordsWanted, TopicExtent};
use super::doctor::{Diagnosis, examination};
use super::retry::RetryError;
use super::transfer::Format;
use crate::catalogue::{Step, UnknownStep};
use crate::{Application, Installation};

/// The operators' desk of an installation that this process runs. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    application: Application,
    installation: Arc<Installation>,
    format: Arc<Format>,
}

/// Why something could not be done at the desk.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// There is no such step.
    #[error(transparent)]
    UnknownStep(#[from] UnknownStep),
    /// There is no such topic.
    #[error("{name:?} is not a topic of this program; there are {}", known.join(", "))]
    UnknownTopic {
        /// The name.
        name: String,
        /// The topics that there are.
        known: Vec<String>,
    },
    /// The topic has no such partition.
    #[error("is not a partition of {topic}, which has {partitions}")]
    UnknownPartition {
        /// The topic, by its name in the log.
        topic: String,
        /// How many partitions it has.
        partitions: usize,
    },
    /// Nothing is parked under this id.
    #[error("no record {0} is parked")]
    UnknownRecord(Uuid),
    /// A reactor has no generations.
    #[error("{0} is a reactor: what it did cannot be done again, so it has no generations")]
    Reactor(Arc<str>),
    /// No rebuild is under way.
    #[error("no rebuild of {0} is under way")]
    NothingToCancel(Arc<str>),
    /// It cannot be done as things stand, for the reason that is given.
    #[error("{0}")]
    Refused(String),
    /// Something else was asked for under the same key.
    #[error("another request was made under this key")]
    AnotherUnderKey,
    /// The same request was made under the same key, and is under way.
    #[error("the same request is under way")]
    UnderWay,
    /// The same request was begun under the same key, and it is not known whether it was done.
    #[error(
        "this was begun under the same key and its process ended before the answer; see what has become of it, and use a new \
         key to do it again"
    )]
    CutShort,
    /// The log does not answer.
    #[error(transparent)]
    Log(LogError),
    /// The database does not answer.
    #[error(transparent)]
    Store(StoreError),
}

/// What became of a rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    /// The generation that is live again.
    pub live: i64,
    /// The one that was retired, if one was.
    pub retired: Option<i64>,
}

impl Desk {
    /// The desk of `installation`, which this process runs for `application`.
    pub fn new(application: &Application, installation: Arc<Installation>) -> Self {
        let format = Arc::new(Format::with_topics(application, installation.topics.clone()));
        Self { application: application.clone(), installation, format }
    }

    /// What doctor says of every step.
    ///
    /// # Errors
    /// [`DeskError::Log`] and [`DeskError::Store`].
    pub async fn examine(&self) -> Result<Diagnosis, DeskError> {
        examination::examine(&self.application, &self.installation).await.map_err(cause)
    }

    /// Asks for a new generation of the step called `name`, or lets one that failed go on; gives its number. Whoever
    /// keeps the step builds it and switches to it.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub async fn rebuild(&self, name: &str, options: BuildOptions) -> Result<Generation, DeskError> {
        let (_, model) = self.rebuildable(name)?;
        Ok(self.installation.database.begin_build(model, options).await?)
    }

    /// Gives up the rebuild that is under way, or has failed; gives the generation.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub async fn cancel(&self, name: &str) -> Result<Generation, DeskError> {
        let (name, model) = self.rebuildable(name)?;
        let given_up = self.installation.database.cancel_build(&model.name, model.version).await?;
        given_up.ok_or(DeskError::NothingToCancel(name))
    }

    /// Makes the generation before live again.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub async fn roll_back(&self, name: &str) -> Result<RolledBack, DeskError> {
        let (_, model) = self.rebuildable(name)?;
        let (live, retired) = self.installation.database.roll_back(&model.name, model.version).await?;
        Ok(RolledBack { live: live.number, retired: retired.map(|retired| retired.number) })
    }

    fn rebuildable(&self, name: &str) -> Result<(Arc<str>, &ReadModel), DeskError> {
        let step = match self.installation.catalogue.find(name) {
            Ok(step) => step,
            Err(UnknownStep { name, off: Some(_), .. }) => return Err(DeskError::Reactor(name.into())),
            Err(unknown) => return Err(unknown.into()),
        };
        let model = match step {
            Step::Projection(projection) => projection.read_model(),
            Step::Replica { replica, .. } => replica.read_model(),
            Step::Reactor(reactor) => return Err(DeskError::Reactor(reactor.name().clone())),
        };
        Ok((step.name().clone(), model))
    }
}

impl From<StoreError> for DeskError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Misconfigured(reason) => Self::Refused(reason),
            error => Self::Store(error),
        }
    }
}

impl From<LogError> for DeskError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<RetryError> for DeskError {
    fn from(error: RetryError) -> Self {
        match error {
            RetryError::Store(error) => error.into(),
            RetryError::Unknown { id, .. } => Self::UnknownRecord(id),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// The error of a command in the desk's terms.
fn cause(error: anyhow::Error) -> DeskError {
    let error = match error.downcast::<StoreError>() {
        Ok(error) => return error.into(),
        Err(error) => error,
    };
    match error.downcast::<LogError>() {
        Ok(error) => error.into(),
        Err(error) => DeskError::Refused(format!("{error:#}")),
    }
}
