//! How an answer leaves: as JSON, marked when it is stale, and, for public lists, with an entity tag.
//!
//! What was found is serialized once, and its tag made once: an answer carries its [`Content`], which may be kept and
//! given again.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use balcony_store::{Reader, Standing};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::Problem;
use crate::consistency::CONSISTENCY;
use crate::events::Stopping;

/// The answer to a query that is about to be read from the database.
pub struct Answer {
    freshness: Freshness,
    request_headers: HeaderMap,
    stopping: Stopping,
    waited: Option<Waited>,
}

/// What was waited for, which may not be there any more after a crash of the database, or in another generation.
struct Waited {
    reader: Reader,
    since: Standing,
}

/// Marks an answer that was read while what was waited for was taken back: the query is to be done again.
#[derive(Debug, Clone, Copy)]
struct TakenBack;

/// What an answer says, in bytes, with its entity tag. Every answer to a query that succeeded has it among its extensions.
#[derive(Debug, Clone)]
pub struct Content {
    body: Bytes,
    /// `None` where the answer has none.
    tag: Option<HeaderValue>,
}

/// Whether an answer has everything that the client has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It has.
    Fresh,
    /// It may have not: the client did not want to wait.
    Stale,
}

/// How many bytes of a body's digest tell it from others.
const TAG_BYTES: usize = 16;
/// How often a query is done. Two switches, rollbacks or crashes within one are for its client to try again.
const TIMES: usize = 3;

/// Middleware that does a query again when what it had waited for was taken back while it was read. Queries change
/// nothing, and their bodies mean nothing.
pub async fn when_taken_back(request: Request, next: Next) -> Response {
    let (parts, _) = request.into_parts();
    let mut response = next.clone().run(Request::from_parts(parts.clone(), Body::empty())).await;
    for _ in 1..TIMES {
        if response.extensions().get::<TakenBack>().is_none() {
            break;
        }
        response = next.clone().run(Request::from_parts(parts.clone(), Body::empty())).await;
    }
    response
}

impl Answer {
    /// An answer to the request with `request_headers`; a stream ends with `stopping`.
    pub(crate) fn new(freshness: Freshness, request_headers: HeaderMap, stopping: Stopping) -> Self {
        Self { freshness, request_headers, stopping, waited: None }
    }

    /// The same after a waiting that began on `since`. Where that was left before everything was read, it is not known
    /// whether what was waited for is there.
    pub(crate) fn after_waiting(self, reader: Reader, since: Standing) -> Self {
        Self { waited: Some(Waited { reader, since }), ..self }
    }

    /// What was found, or why it was not.
    pub fn json<T: Serialize>(self, found: Result<T, Problem>) -> Response {
        self.content(found, Content::plain)
    }

    /// A list that everybody sees alike: with an `ETag`, and without a body where the client has the same already.
    pub fn public_list<T: Serialize>(self, found: Result<T, Problem>) -> Response {
        self.content(found, Content::tagged)
    }

    fn content<T: Serialize>(self, found: Result<T, Problem>, content: impl FnOnce(Bytes) -> Content) -> Response {
        let content = match self.read(found).and_then(|found| body(&found)) {
            Ok(body) => content(body),
            Err(problem) => return self.mark(problem.into_response()),
        };
        let mut response = content.answer(&self.request_headers);
        response.extensions_mut().insert(content);
        self.mark(response)
    }

    fn read<T>(&self, found: Result<T, Problem>) -> Result<T, Problem> {
        if let Some(Waited { reader, since }) = &self.waited {
            reader.stayed_on(since)?;
        }
        found
    }

    /// Server-sent events, which nobody on the way is to keep or to hold back. They end when the server is to stop.
    pub fn events(self, stream: Result<Body, Problem>) -> Response {
        const HEADERS: [(HeaderName, HeaderValue); 3] = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        ];
        match self.read(stream) {
            Ok(body) => {
                let body = self.stopping.clone().ends(body);
                self.mark((HEADERS, body).into_response())
            }
            Err(problem) => self.mark(problem.into_response()),
        }
    }

    fn mark(self, mut response: Response) -> Response {
        if self.waited.as_ref().is_some_and(|Waited { reader, since }| reader.stayed_on(since).is_err()) {
            response.extensions_mut().insert(TakenBack);
        }
        if self.freshness == Freshness::Stale {
            response.headers_mut().insert(CONSISTENCY, HeaderValue::from_static("stale"));
        }
        response
    }
}

const JSON: (HeaderName, HeaderValue) = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));

/// As long as most pages are at the most.
const PAGE: usize = 16 << 10;

fn body(found: &impl Serialize) -> Result<Bytes, Problem> {
    let mut body = Vec::with_capacity(PAGE);
    serde_json::to_writer(&mut body, found).map_err(|error| Problem::internal(&error))?;
    // What is kept takes no more room than it has.
    Ok(body.into_boxed_slice().into())
}

impl Content {
    /// That of an answer which is nobody's business but the client's.
    fn plain(body: Bytes) -> Self {
        Self { body, tag: None }
    }

    /// That of an answer which everybody sees alike.
    fn tagged(body: Bytes) -> Self {
        let tag = entity_tag(&body);
        Self { body, tag: Some(tag) }
    }

    /// How many bytes its body has.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// The answer to a request with these headers: without a body where the client has the same already.
    pub fn answer(&self, request_headers: &HeaderMap) -> Response {
        let Some(tag) = &self.tag else { return ([JSON], self.body.clone()).into_response() };
        // Caches may keep the answer but have to ask each time whether it is still the same.
        let caching = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        match is_known(tag, request_headers) {
            true => (StatusCode::NOT_MODIFIED, caching).into_response(),
            false => (caching, [JSON], self.body.clone()).into_response(),
        }
    }
}

/// A strong entity tag of `body`.
fn entity_tag(body: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(body);
    let text: String = digest.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{text}\"")).expect("hexadecimal digits are visible ASCII")
}

/// Whether `If-None-Match` names `tag`, by weak comparison (RFC 9110, section 13.1.2).
pub(crate) fn is_known(tag: &HeaderValue, headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(lines: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_static(line));
        }
        is_known(&HeaderValue::from_static("\"a\""), &headers)
    }

    #[test]
    fn entity_tags_are_compared_weakly_in_lists_and_lines() {
        for lines in [&["\"a\""][..], &["W/\"a\""], &["\"b\" , W/\"a\""], &["\"b\"", "\"a\""], &["*"]] {
            assert!(known(lines), "{lines:?}");
        }
        for lines in [&[][..], &["\"b\""], &["a"], &["\"A\""], &["w/\"a\""], &[""]] {
            assert!(!known(lines), "{lines:?}");
        }
    }

    #[test]
    fn the_same_body_has_the_same_tag() {
        assert_eq!(entity_tag(b"x"), entity_tag(b"x"));
        assert_ne!(entity_tag(b"x"), entity_tag(b"y"));
    }
}
