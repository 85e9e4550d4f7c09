//! What queries read, and how they wait for what their clients have seen written.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{EventLog, Positions};
use balcony_store::{ReadModel, Reader};
use tokio::time::Instant;

use crate::log_end::LogEnd;
use crate::{Client, Consistency, ConsistencyToken, FieldError, Problem, Share, Shares};

/// The read models of a service: those of a [`Reader`], and what is elsewhere, such as an index. Cheap to clone.
#[derive(Clone)]
pub struct ReadModels {
    reader: Reader,
    consistency: Consistency,
    elsewhere: Arc<[Elsewhere]>,
    /// `None` when the log is not there to be asked.
    log_end: Option<LogEnd>,
    /// What queries that wait take one of.
    turns: Shares,
}

/// A read model that is in no database.
#[derive(Clone)]
struct Elsewhere {
    model: ReadModel,
    wait: Arc<dyn Fn(Positions, Instant) -> Waiting + Send + Sync>,
}

type Waiting = Pin<Box<dyn Future<Output = Result<bool, Problem>> + Send>>;

/// How many queries may wait for what was written, in one process: half of them from one address.
const WAITERS: usize = 2_048;
/// How long it is waited before the log is asked whether what is waited for was ever written.
const SOON: Duration = Duration::from_millis(250);

impl ReadModels {
    /// Those of `reader`, for clients whose tokens `consistency` reads.
    pub fn new(reader: Reader, consistency: Consistency) -> Self {
        let turns = Shares::of("queries that wait for what was written", WAITERS);
        Self { reader, consistency, elsewhere: Arc::default(), log_end: None, turns }
    }

    /// The same and `model`, for whose positions `wait` waits until a deadline; it says whether they were reached.
    #[must_use]
    pub fn with<F>(mut self, model: ReadModel, wait: impl Fn(Positions, Instant) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<bool, Problem>> + Send + 'static,
    {
        let wait = move |positions, deadline| -> Waiting { Box::pin(wait(positions, deadline)) };
        let added = Elsewhere { model, wait: Arc::new(wait) };
        self.elsewhere = self.elsewhere.iter().cloned().chain([added]).collect();
        self
    }

    /// The same, which refuses tokens from beyond the end of `log`.
    #[must_use]
    pub fn bounded_by(mut self, log: Arc<dyn EventLog>) -> Self {
        let models = self.reader.models().iter().chain(self.elsewhere.iter().map(|elsewhere| &elsewhere.model));
        let mut topics: Vec<_> = models.flat_map(|model| model.topics.iter().cloned()).collect();
        topics.sort_unstable();
        topics.dedup();
        self.log_end = Some(LogEnd::new(log, topics));
        self
    }

    /// What reads those that are in the database.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What makes and reads the tokens.
    pub fn consistency(&self) -> &Consistency {
        &self.consistency
    }

    /// Waits until the read model called `name` has everything below `wanted` of its topics; `false` when it has not by
    /// `deadline`.
    ///
    /// # Errors
    /// A problem while the read model is not there.
    ///
    /// # Panics
    /// When there is no read model of this name.
    pub async fn wait_for(&self, name: &str, wanted: &Positions, deadline: Instant) -> Result<bool, Problem> {
        if let Some(Elsewhere { model, wait }) = self.elsewhere.iter().find(|known| &*known.model.name == name) {
            let wanted = wanted.of_topics(&model.topics);
            return if wanted.is_empty() { Ok(true) } else { wait(wanted, deadline).await };
        }
        let model = self.reader.models().iter().find(|model| &*model.name == name);
        let model = model.expect("a query reads what the service has");
        let wanted = wanted.of_topics(&model.topics);
        if wanted.is_empty() {
            self.reader.check(model).await?;
            return Ok(true);
        }
        Ok(self.reader.wait_for(model, &wanted, deadline).await?)
    }

    /// As [`ReadModels::wait_for`], for what a client's token stands for. What has not come soon may be beyond the log's
    /// end, as when the log was restored to an earlier time: it is not waited for.
    pub(crate) async fn wait_for_written(
        &self,
        name: &str,
        token: &ConsistencyToken,
        deadline: Instant,
    ) -> Result<bool, Problem> {
        let soon = deadline.min(Instant::now() + SOON);
        if self.wait_for(name, &token.0, soon).await? {
            return Ok(true);
        }
        if let Some(log_end) = &self.log_end
            && log_end.is_before(&token.0).await
        {
            let detail = "stands for what the log does not have; leave it out";
            return Err(Problem::invalid(vec![FieldError::header("Consistency-Token", detail)]));
        }
        if soon < deadline { self.wait_for(name, &token.0, deadline).await } else { Ok(false) }
    }

    /// The right of `client` to wait for `token`, until it is dropped. Nobody needs one to wait for nothing.
    pub(crate) fn turn(&self, client: Client, token: &ConsistencyToken) -> Result<Option<Share>, Problem> {
        if token.0.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.turns.take(client)?))
    }
}
