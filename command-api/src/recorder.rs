use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use balcony_domain::{Event, Recorded, Timestamp, Topics};
use balcony_event_log::{EventLog, Positions};
use balcony_http::Problem;
use balcony_read_models::Logged;
use balcony_store::Namespace;
use uuid::Uuid;

/// Appends events to the log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    log: Arc<dyn EventLog>,
    topics: Topics,
    /// The name of the metric that counts what is appended.
    counter: Arc<str>,
}

impl Recorder {
    pub(crate) fn new(log: Arc<dyn EventLog>, topics: Topics, namespace: &Namespace) -> Self {
        Self { log, topics, counter: format!("{namespace}_events_appended_total").into() }
    }

    /// Appends `event` under `id`, as part of the trace `traceparent`, and gives the positions right after it. It is then as durable as the log promises.
    pub(crate) async fn record(
        &self,
        id: Uuid,
        event: Event,
        request_digest: Option<String>,
        traceparent: Option<&str>,
    ) -> Result<Positions, Problem> {
        self.record_at(now(), id, event, request_digest, traceparent).await
    }

    /// The same for an event of `time`.
    pub(crate) async fn record_at(
        &self,
        time: Timestamp,
        id: Uuid,
        event: Event,
        request_digest: Option<String>,
        traceparent: Option<&str>,
    ) -> Result<Positions, Problem> {
        let recorded = Recorded { id, time, request_digest, traceparent: traceparent.map(str::to_owned), event };
        let recorded = Logged(recorded);
        let position = self.log.append(self.topics.of(&recorded.event), recorded.message()).await?;
        metrics::counter!(self.counter.clone(), "type" => recorded.event.type_name()).increment(1);
        Ok(Positions::after(&position))
    }

    /// Where the facts end now.
    pub(crate) async fn ends(&self) -> Result<Positions, Problem> {
        Ok(self.log.ends(std::slice::from_ref(&self.topics.facts)).await?)
    }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    i64::try_from(since)
        .ok()
        .and_then(|now| Timestamp::from_milliseconds(now).ok())
        .expect("the clock is before the year 10000")
}
