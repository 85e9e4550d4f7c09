use axum::Json;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use balcony_domain::{Role, id_of_request};
use balcony_event_log::Positions;
use balcony_http::{ConsistencyToken, Identity, Params, Problem};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::CommandApi;

/// What comes with every command beside its body: the client's token, the key under which it may be repeated, the
/// trace it belongs to.
pub(crate) struct Command {
    /// What the client has seen; the answer's token covers it too.
    pub(crate) seen: ConsistencyToken,
    pub(crate) traceparent: Option<String>,
    key: Option<String>,
    method: String,
    path: String,
}

/// Somebody who may register companies and movies.
pub(crate) struct Admin(pub(crate) Identity);

/// The answer to a command that made something.
#[derive(Serialize, ToSchema)]
pub(crate) struct Created {
    /// The id of what was made.
    id: Uuid,
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl Command {
    /// The id of what this command makes when it carries a key.
    pub(crate) fn derived_id(&self, identity: &Identity) -> Option<Uuid> {
        self.key.as_ref().map(|key| id_of_request(identity.user, &self.method, &self.path, key))
    }
}

impl FromRequestParts<Arc<CommandApi>> for Command {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<CommandApi>) -> Result<Self, Problem> {
        Params::new(parts.uri.query()).finish()?;
        Ok(Self {
            seen: api.consistency.token(&parts.headers)?,
            traceparent: traceparent(&parts.headers),
            key: idempotency_key(&parts.headers)?,
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
        })
    }
}

impl FromRequestParts<Arc<CommandApi>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<CommandApi>) -> Result<Self, Problem> {
        let identity = Identity::from_request_parts(parts, api).await?;
        if identity.role < Role::Admin {
            return Err(Problem::forbidden("only an admin may do this"));
        }
        Ok(Self(identity))
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bytes = value.as_bytes();
    let visible = bytes.iter().all(|byte| (0x21..=0x7e).contains(byte));
    if !visible || bytes.is_empty() || bytes.len() > 255 || values.next().is_some() {
        return Err(Problem::broken_rule("Idempotency-Key is not one value of 1 to 255 visible ASCII characters"));
    }
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
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
    fn token(&self, command: &Command, written: &Positions) -> (HeaderName, HeaderValue) {
        let mut seen = command.seen.clone();
        seen.0.merge(written);
        self.consistency.header(&seen)
    }

    /// 201, with where the new thing is.
    pub(crate) fn created(&self, command: &Command, collection: &str, id: Uuid, written: &Positions) -> Response {
        let location = (header::LOCATION, format!("/v1/{collection}/{id}"));
        let (name, value) = self.token(command, written);
        let mut response = (StatusCode::CREATED, [location], Json(Created { id })).into_response();
        response.headers_mut().insert(name, value);
        response
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
    fn keys_are_visible_ascii() {
        for good in ["a", "!~", &"k".repeat(255)] {
            assert_eq!(idempotency_key(&headers("idempotency-key", good)).expect("a key").as_deref(), Some(good));
        }
        for bad in ["", "a b", "é", "a\tb", &"k".repeat(256)] {
            assert!(idempotency_key(&headers("idempotency-key", bad)).is_err(), "{bad:?}");
        }
        assert_eq!(idempotency_key(&HeaderMap::new()).expect("none"), None);
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
