//! The metrics of a service: `PREFIX_http_request_seconds`, a histogram of its requests, and whatever else the process
//! counts.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use metrics::{Histogram, Label};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the buckets of histograms in seconds.
const SECONDS_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of the buckets of histograms in events.
const SIZE_BUCKETS: &[f64] = &[1.0, 10.0, 100.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0];

/// How often what was counted is summed up.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// The metrics of this process. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    recorded: PrometheusHandle,
    request_seconds: Arc<str>,
    /// What was counted before. There is no end of methods and routes but that of the routes themselves.
    known: Arc<RwLock<Known>>,
}

/// The histograms of requests by method and status, then by route. Looking one up among all metrics costs more.
type Known = HashMap<(&'static str, StatusCode), HashMap<Box<str>, Histogram>>;

/// Starts counting for the whole process, once, from within a runtime. The names of a service's metrics begin with
/// `prefix` and `_`.
///
/// # Errors
/// When the process counts already.
pub fn install(prefix: &str) -> Result<Telemetry, metrics_exporter_prometheus::BuildError> {
    let recorded = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_events".into()), SIZE_BUCKETS)?
        .install_recorder()?;
    tokio::spawn(keep_up(recorded.clone()));
    Ok(Telemetry::new(prefix, recorded))
}

/// Sums up what was counted, again and again. Otherwise it would be kept one by one until somebody reads it.
async fn keep_up(recorded: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        recorded.run_upkeep();
    }
}

impl Telemetry {
    /// The metrics that a recorder of the program's own has; their names begin with `prefix` and `_`.
    pub fn new(prefix: &str, recorded: PrometheusHandle) -> Self {
        Self { recorded, request_seconds: format!("{prefix}_http_request_seconds").into(), known: Arc::default() }
    }

    /// The metrics in Prometheus's text format.
    pub fn render(&self) -> String {
        self.recorded.render()
    }

    /// Counts a request that was answered with `status`, by method, route and status, with its time.
    pub(crate) fn count(&self, request: Timer, status: StatusCode) {
        let seconds = request.started.elapsed().as_secs_f64();
        let route = request.route.as_ref().map_or("unknown", MatchedPath::as_str);
        let kind = (request.method, status);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = known.get(&kind).and_then(|routes| routes.get(route)) {
            histogram.record(seconds);
            return;
        }
        drop(known);
        let labels = [
            Label::from_static_parts("method", request.method),
            Label::new("route", route.to_owned()),
            Label::new("status", status.as_str().to_owned()),
        ];
        let histogram = metrics::histogram!(self.request_seconds.clone(), labels.iter());
        histogram.record(seconds);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(kind).or_default().insert(route.into(), histogram);
    }
}

/// A request that is being answered.
pub(crate) struct Timer {
    started: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
}

impl Timer {
    pub(crate) fn start(request: &Request) -> Self {
        let method = match *request.method() {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            Method::OPTIONS => "OPTIONS",
            _ => "other",
        };
        Self { started: Instant::now(), method, route: request.extensions().get::<MatchedPath>().cloned() }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    /// How many requests come in a second.
    const A_SECOND: usize = 250_000;

    /// How much memory this process has, in bytes.
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
        let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
        pages * 4_096
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn requests_leave_nothing_behind_when_nobody_reads_the_metrics() {
        let seconds: usize = std::env::var("SECONDS").ok().and_then(|number| number.parse().ok()).unwrap_or(8);
        let telemetry = install("test").expect("the first");
        // What comes between two times of summing up is kept; more of it than that is not.
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        let mut count = async |seconds: usize| {
            for _ in 0..seconds {
                ticks.tick().await;
                let telemetry = telemetry.clone();
                let counting = tokio::task::spawn_blocking(move || {
                    for _ in 0..A_SECOND {
                        telemetry.count(Timer::start(&Request::new(Body::empty())), StatusCode::OK);
                    }
                });
                counting.await.expect("no panic");
            }
        };
        count(1).await;
        let before = resident();
        count(seconds).await;
        let grown = resident().saturating_sub(before);
        // A request is kept in 16 bytes or more until it is summed up.
        let requests = seconds * A_SECOND;
        println!("{requests} requests: {grown} bytes more");
        assert!(grown < requests * 16 / 2, "{grown}");
    }
}
