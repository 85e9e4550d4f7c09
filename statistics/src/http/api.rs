use std::collections::HashMap;
use std::sync::Arc;

use balcony_event_log::EventLog;
use balcony_http::Consistency;
use balcony_http::events::EventIds;
use balcony_http::reading::ReadModels;
use balcony_projector::{Decode, Projection as _};
use balcony_store::{Database, ReadModel, Reader};

use super::labels::{self, Labels};
use super::watched::Watched;
use crate::{Occurrence, Series, Shapes, Statistics};

/// The statistics of a program over HTTP, for everybody: a program whose counts are not for everybody puts a layer of its own
/// before the routes. Cheap to clone.
#[derive(Clone)]
pub struct StatisticsApi {
    pub(super) shapes: Shapes,
    pub(super) model: ReadModel,
    pub(super) read_models: ReadModels,
    pub(super) ids: EventIds,
    pub(super) watched: Arc<Watched>,
    pub(super) labels: Option<Arc<dyn Labels>>,
}

impl StatisticsApi {
    /// The statistics that `statistics` counts into `database`, for clients whose tokens `consistency` reads.
    pub async fn open<E: Decode + Occurrence>(
        statistics: &Statistics<E>,
        database: &Database,
        consistency: Consistency,
    ) -> Self {
        let model = statistics.read_model().clone();
        let reader = Reader::open(database, vec![model.clone()]).await;
        Self::of(statistics.shapes(), model, ReadModels::new(reader, consistency))
    }

    /// Streams of `shapes` that are counted into `model`, one of `read_models`: for a program whose queries read others, too.
    pub fn of(shapes: Shapes, model: ReadModel, read_models: ReadModels) -> Self {
        let ids = EventIds::new(read_models.consistency().clone());
        Self { shapes, model, read_models, ids, watched: Arc::default(), labels: None }
    }

    /// The same, with what values are called: `label` in charts and rankings.
    #[must_use]
    pub fn with_labels(self, labels: impl Labels) -> Self {
        Self { labels: Some(Arc::new(labels)), ..self }
    }

    /// The same, which refuses tokens from beyond the end of `log`.
    #[must_use]
    pub fn bounded_by(self, log: Arc<dyn EventLog>) -> Self {
        Self { read_models: self.read_models.bounded_by(log), ..self }
    }
}

impl StatisticsApi {
    /// What `values` of `series` are called, by value; of so many as a page has.
    pub(super) async fn labels(&self, series: &Series, values: &[String]) -> HashMap<String, String> {
        let Some((labels, (stream, dimension))) = self.labels.as_ref().zip(series.key.split_once('/')) else {
            return HashMap::new();
        };
        let found = labels.labels(stream, dimension, &values[..values.len().min(MOST_LABELLED)]).await;
        found.into_iter().map(|(value, label)| (value, labels::shown(label))).collect()
    }
}

/// How many values are called by their labels in one answer.
const MOST_LABELLED: usize = 100;
