use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::EventLog;
use balcony_http::probes::Check;
use balcony_http::reading::ReadModels;
use balcony_http::{Consistency, Problem};
use balcony_projector::{Catalogue, Serving, Step};
use balcony_read_models::Statistics;
use balcony_search::Index;
use balcony_statistics::http::StatisticsApi;
use balcony_store::{Database, GenerationState, Reader, StoreError};
use tokio::time::Instant;

use crate::hot::Hot;
use crate::index::Search;
use crate::live::Live;

/// The query API over the read models. Cheap to clone.
#[derive(Clone)]
pub struct QueryApi {
    pub(crate) reader: Reader,
    pub(crate) database: Database,
    /// What it reads, in the database and elsewhere.
    pub(crate) read_models: ReadModels,
    pub(crate) search: Search,
    /// `None` where no log is read.
    pub(crate) live: Option<Live>,
    /// `None` where no log is read, and where no pages are to be kept.
    pub(crate) hot: Option<Hot>,
    pub(crate) opened: Instant,
}

/// How long the service is not ready for a read model that is still being built. One that takes longer makes only its own
/// queries wait.
const BUILT_IN: Duration = Duration::from_secs(10);

impl QueryApi {
    /// An API on the read models of `catalogue` in `database`, each in its version, and on the index of comments that
    /// `serving` has.
    pub async fn open(
        database: &Database,
        catalogue: &Catalogue,
        consistency: Consistency,
        serving: Serving<Index>,
    ) -> Self {
        let in_database = catalogue.steps().iter().filter_map(|step| match step {
            Step::Projection(projection) => Some(projection.read_model().clone()),
            _ => None,
        });
        let reader = Reader::open(database, in_database.collect()).await;
        let search = Search::new(serving);
        let mut read_models = ReadModels::new(reader.clone(), consistency);
        for step in catalogue.steps() {
            if let Step::Replica { replica, .. } = step {
                let search = search.clone();
                read_models = read_models.with(replica.read_model().clone(), move |wanted, deadline| {
                    let search = search.clone();
                    async move { search.wait_for(&wanted, deadline).await }
                });
            }
        }
        Self { reader, database: database.clone(), read_models, search, live: None, hot: None, opened: Instant::now() }
    }

    /// The same, which refuses tokens from beyond the end of `log`.
    #[must_use]
    pub fn bounded_by(mut self, log: Arc<dyn EventLog>) -> Self {
        self.read_models = self.read_models.bounded_by(log);
        self
    }

    /// Ends every live stream, and lets none begin: what a process does that is told to end, so that its clients go
    /// elsewhere.
    pub fn close_streams(&self) {
        if let Some(live) = &self.live {
            live.close();
        }
    }

    pub(crate) fn live(&self) -> Result<&Live, Problem> {
        self.live.as_ref().ok_or_else(|| Problem::unavailable("there are no live streams here"))
    }

    pub(crate) fn statistics(&self) -> StatisticsApi {
        let model = self.reader.models().iter().find(|model| &*model.name == Statistics::NAME);
        let model = model.expect("the catalogue has the statistics").clone();
        StatisticsApi::of(Statistics::shapes(), model, self.read_models.clone())
    }

    /// What has to be there for queries to be answered.
    pub fn checks(&self) -> Vec<Check> {
        let (api, serving) = (self.clone(), self.search.serving.clone());
        vec![
            Check::new("read models", move || {
                let api = api.clone();
                async move { api.ready().await.map_err(|error| error.to_string()) }
            }),
            Check::new("search", move || {
                let index = serving.view();
                async move { index.map(drop) }
            }),
        ]
    }

    /// Whether every read model is there in its version. One that is only there in another version is waited for however
    /// long its build takes, because its readers are elsewhere meanwhile; one that is new is waited for a while.
    async fn ready(&self) -> Result<(), StoreError> {
        for model in self.reader.models() {
            if let Err(error) = self.reader.checkpoints(model).await {
                if !matches!(error, StoreError::NotReady(_)) {
                    return Err(error);
                }
                let listed = self.database.generations(Some(&model.name)).await?;
                let is_new = !listed.iter().any(|listed| listed.state == GenerationState::Live);
                if !is_new || self.opened.elapsed() < BUILT_IN {
                    return Err(error);
                }
            }
        }
        self.database.ping().await
    }
}
