//! Whether a service is alive and ready: `/livez` and `/readyz` for everybody, and, for operators, why a part is missing
//! and `/metrics`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use balcony_event_log::SharedLook;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::params::NoParams;
use crate::telemetry::Telemetry;

/// A part of a service that has to be there for the service to be ready: its name, in an operator's words, and a check
/// that says what is missing.
#[derive(Clone)]
pub struct Check {
    name: Arc<str>,
    run: Arc<dyn Fn() -> Checking + Send + Sync>,
}

type Checking = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Whether a service is ready. All who ask share one look at its parts, which is good for [`LOOK_FOR`], so that being
/// asked often costs the parts nothing. Cheap to clone.
#[derive(Clone)]
pub struct Readiness(Arc<Shared>);

struct Shared {
    checks: Vec<Check>,
    /// How long a check may take.
    patience: Duration,
    /// How long a look is good for.
    good_for: Duration,
    /// What each look saw, and when it ended.
    looks: SharedLook<(Instant, Arc<Look>)>,
}

/// What a look at the parts saw.
#[derive(Debug)]
pub struct Look(Vec<Seen>);

#[derive(Debug)]
struct Seen {
    name: Arc<str>,
    missing: Option<String>,
}

/// How long a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a look is good for.
pub const LOOK_FOR: Duration = Duration::from_millis(250);

impl Check {
    /// A part called `name`.
    pub fn new<F>(name: impl Into<Arc<str>>, run: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name: name.into(), run: Arc::new(move || Box::pin(run())) }
    }

    async fn missing(&self, patience: Duration) -> Option<String> {
        match tokio::time::timeout(patience, (self.run)()).await {
            Ok(Ok(())) => None,
            Ok(Err(missing)) => Some(missing),
            Err(_) => Some("no answer".to_owned()),
        }
    }
}

impl Readiness {
    /// A service is ready when all of `checks` find their parts.
    pub fn new(checks: Vec<Check>) -> Self {
        Self::within(checks, CHECK_TIMEOUT, LOOK_FOR)
    }

    fn within(checks: Vec<Check>, patience: Duration, good_for: Duration) -> Self {
        Self(Arc::new(Shared { checks, patience, good_for, looks: SharedLook::default() }))
    }

    /// What is there and what is missing: seen now, or by another a moment ago.
    pub async fn look(&self) -> Arc<Look> {
        let is_good = |(at, _): &(Instant, _)| at.elapsed() < self.0.good_for;
        let look = async || {
            let look = Arc::new(self.look_now().await);
            (Instant::now(), look)
        };
        self.0.looks.unless(is_good, look).await.1
    }

    /// Looks at all parts at once.
    async fn look_now(&self) -> Look {
        let mut looking = JoinSet::new();
        for (place, check) in self.0.checks.iter().cloned().enumerate() {
            let patience = self.0.patience;
            looking.spawn(async move { (place, check.missing(patience).await) });
        }
        let unseen = || Some("the check failed".to_owned());
        let seen = |check: &Check| Seen { name: check.name.clone(), missing: unseen() };
        let mut parts: Vec<Seen> = self.0.checks.iter().map(seen).collect();
        while let Some(looked) = looking.join_next().await {
            // A check that panicked has found nothing.
            if let Ok((place, missing)) = looked {
                parts[place].missing = missing;
            }
        }
        Look(parts)
    }
}

impl Look {
    /// Whether nothing is missing.
    pub fn is_ready(&self) -> bool {
        self.0.iter().all(|part| part.missing.is_none())
    }
}

/// `/livez`, and `/readyz` with the names of the parts.
pub fn public(readiness: &Readiness) -> Router {
    let shown = async |State(readiness): State<Readiness>, _: NoParams| answer(readiness.look().await.as_ref(), false);
    Router::new().route("/livez", get(alive)).route("/readyz", get(shown)).with_state(readiness.clone())
}

/// `/livez`, `/readyz` with why a part is missing, and `/metrics`: for operators, who see errors as they are.
pub fn operators(readiness: &Readiness, telemetry: Telemetry) -> Router {
    let shown = async |State(readiness): State<Readiness>, _: NoParams| answer(readiness.look().await.as_ref(), true);
    Router::new()
        .route("/livez", get(alive))
        .route("/readyz", get(shown))
        .with_state(readiness.clone())
        .route("/metrics", get(async move || telemetry.render()))
}

#[derive(Serialize)]
struct Alive {
    status: &'static str,
}

#[derive(Serialize)]
struct Ready<'a> {
    status: &'static str,
    parts: Vec<Part<'a>>,
}

#[derive(Serialize)]
struct Part<'a> {
    name: &'a str,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<&'a str>,
}

async fn alive(_: NoParams) -> Json<Alive> {
    Json(Alive { status: "alive" })
}

fn answer(look: &Look, with_reasons: bool) -> Response {
    let mut parts = Vec::with_capacity(look.0.len());
    for Seen { name, missing } in &look.0 {
        parts.push(Part { name, ready: missing.is_none(), missing: missing.as_deref().filter(|_| with_reasons) });
    }
    if look.is_ready() {
        return Json(Ready { status: "ready", parts }).into_response();
    }
    let body = Json(Ready { status: "not ready", parts });
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;

    fn counted(name: &'static str, found: Result<(), String>) -> (Check, Arc<AtomicUsize>) {
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = looks.clone();
        let check = Check::new(name, move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let found = found.clone();
            async move {
                tokio::task::yield_now().await;
                found
            }
        });
        (check, looks)
    }

    async fn shown(look: &Look, with_reasons: bool) -> (StatusCode, Value) {
        let response = answer(look, with_reasons);
        let status = response.status();
        let body = to_bytes(response.into_body(), 10_000).await.expect("a body");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn a_flood_of_questions_is_one_look() {
        let (check, looks) = counted("log", Ok(()));
        let readiness = Readiness::within(vec![check], CHECK_TIMEOUT, Duration::MAX);
        let mut asking = JoinSet::new();
        for _ in 0..1_000 {
            let readiness = readiness.clone();
            asking.spawn(async move { readiness.look().await.is_ready() });
        }
        assert!(asking.join_all().await.into_iter().all(|ready| ready));
        assert_eq!(looks.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn an_old_look_is_good_no_more() {
        let (check, looks) = counted("log", Ok(()));
        let readiness = Readiness::within(vec![check], CHECK_TIMEOUT, Duration::ZERO);
        readiness.look().await;
        readiness.look().await;
        assert_eq!(looks.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn everybody_is_told_which_part_is_missing_and_operators_why() {
        let there = Check::new("Kafka", async || Ok(()));
        let away = Check::new("PostgreSQL", async || Err("connection refused by 10.1.2.3".to_owned()));
        let hangs = Check::new("search", std::future::pending::<Result<(), String>>);
        let readiness = Readiness::within(vec![there, away, hangs], Duration::from_millis(1), LOOK_FOR);
        let look = readiness.look().await;
        let everybody = json!({"status": "not ready", "parts": [
            {"name": "Kafka", "ready": true}, {"name": "PostgreSQL", "ready": false}, {"name": "search", "ready": false},
        ]});
        assert_eq!(shown(&look, false).await, (StatusCode::SERVICE_UNAVAILABLE, everybody));
        let operators = json!({"status": "not ready", "parts": [
            {"name": "Kafka", "ready": true},
            {"name": "PostgreSQL", "ready": false, "missing": "connection refused by 10.1.2.3"},
            {"name": "search", "ready": false, "missing": "no answer"},
        ]});
        assert_eq!(shown(&look, true).await, (StatusCode::SERVICE_UNAVAILABLE, operators));
    }
}
