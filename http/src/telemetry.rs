//! What a service counts of its requests.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use metrics::Label;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

const SECONDS: &str = "balcony_http_request_seconds";
const SECONDS_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const SIZE_BUCKETS: &[f64] = &[1.0, 10.0, 100.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0];

/// Starts counting for the whole process, once; the handle shows the figures in the form of Prometheus.
///
/// # Errors
/// When the process counts already.
pub fn install() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_events".into()), SIZE_BUCKETS)?
        .install_recorder()
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

    /// Counts the request by method, route and status, with its time.
    pub(crate) fn stop(self, status: StatusCode) {
        let route = self.route.as_ref().map_or("unknown", MatchedPath::as_str).to_owned();
        let labels = [
            Label::from_static_parts("method", self.method),
            Label::new("route", route),
            Label::new("status", status.as_str().to_owned()),
        ];
        metrics::histogram!(SECONDS, labels.iter()).record(self.started.elapsed().as_secs_f64());
    }
}
