//! How a command comes in, and how it is answered.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use balcony_domain::Violation;
use balcony_event_log::Positions;
use balcony_http::describe::{Describe, Description};
use balcony_http::{ConsistencyToken, FieldError, Params, Problem};
use utoipa::IntoParams;

use crate::api::CommandApi;

/// What comes with every command beside its body: the client's token, and the trace it belongs to.
pub(crate) struct Command {
    /// What the client has seen; the answer's token covers it too.
    seen: ConsistencyToken,
    pub(crate) traceparent: Option<String>,
}

/// The header of every command.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header, which is read by name")]
struct TokenHeader {
    /// The token of what the client has seen; the answer's token covers it too. There may be up to eight, in lines of their
    /// own or separated by commas.
    #[param(rename = "Consistency-Token", nullable = false)]
    consistency_token: Option<String>,
}

impl FromRequestParts<Arc<CommandApi>> for Command {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<CommandApi>) -> Result<Self, Problem> {
        Params::new(parts.uri.query()).finish()?;
        Ok(Self { seen: api.consistency.token(&parts.headers)?, traceparent: traceparent(&parts.headers) })
    }
}

impl Describe for Command {
    fn describe(description: &mut Description<'_>) {
        description.takes::<TokenHeader>();
        description.refuses(StatusCode::UNPROCESSABLE_ENTITY, "a header is malformed, or there is a query parameter");
        description.refuses(
            StatusCode::SERVICE_UNAVAILABLE,
            "the log or the database is not available, or the outcome is not known",
        );
    }
}

/// 422 for the rules that the fields of a body break.
pub(crate) fn broken_rules(violations: Vec<Violation>) -> Problem {
    let errors = violations.into_iter().map(|violation| FieldError::field(violation.field, violation.detail));
    Problem::invalid(errors.collect())
}

/// The trace context of the request, when it is one (W3C Trace Context, version 00).
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let lengths: Vec<usize> = value.split('-').map(str::len).collect();
    let hexadecimal = value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    (value.starts_with("00-") && lengths == [2, 32, 16, 2] && hexadecimal).then(|| value.to_owned())
}

impl CommandApi {
    /// The header with the token that covers what the client had seen and what its command wrote.
    pub(crate) fn token(&self, command: &Command, written: &Positions) -> (HeaderName, HeaderValue) {
        let mut seen = command.seen.clone();
        seen.0.merge(written);
        self.consistency.header(&seen)
    }

    /// An answer without a body.
    pub(crate) fn done(&self, status: StatusCode, command: &Command, written: &Positions) -> Response {
        (status, [self.token(command, written)]).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header"));
        headers
    }

    #[test]
    fn only_a_trace_context_is_passed_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(&headers("traceparent", good)).as_deref(), Some(good));
        for bad in ["", "00-x", &good.to_uppercase(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"] {
            assert_eq!(traceparent(&headers("traceparent", bad)), None, "{bad}");
        }
    }
}
