//! Which pages of other origins may ask, and what they may send and see (the Fetch standard, section 3.2).

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

/// The origins whose pages may ask.
#[derive(Debug, Clone)]
pub(crate) struct Cors {
    origins: Vec<HeaderValue>,
    is_open: bool,
}

const METHODS: &str = "GET, HEAD, POST, PUT, DELETE";
const SENT: &str = "authorization, content-type, idempotency-key, consistency-token, if-none-match, last-event-id";
const SEEN: &str =
    "consistency-token, consistency, location, etag, last-event-id, retry-after, www-authenticate, allow";
/// How long a page's browser remembers what it was told, in seconds.
const REMEMBERED: &str = "3600";

impl Cors {
    /// Pages of `origins` may ask; all when one of them is `*`.
    pub(crate) fn new(origins: &[HeaderValue]) -> Self {
        Self { origins: origins.to_vec(), is_open: origins.iter().any(|origin| origin == "*") }
    }

    /// The answer to a browser that asks before it lets a page ask, if this is one.
    pub(crate) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        let asks = *method == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || self.origins.is_empty() {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, SENT),
            (header::ACCESS_CONTROL_MAX_AGE, REMEMBERED),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Some(response)
    }

    /// The origin to name in an answer, for a request with `headers`.
    pub(crate) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.is_open {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = headers.get(header::ORIGIN)?;
        self.origins.iter().find(|allowed| *allowed == origin).cloned()
    }

    /// Lets the page at `allowed` see an answer.
    pub(crate) fn show(&self, headers: &mut HeaderMap, allowed: Option<HeaderValue>) {
        if self.origins.is_empty() {
            return;
        }
        if !self.is_open {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(SEEN));
        }
    }
}
