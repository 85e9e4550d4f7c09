use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{EventLog, Incoming, LogError, Positions};
use balcony_store::{Database, Generation, StoreError};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::clock::milliseconds_now;

/// How far a generation is behind the log.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    /// Offsets between its checkpoints and the log's ends, in all partitions. Where offsets have holes there are fewer
    /// events.
    pub events: i64,
    /// How long ago the first record that is not applied yet was appended; 0 when there is none, `None` when that could
    /// not be found out in time.
    pub seconds: Option<f64>,
}

/// Why a lag is not known.
#[derive(Debug, thiserror::Error)]
pub enum LagError {
    /// The log does not say where it ends.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database does not say how far the generation has come.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How long whoever keeps up may take to what is at the log's end, and how often it is looked whether they have.
const MOMENT: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the first records that are not applied yet may take to be read.
const READING: Duration = Duration::from_secs(2);

impl Lag {
    /// How far `generation`, which reads `topics`, is behind `log` now.
    ///
    /// # Errors
    /// See [`LagError`].
    pub async fn measure(
        log: &dyn EventLog,
        topics: &[Arc<str>],
        database: &Database,
        generation: &Generation,
    ) -> Result<Self, LagError> {
        let ends = log.ends(topics).await?;
        let asked = Instant::now();
        let reached = async || database.look_at(generation).await?.checkpoints().await;
        let first = reached().await?;
        let (mut from, events) = (first.behind(&ends), first.distance(&ends));
        // Reading costs more than looking again, and under load there is always something on its way.
        while !from.is_empty() && asked.elapsed() < MOMENT {
            tokio::time::sleep(LOOK_EVERY).await;
            from = reached().await?.behind(&ends);
        }
        let seconds = match (events, from.is_empty()) {
            (0, _) => Some(0.0),
            (_, true) => Some(asked.elapsed().as_secs_f64()),
            (_, false) => oldest(log, from, &ends).await.map(seconds_since),
        };
        Ok(Self { events, seconds: seconds.map(|seconds| (seconds * 1_000.0).round() / 1_000.0) })
    }
}

/// When the oldest of the first records from `from` on was appended, in milliseconds since 1970.
async fn oldest(log: &dyn EventLog, from: Positions, ends: &Positions) -> Option<i64> {
    let mut firsts = BTreeMap::new();
    let ends = ends.among(from.partitions());
    let mut reached = from.clone();
    let mut reader = log.read(from.clone());
    let reading = async {
        while firsts.len() < from.len() && !reached.covers(&ends) {
            match reader.next().await {
                Ok(Incoming::Records(batch)) => {
                    for record in batch.records {
                        firsts.entry(record.partition).or_insert(record.timestamp);
                    }
                    reached.merge(&batch.reached);
                }
                Ok(Incoming::Assigned(_) | Incoming::Revoked(_)) | Err(LogError::Unavailable(_)) => {}
                Err(error) => {
                    tracing::debug!(%error, "the first record that is not applied yet cannot be read");
                    return;
                }
            }
        }
    };
    // What was read in time counts.
    let _ = tokio::time::timeout(READING, reading).await;
    // A log that does not know when says 0.
    firsts.into_values().filter(|timestamp| *timestamp > 0).min()
}

fn seconds_since(milliseconds: i64) -> f64 {
    (milliseconds_now() - milliseconds).max(0) as f64 / 1_000.0
}
