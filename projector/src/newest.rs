//! Queries that are answered with everything that is in the log when they are asked.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{EventLog, LogError};
use balcony_store::{ReadModel, Reader, Row, StoreError, Value};
use tokio::time::Instant;

/// Asks read models that have come to the log's end: for what must be known before something is done that must not be
/// done twice. Cheap to clone.
#[derive(Clone)]
pub struct Newest {
    log: Arc<dyn EventLog>,
    reader: Reader,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NewestError {
    /// The log does not say where it ends.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The read model has not come to the log's end in time.
    #[error("the read model {0} is behind the log")]
    Behind(Arc<str>),
}

/// How long a read model may take to come to where the log ended.
const PATIENCE: Duration = Duration::from_secs(30);

impl Newest {
    /// Asks the read models of `reader`, which are made of `log`.
    pub fn new(log: Arc<dyn EventLog>, reader: Reader) -> Self {
        Self { log, reader }
    }

    /// The log.
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// For queries that need not wait.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The rows of a query on `model` once that has everything that was in the log when this was called.
    ///
    /// # Errors
    /// See [`NewestError`].
    pub async fn fetch<R: Row>(
        &self,
        model: &ReadModel,
        sql: impl Into<Cow<'static, str>>,
        params: &[Value<'_>],
    ) -> Result<Vec<R>, NewestError> {
        let (sql, ends) = (sql.into(), self.log.ends(&model.topics).await?);
        let deadline = Instant::now() + PATIENCE;
        let read = || async {
            if !self.reader.wait_for(model, &ends, deadline).await? {
                return Err(NewestError::Behind(model.name.clone()));
            }
            Ok(self.reader.fetch(sql.clone(), params).await?)
        };
        self.reader.undisturbed(read).await
    }
}
