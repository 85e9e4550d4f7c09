//! Bodies: bounded before anything else is looked at, then JSON, then the fields.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use utoipa::ToSchema;

use crate::describe::{Describe, Description};
use crate::json;
use crate::problem::{FieldError, Problem};

/// The most bytes a body may have.
pub const LIMIT: usize = 64 << 10;
/// How much of a body that is too large is read before the answer, so that a client that sends all before it reads
/// gets the answer and not a broken connection.
const DRAIN: usize = 8 << 20;

/// Reads a whole body, up to [`LIMIT`].
///
/// # Errors
/// 413 for a longer one, 400 for one that breaks off.
pub(crate) async fn read(mut body: Body) -> Result<Bytes, Problem> {
    let mut first: Option<Bytes> = None;
    let mut collected: Vec<u8> = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::malformed("the body ended before it was complete"))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > DRAIN {
            break;
        }
        if length > LIMIT {
            continue;
        }
        match first.take() {
            None if collected.is_empty() => first = Some(data),
            before => {
                collected.extend_from_slice(&before.unwrap_or_default());
                collected.extend_from_slice(&data);
            }
        }
    }
    if length > LIMIT {
        return Err(Problem::too_large(LIMIT));
    }
    Ok(first.unwrap_or_else(|| collected.into()))
}

/// A body that is a JSON object with the fields of `T` and no others.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

/// A [`JsonBody`] with what was sent: whoever has to know a request again does not depend on what `T` is today.
#[derive(Debug)]
pub struct SentJson<T> {
    /// What the fields mean.
    pub fields: T,
    /// The fields as they were sent.
    pub sent: Map<String, Value>,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        sent(request, state).await.and_then(fields).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for SentJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let sent = sent(request, state).await?;
        Ok(Self { fields: fields(sent.clone())?, sent })
    }
}

impl<T: ToSchema> Describe for JsonBody<T> {
    fn describe(description: &mut Description<'_>) {
        description.takes_json::<T>();
        description.refuses(
            StatusCode::BAD_REQUEST,
            "the body is no JSON, broke off, is nested too deeply, or has half of a surrogate pair",
        );
        description.refuses(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body has more than {LIMIT} bytes"));
        description.refuses(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not sent as JSON");
        description.refuses(StatusCode::UNPROCESSABLE_ENTITY, "a field breaks a rule, is unknown, or stands twice");
    }
}

impl<T: ToSchema> Describe for SentJson<T> {
    fn describe(description: &mut Description<'_>) {
        JsonBody::<T>::describe(description);
    }
}

/// The fields of the request's body.
async fn sent<S: Send + Sync>(request: Request, state: &S) -> Result<Map<String, Value>, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::unsupported_media_type());
    }
    let bytes = Bytes::from_request(request, state).await;
    let bytes = bytes.map_err(|_| Problem::malformed("the body could not be read"))?;
    json::object(&bytes)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    let (main, sub) = media_type.split_once('/').unwrap_or_default();
    let json = sub.eq_ignore_ascii_case("json") || sub.len() > 5 && sub[sub.len() - 5..].eq_ignore_ascii_case("+json");
    main.eq_ignore_ascii_case("application") && json && utf8
}

/// Reads `T` from the fields of a body.
fn fields<T: DeserializeOwned>(sent: Map<String, Value>) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Value::Object(sent)).map_err(|error| {
        let message = error.inner().to_string();
        // serde names an unknown field only in its message: unknown field `x`, expected …
        let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.rsplit_once("`, expected"));
        let path = error.path().iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        let error = match unknown {
            Some((name, _)) => FieldError::field(name, "is not a field here"),
            None => FieldError::at(&path.collect::<Vec<_>>(), message),
        };
        Problem::invalid(vec![error])
    })
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        body: Option<String>,
    }

    fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
        json::object(bytes).and_then(fields)
    }

    fn refused(bytes: &[u8]) -> (StatusCode, String) {
        let problem = parse::<Fields>(bytes).expect_err("refused");
        (problem.status(), serde_json::to_value(&problem).expect("JSON")["errors"][0]["pointer"].to_string())
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        let deep = [b"{\"body\":".to_vec(), vec![b'['; 200], vec![b']'; 200], b"}".to_vec()].concat();
        for bytes in [&b""[..], b"{", b"{\"body\":\"\\ud800\"}", b"{\"body\":\"\xff\"}", b"{\"x\":1,}", b"{} x", &deep]
        {
            assert_eq!(refused(bytes).0, StatusCode::BAD_REQUEST, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_has_another_shape_is_named() {
        assert_eq!(refused(b"[]"), (StatusCode::UNPROCESSABLE_ENTITY, "\"#\"".into()));
        assert_eq!(refused(b"{\"body\":1}"), (StatusCode::UNPROCESSABLE_ENTITY, "\"#/body\"".into()));
        assert_eq!(refused(b"{\"x\":1}"), (StatusCode::UNPROCESSABLE_ENTITY, "\"#/x\"".into()));
        assert_eq!(refused(b"{\"a/b\":1}"), (StatusCode::UNPROCESSABLE_ENTITY, "\"#/a~1b\"".into()));
        assert_eq!(parse::<Fields>(b"{\"body\":\"x\"}").expect("fields").body.as_deref(), Some("x"));
    }

    #[test]
    fn json_may_be_called_by_its_kin() {
        let is = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().expect("a header"));
            is_json(&headers)
        };
        assert!(is("application/json") && is("Application/JSON; charset=UTF-8") && is("application/vnd.x+json"));
        assert!(
            !is("text/plain") && !is("application/jsonx") && !is("application/json; charset=latin1") && !is("+json")
        );
    }
}
