//! Another service, whose answers a program puts together with its own.

use std::sync::Arc;
use std::time::Duration;

use balcony_http::Problem;
use reqwest::{Client, StatusCode};

/// Another service, which is asked for JSON. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upstream {
    name: Arc<str>,
    url: Arc<str>,
    client: Client,
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Upstream {
    /// The service at `url`, such as `http://127.0.0.1:8080`, which people know as `name`.
    pub fn new(name: &str, url: &str) -> Self {
        let client = Client::builder().timeout(PATIENCE).build().expect("a client of no special kind");
        Self { name: name.into(), url: url.trim_end_matches('/').into(), client }
    }

    /// What it answers at `path`; `None` when there is nothing (404). It is waited for up to ten seconds.
    ///
    /// # Errors
    /// A problem of status 503 when it does not answer, or in another way.
    pub async fn get(&self, path: &str) -> Result<Option<serde_json::Value>, Problem> {
        let away = |error: reqwest::Error| {
            Problem::unavailable(format!("{} does not answer: {}", self.name, error.without_url()))
        };
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.map_err(away)?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            _ => answer.error_for_status().map_err(away)?.json().await.map(Some).map_err(away),
        }
    }
}
