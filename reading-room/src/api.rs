//! The query API as the pages ask it, and the shapes of its answers.

use axum::body::{Body, to_bytes};
use axum::http::response::Parts;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::asked::Asked;
use crate::room::Room;

/// A page of a list.
#[derive(Deserialize)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_cursor: Option<String>,
    /// Of a search: how many there are on all pages.
    #[serde(default)]
    pub(crate) total: i64,
    #[serde(default)]
    pub(crate) total_is_exact: bool,
    /// Of a list that there is a stream of: the event after which the stream goes on.
    #[serde(skip)]
    pub(crate) last_event: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Comment {
    pub(crate) id: Uuid,
    pub(crate) movie: Titled,
    pub(crate) author: Named,
    pub(crate) title: Option<String>,
    pub(crate) body: String,
    pub(crate) posted_at: String,
}

#[derive(Deserialize)]
pub(crate) struct Titled {
    pub(crate) id: Uuid,
    pub(crate) title: String,
}

#[derive(Deserialize)]
pub(crate) struct Named {
    pub(crate) id: Uuid,
    pub(crate) display_name: String,
}

#[derive(Deserialize)]
pub(crate) struct Movie {
    pub(crate) id: Uuid,
    pub(crate) title: String,
    pub(crate) company: Option<Company>,
    pub(crate) released_on: Option<String>,
    pub(crate) comment_count: i64,
    pub(crate) view_count: i64,
}

#[derive(Deserialize)]
pub(crate) struct Company {
    pub(crate) id: Uuid,
    pub(crate) name: String,
}

#[derive(Deserialize)]
pub(crate) struct User {
    pub(crate) id: Uuid,
    pub(crate) display_name: String,
    pub(crate) about: Option<String>,
    pub(crate) location: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct JourneyStep {
    pub(crate) r#type: String,
    pub(crate) at: String,
    pub(crate) movie: Option<Titled>,
    pub(crate) user: Option<Named>,
}

#[derive(Deserialize)]
pub(crate) struct Found {
    pub(crate) comment: Comment,
    /// HTML in which everything is escaped but `<mark>`.
    pub(crate) snippet: String,
}

#[derive(Deserialize)]
pub(crate) struct Trend {
    pub(crate) movie: Titled,
    pub(crate) views: i64,
}

#[derive(Deserialize)]
pub(crate) struct Recommendation {
    pub(crate) movie: Titled,
    pub(crate) reason: String,
    pub(crate) views: i64,
    pub(crate) favorites: Vec<Named>,
    pub(crate) favorite_count: usize,
}

/// Why something is not shown.
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
    /// The header of the request that was refused, where that is why.
    pub(crate) header: Option<String>,
    /// When it is worth asking again, in the header's form.
    pub(crate) retry_after: Option<HeaderValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    detail: String,
    errors: Vec<FieldError>,
}

#[derive(Deserialize)]
struct FieldError {
    detail: String,
    header: Option<String>,
}

/// The largest answer that is taken, in bytes: a hundred of the largest comments.
const LARGEST: usize = 8 << 20;

impl Room {
    /// What the query API answers at `path`, asked by whoever asked for the page.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, asked: &Asked, path: &str) -> Result<T, Failure> {
        Ok(self.ask_for(asked, path).await?.0)
    }

    /// As [`Room::ask`], for a list that goes on as a stream.
    pub(crate) async fn ask_list<T: DeserializeOwned>(&self, asked: &Asked, path: &str) -> Result<List<T>, Failure> {
        let (list, headers) = self.ask_for::<List<T>>(asked, path).await?;
        let last_event = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        Ok(List { last_event, ..list })
    }

    async fn ask_for<T: DeserializeOwned>(&self, asked: &Asked, path: &str) -> Result<(T, HeaderMap), Failure> {
        let mut request = Request::get(path).body(Body::empty()).map_err(|_| Failure::internal())?;
        *request.headers_mut() = asked.headers.clone();
        request.extensions_mut().insert(asked.visitor.clone());
        request.extensions_mut().insert(asked.client);
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let Ok(response) = self.queries.clone().oneshot(request).await;
        let (Parts { status, headers, .. }, body) = response.into_parts();
        let body = to_bytes(body, LARGEST).await.map_err(|_| Failure::internal())?;
        if !status.is_success() {
            let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
            let retry_after = headers.get(header::RETRY_AFTER).cloned();
            return Err(Failure { retry_after, ..problem.with_status(status) });
        }
        let answer = serde_json::from_slice(&body).map_err(|error| {
            tracing::error!(%error, path, "an answer of the query API has another shape than the pages know");
            Failure::internal()
        });
        Ok((answer?, headers))
    }
}

impl Problem {
    fn with_status(self, status: StatusCode) -> Failure {
        let header = self.errors.iter().find_map(|error| error.header.clone());
        let details: Vec<String> = self.errors.into_iter().map(|error| error.detail).collect();
        let detail = if details.is_empty() { self.detail } else { details.join("; ") };
        Failure { status, detail, header, retry_after: None }
    }
}

impl Failure {
    fn internal() -> Self {
        Problem::default().with_status(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
