//! Refusals as problem documents (RFC 9457).

use std::borrow::Cow;
use std::fmt;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was not done, and what to do about it. Nothing inside the service shows in it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is, as a URI: the same for all problems of the kind.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: Cow<'static, str>,
    /// The kind in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened this time and what to do.
    #[schema(value_type = String)]
    detail: Box<str>,
    /// The path of the request.
    #[serde(skip_serializing_if = "String::is_empty")]
    instance: String,
    /// What is wrong: the first 20 things.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 20)]
    errors: Vec<FieldError>,
    /// Seconds after which it is worth trying again.
    #[serde(skip)]
    retry_after: Option<u32>,
}

/// Something of a request that is wrong: where it stands, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where it stands.
    #[serde(flatten)]
    pub place: FieldPlace,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// Where something of a request stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldPlace {
    /// In the body: a JSON Pointer as a URI fragment, such as `#/body`.
    Pointer(String),
    /// In the query: the name of a parameter.
    Parameter(String),
    /// In the head: the name of a header.
    Header(String),
}

/// How many errors a problem lists.
pub(crate) const ERRORS_MAX: usize = 20;

impl FieldError {
    /// An error of the body's field `name`.
    pub fn field(name: &str, detail: impl Into<String>) -> Self {
        Self::at(&[name], detail)
    }

    /// An error of what stands in the body behind the names and indexes `path`; none for the whole.
    pub(crate) fn at<S: AsRef<str>>(path: &[S], detail: impl Into<String>) -> Self {
        let mut pointer = "#".to_owned();
        for name in path {
            // RFC 6901, section 3 and 6, for the names that clients may make up.
            let escaped = shortened(name.as_ref(), NAME_MAX).replace('~', "~0").replace('/', "~1");
            let escaped: String = form_urlencoded::byte_serialize(escaped.as_bytes()).collect();
            pointer.push('/');
            pointer.push_str(&escaped.replace("%7E", "~").replace('+', "%20"));
        }
        Self::of(FieldPlace::Pointer(pointer), detail)
    }

    /// An error of the query parameter `name`.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::of(FieldPlace::Parameter(shortened(name, NAME_MAX).into_owned()), detail)
    }

    /// An error of the header `name`.
    pub fn header(name: &str, detail: impl Into<String>) -> Self {
        Self::of(FieldPlace::Header(shortened(name, NAME_MAX).into_owned()), detail)
    }

    fn of(place: FieldPlace, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if let Cow::Owned(short) = shortened(&detail, DETAIL_MAX) {
            detail = short;
        }
        Self { place, detail }
    }
}

impl fmt::Display for FieldPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointer(place) | Self::Parameter(place) | Self::Header(place) => f.write_str(place),
        }
    }
}

/// How many characters of a name, and of what is said about it, an error repeats.
const NAME_MAX: usize = 100;
const DETAIL_MAX: usize = 500;

/// `text`, or its beginning where it has more than `most` characters.
fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// What it means to send a command again whose outcome is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Under its `Idempotency-Key` it is done once.
    OnceUnderItsKey,
    /// It takes such a key and has none, so it may be done twice.
    PerhapsTwice,
    /// It takes no key, and whatever it notes may count twice.
    CountsTwice,
    /// What was done already is as it is.
    ChangesNothing,
}

const OUTCOME_UNKNOWN: &str = "outcome-unknown";
const TOKEN_MISSING: &str = "token-missing";
const TOKEN_INVALID: &str = "token-invalid";
const UNSUPPORTED_ENCODING: &str = "unsupported-encoding";

impl Problem {
    fn new(status: StatusCode, name: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: name.into(),
            title,
            status: status.as_u16(),
            detail: detail.into().into(),
            instance: String::new(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// 400: the body is not well-formed JSON.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request is malformed", detail)
    }

    /// 400: a header is not well-formed.
    pub(crate) fn malformed_header(error: FieldError) -> Self {
        let mut problem = Self::malformed(format!("{} {}", error.place, error.detail));
        problem.errors = vec![error];
        problem
    }

    /// 401: no token came.
    pub fn token_missing() -> Self {
        let detail = "send a token as `Authorization: Bearer TOKEN`";
        Self::new(StatusCode::UNAUTHORIZED, TOKEN_MISSING, "A token is needed", detail)
    }

    /// 401: the token is not accepted.
    pub fn token_invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, TOKEN_INVALID, "The token is not accepted", detail)
    }

    /// 403: the user may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// 405: the path knows other methods.
    pub fn method_not_allowed() -> Self {
        let detail = "this path does not take this method; `Allow` names those it takes";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
    }

    /// 408: the request does not come, or too slowly.
    pub fn too_slow() -> Self {
        let detail = "the request did not come in time; send it again, faster";
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "The request came too slowly", detail)
    }

    /// 409: a request under the same idempotency key is under way.
    pub fn in_progress() -> Self {
        let detail = "a request with the same Idempotency-Key is under way; try again for its answer";
        Self::new(StatusCode::CONFLICT, "in-progress", "The same request is under way", detail).retry_after(1)
    }

    /// 409: it cannot be done as things stand.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "It cannot be done as things stand", detail)
    }

    /// 410: it was there and is gone for ever.
    pub fn gone(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "gone", "Gone", detail)
    }

    /// 413: the body is too large.
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    /// 414: the URI is too long.
    pub(crate) fn uri_too_long() -> Self {
        let detail = "the URI of the request is too long";
        Self::new(StatusCode::URI_TOO_LONG, "uri-too-long", "The URI is too long", detail)
    }

    /// 415: the body is of another type.
    pub fn unsupported_media_type() -> Self {
        let detail = "send the body as `Content-Type: application/json`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is not JSON", detail)
    }

    /// 415: the body is encoded.
    pub(crate) fn unsupported_encoding() -> Self {
        let error = FieldError::header("Content-Encoding", "is not understood; send the body as it is");
        let detail = format!("{} {}", error.place, error.detail);
        let title = "The body is encoded";
        let mut problem = Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, UNSUPPORTED_ENCODING, title, detail);
        problem.errors = vec![error];
        problem
    }

    /// 422: fields, parameters or headers break rules. The first twenty are listed.
    pub fn invalid(mut errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{} {}", one.place, one.detail),
            many if many.len() > ERRORS_MAX => {
                format!("more than {ERRORS_MAX} things are wrong; `errors` has the first")
            }
            many => format!("{} things are wrong; `errors` has them", many.len()),
        };
        errors.truncate(ERRORS_MAX);
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request breaks rules", detail);
        problem.errors = errors;
        problem
    }

    /// 422: a rule is broken that is no field's.
    pub fn broken_rule(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request breaks rules", detail)
    }

    /// 422: the idempotency key was used for another request.
    pub fn key_reused() -> Self {
        let detail = "was used for a request with another body; use a new key for a new request";
        let error = FieldError::header("Idempotency-Key", detail);
        let detail = format!("{} {detail}", error.place);
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The key was used before", detail);
        problem.errors = vec![error];
        problem
    }

    /// 429: too many requests.
    pub fn too_many(retry_after: u32) -> Self {
        let detail = "too many requests; `Retry-After` says in how many seconds there is room again";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", detail)
            .retry_after(retry_after)
    }

    /// 429: the client holds as much of something as it may; `detail` says of what, and what to do.
    pub(crate) fn too_much(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too much at a time", detail)
    }

    /// 431: there are too many headers, or they are too long.
    pub(crate) fn head_too_large() -> Self {
        let detail = "the headers of the request are too many or too long";
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "The headers are too large", detail)
    }

    /// 501: the body is sent in a way that is not known.
    pub(crate) fn unknown_transfer_coding() -> Self {
        let error = FieldError::header("Transfer-Encoding", "is not understood; send the body as it is, or `chunked`");
        let detail = format!("{} {}", error.place, error.detail);
        let title = "The transfer coding is not known";
        let mut problem = Self::new(StatusCode::NOT_IMPLEMENTED, "unsupported-transfer-coding", title, detail);
        problem.errors = vec![error];
        problem
    }

    /// 505: the request is of another version of HTTP.
    pub(crate) fn version_unsupported() -> Self {
        let detail = "requests are taken in HTTP/1.1 and, from its preface on, in HTTP/2";
        let title = "This version of HTTP is not spoken here";
        Self::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "version-unsupported", title, detail)
    }

    /// 503: there is no room for another connection.
    pub(crate) fn overloaded() -> Self {
        let detail = "there are as many connections as the service takes; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many connections", detail).retry_after(1)
    }

    /// 503: a part that is needed is away.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available at the moment", detail).retry_after(1)
    }

    /// 503: it is not known whether the command was done.
    pub fn outcome_unknown() -> Self {
        let detail = "the log did not answer, so the command may have been done or not";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, OUTCOME_UNKNOWN, "The outcome is not known", detail).retry_after(1)
    }

    /// The same; where it is one whose outcome is not known, it says what sending the command again means.
    #[must_use]
    pub fn sent_again(mut self, again: Again) -> Self {
        if self.kind == OUTCOME_UNKNOWN {
            let advice = match again {
                Again::OnceUnderItsKey => "send it again with the same Idempotency-Key to be sure that it is done once",
                Again::PerhapsTwice => "sent again it may be done twice; with an Idempotency-Key it is done once",
                Again::CountsTwice => "sent again it may count twice",
                Again::ChangesNothing => "send it again to be sure: if it was done, that changes nothing more",
            };
            self.detail = format!("{}; {advice}", self.detail).into();
        }
        self
    }

    /// 503: the read model has not come as far as the token says.
    pub fn projection_behind() -> Self {
        let detail = "what the Consistency-Token stands for cannot be read yet; try again, wait longer with `?wait=`, \
                      or take older data with `?stale=allow`";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "projection-behind", "The read model is behind", detail)
            .retry_after(1)
    }

    /// 500: a fault of the service, whose cause is in its log and not in the answer.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %chain(error), "a request failed");
        let detail = "the service failed; the cause is in its log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The service failed", detail)
    }

    /// Says in how many seconds it is worth trying again.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same problem of the request for `path`, with `types` before the name of its kind.
    pub(crate) fn of(mut self, types: &str, path: &str) -> Self {
        // What a CONNECT asks for has no path.
        let path = if path.is_empty() { "/" } else { path };
        path.clone_into(&mut self.instance);
        self.kind = format!("{types}{}", self.kind).into();
        self
    }

    /// The document.
    pub(crate) fn document(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// What `error` says, and what each of its causes does.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.document()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.kind == UNSUPPORTED_ENCODING {
            // RFC 9110, section 15.5.16.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        // RFC 6750, section 3.
        let challenge = match &*self.kind {
            TOKEN_MISSING => Some("Bearer"),
            TOKEN_INVALID => Some("Bearer error=\"invalid_token\""),
            _ => None,
        };
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives a response that is a problem the path of its request, and puts `types` before the name of its kind.
pub(crate) fn complete(mut response: Response, uri: &Uri, types: &str) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let problem = problem.of(types, uri.path());
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(problem.document()))
}

#[cfg(test)]
mod tests {
    use balcony_event_log::{AppendError, LogError};

    use super::*;

    #[test]
    fn pointers_are_json_pointers_in_a_fragment() {
        assert_eq!(FieldError::field("body", "x").place.to_string(), "#/body");
        assert_eq!(FieldError::field("a/b~c d", "x").place.to_string(), "#/a~1b~0c%20d");
        assert_eq!(FieldError::at(&["a", "0", ""], "x").place.to_string(), "#/a/0/");
        assert_eq!(FieldError::at(&[""; 0], "x").place.to_string(), "#");
    }

    #[test]
    fn an_error_says_where_it_stands_in_one_way() {
        for (error, expected) in [
            (FieldError::field("body", "x"), serde_json::json!({"pointer": "#/body", "detail": "x"})),
            (FieldError::parameter("colour", "x"), serde_json::json!({"parameter": "colour", "detail": "x"})),
            (FieldError::header("ETag", "x"), serde_json::json!({"header": "ETag", "detail": "x"})),
        ] {
            assert_eq!(serde_json::to_value(&error).expect("JSON"), expected);
        }
    }

    #[test]
    fn what_a_client_sent_is_repeated_in_short() {
        let (long, most) = ("é".repeat(60_000), "é".repeat(100));
        assert_eq!(FieldError::parameter(&long, "x").place, FieldPlace::Parameter(format!("{most}…")));
        assert_eq!(FieldError::parameter(&most, "x").place, FieldPlace::Parameter(most.clone()));
        assert_eq!(FieldError::header(&long, "x").place, FieldPlace::Header(format!("{most}…")));
        let pointer = FieldError::at(&["a", &long, "b"], format!("is not {long}"));
        let shown = format!("#/a/{}%E2%80%A6/b", "%C3%A9".repeat(100));
        assert_eq!((pointer.place, pointer.detail.chars().count()), (FieldPlace::Pointer(shown), DETAIL_MAX + 1));
    }

    #[test]
    fn a_problem_lists_twenty_errors() {
        let errors = |count: usize| (0..count).map(|number| FieldError::field(&number.to_string(), "x")).collect();
        let listed = |count| Problem::invalid(errors(count)).errors.len();
        assert_eq!([listed(1), listed(20), listed(21), listed(32_000)], [1, 20, 20, 20]);
        assert!(Problem::invalid(errors(21)).detail.starts_with("more than 20 "));
    }

    #[test]
    fn a_problem_shows_its_status_and_when_to_try_again() {
        let response = Problem::unavailable("x").into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn what_the_log_did_not_do_is_said_so_that_a_client_can_go_on() {
        let inside = || "kafka-1:9092 is away".to_owned();
        for (problem, status, kind) in [
            (Problem::from(AppendError::Unavailable(inside())), 503, "unavailable"),
            (AppendError::UnknownTopic { topic: "orders".into() }.into(), 503, "unavailable"),
            (AppendError::Foreign(inside()).into(), 503, "unavailable"),
            (AppendError::Unknown(inside()).into(), 503, "outcome-unknown"),
            (AppendError::TooLarge.into(), 413, "too-large"),
            (LogError::Unavailable(inside()).into(), 503, "unavailable"),
            (LogError::Misconfigured(inside()).into(), 503, "unavailable"),
        ] {
            assert_eq!((problem.status().as_u16(), &*problem.kind), (status, kind), "{}", problem.detail);
            assert!(!problem.detail.contains("kafka"), "{}", problem.detail);
        }
    }

    #[test]
    fn who_does_not_know_the_outcome_is_told_what_sending_again_means() {
        let all = [Again::OnceUnderItsKey, Again::PerhapsTwice, Again::CountsTwice, Again::ChangesNothing];
        let unknown = all.map(|again| Problem::outcome_unknown().sent_again(again).detail);
        assert!(unknown[0].contains("the same Idempotency-Key") && unknown[1].contains("done twice"), "{unknown:?}");
        assert!(unknown[2].contains("count twice") && unknown[3].contains("nothing more"), "{unknown:?}");
        assert!(unknown[2..].iter().all(|detail| !detail.contains("Idempotency-Key")), "{unknown:?}");
        let known = Problem::unavailable("nothing was done");
        assert_eq!(known.clone().sent_again(Again::CountsTwice).detail, known.detail);
    }

    #[tokio::test]
    async fn a_type_begins_as_the_program_says() {
        let response = Problem::gone("x").into_response();
        let response = complete(response, &Uri::from_static("/v1/x?y=1"), "urn:example:problem:");
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.expect("a body");
        let document: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(document["type"], "urn:example:problem:gone");
        assert_eq!(document["instance"], "/v1/x");
    }
}
