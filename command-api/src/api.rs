use std::sync::Arc;

use balcony_domain::Topics;
use balcony_event_log::EventLog;
use balcony_http::Consistency;
use balcony_http::probes::Check;
use balcony_projector::Projection as _;
use balcony_read_models::Leaving;
use balcony_store::{Database, Reader};

use crate::idempotency::InFlight;
use crate::recorder::Recorder;
use crate::registry::Registry;

/// The command API over one log and its registry.
pub struct CommandApi {
    pub(crate) recorder: Recorder,
    pub(crate) registry: Registry,
    pub(crate) consistency: Consistency,
    /// Reads the links by which companies get no more mail.
    pub(crate) leaving: Leaving,
    pub(crate) in_flight: InFlight,
    /// What stands before the path in `Location`: where the query API is, or nothing when it has the same origin.
    pub(crate) query_api_url: Arc<str>,
}

impl CommandApi {
    /// An API that appends to `log` and asks the registry in `database`. What it makes is found at the query API, which
    /// is at `query_api_url`, a URL without a slash at its end; without one it is at the command API's own origin. Companies
    /// leave by links that `leaving` reads.
    pub async fn open(
        log: Arc<dyn EventLog>,
        database: &Database,
        topics: Topics,
        consistency: Consistency,
        leaving: Leaving,
        query_api_url: Option<&str>,
    ) -> Arc<Self> {
        let model = balcony_read_models::Registry::new(&topics).read_model().clone();
        let reader = Reader::open(database, vec![model.clone()]).await;
        Arc::new(Self {
            recorder: Recorder::new(log.clone(), topics.clone(), database.namespace()),
            registry: Registry::new(reader, model, log, topics),
            consistency,
            leaving,
            in_flight: InFlight::default(),
            query_api_url: query_api_url.unwrap_or_default().into(),
        })
    }

    /// What has to be there for commands to be taken, beside the log.
    pub fn checks(&self) -> Vec<Check> {
        let registry = self.registry.clone();
        vec![Check::new("read models", move || {
            let registry = registry.clone();
            async move { registry.check().await.map_err(|error| error.to_string()) }
        })]
    }
}
