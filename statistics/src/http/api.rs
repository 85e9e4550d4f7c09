use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use balcony_event_log::EventLog;
use balcony_http::Consistency;
use balcony_http::events::EventIds;
use balcony_http::reading::ReadModels;
use balcony_projector::{Decode, Projection as _};
use balcony_store::{Database, ReadModel, Reader};

use super::watched::Watched;
use crate::{Occurrence, Shapes, Statistics};

/// The statistics of a program over HTTP, for everybody: a program whose counts are not for everybody puts a layer of its own
/// before the routes. Cheap to clone.
#[derive(Clone)]
pub struct StatisticsApi {
    pub(super) shapes: Shapes,
    pub(super) model: ReadModel,
    pub(super) read_models: ReadModels,
    pub(super) ids: EventIds,
    pub(super) watched: Arc<Watched>,
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
        Self { shapes, model, read_models, ids, watched: Arc::default() }
    }

    /// The same, which refuses tokens from beyond the end of `log`.
    #[must_use]
    pub fn bounded_by(self, log: Arc<dyn EventLog>) -> Self {
        Self { read_models: self.read_models.bounded_by(log), ..self }
    }
}

/// The time it is, in milliseconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
