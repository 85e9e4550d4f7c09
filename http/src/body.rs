//! Bodies: bounded before anything else is looked at, then JSON, then the fields.

use std::time::Duration;

use axum::body::HttpBody as _;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
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
/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks at what the head says of the body.
///
/// # Errors
/// 413 for one that is longer than [`LIMIT`], 415 for one that is encoded.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > LIMIT as u64) {
        return Err(Problem::too_large(LIMIT));
    }
    let is_plain = |coding: &HeaderValue| coding.is_empty() || coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
        return Ok(());
    }
    Err(Problem::unsupported_encoding())
}

/// Whether the client sends the body once it is told to go on (RFC 9110, section 10.1.1). Reading it tells.
pub(crate) fn is_awaited(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Reads a whole body, up to [`LIMIT`]. What is longer is not read on: the connection ends.
///
/// # Errors
/// 413 for a longer one, 400 for one that breaks off, 408 for one that takes too long.
pub(crate) async fn read(body: Body) -> Result<Bytes, Problem> {
    read_within(body, PATIENCE).await
}

async fn read_within(body: Body, patience: Duration) -> Result<Bytes, Problem> {
    tokio::time::timeout(patience, collect(body)).await.unwrap_or_else(|_| Err(Problem::too_slow()))
}

async fn collect(mut body: Body) -> Result<Bytes, Problem> {
    let mut first: Option<Bytes> = None;
    let mut collected: Vec<u8> = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::malformed("the body ended before it was complete"))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > LIMIT {
            return Err(Problem::too_large(LIMIT));
        }
        match first.take() {
            None if collected.is_empty() => first = Some(data),
            before => {
                collected.extend_from_slice(&before.unwrap_or_default());
                collected.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| collected.into()))
}

/// A body that is a JSON object with the fields of `T` and no others.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

/// What is sent with a request that says everything in its path: nothing, or an object without fields.
#[derive(Debug)]
pub struct NoBody;

/// A body of any type that says nothing: what programs send along that call a link. It is read to its end, within the limit.
#[derive(Debug)]
pub struct AnyBody;

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

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        sent(request).await.and_then(|sent| fields(&sent)).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for SentJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let sent = sent(request).await?;
        Ok(Self { fields: fields(&sent)?, sent })
    }
}

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let says_json = is_json(request.headers());
        let body = request.into_body();
        if body.is_end_stream() {
            return Ok(Self);
        }
        let bytes = read(body).await?;
        if bytes.is_empty() {
            return Ok(Self);
        }
        if !says_json {
            return Err(Problem::unsupported_media_type());
        }
        let sent = json::object(&bytes)?;
        let fields = sent.keys().map(|name| FieldError::field(name, "is not a field here"));
        if sent.is_empty() { Ok(Self) } else { Err(Problem::invalid(fields.collect())) }
    }
}

impl<S: Send + Sync> FromRequest<S> for AnyBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read(request.into_body()).await.map(|_| Self)
    }
}

impl Describe for AnyBody {
    fn describe(description: &mut Description<'_>) {
        description.refuses(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body has more than {LIMIT} bytes"));
    }
}

impl Describe for NoBody {
    fn describe(description: &mut Description<'_>) {
        description.refuses(StatusCode::BAD_REQUEST, "there is a body, and it is no JSON");
        description.refuses(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body has more than {LIMIT} bytes"));
        description.refuses(StatusCode::UNSUPPORTED_MEDIA_TYPE, "there is a body, and it is not sent as JSON");
        description.refuses(StatusCode::UNPROCESSABLE_ENTITY, "the body has a field, and none is known here");
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
async fn sent(request: Request) -> Result<Map<String, Value>, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::unsupported_media_type());
    }
    // In memory already, unless the client waits for a word before it sends it: now nothing else is wrong.
    let bytes = read(request.into_body()).await?;
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
fn fields<T: DeserializeOwned>(sent: &Map<String, Value>) -> Result<T, Problem> {
    serde_path_to_error::deserialize(sent).map_err(|error| {
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
    use axum::http::{HeaderName, StatusCode};
    use futures_util::StreamExt as _;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        body: Option<String>,
    }

    fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
        json::object(bytes).and_then(|sent| fields(&sent))
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
    fn what_the_head_says_of_a_body_is_enough_to_refuse_it() {
        let checked = |name: HeaderName, value: &str| {
            let headers = HeaderMap::from_iter([(name, value.parse().expect("a header"))]);
            check(&headers).map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(checked(header::CONTENT_LENGTH, &LIMIT.to_string()), Ok(()));
        assert_eq!(checked(header::CONTENT_LENGTH, &(LIMIT + 1).to_string()), Err(413));
        assert_eq!(checked(header::CONTENT_LENGTH, &u64::MAX.to_string()), Err(413));
        for plain in ["", "identity", "Identity"] {
            assert_eq!(checked(header::CONTENT_ENCODING, plain), Ok(()), "{plain}");
        }
        for encoded in ["gzip", "br", "identity, gzip", "\u{e9}"] {
            assert_eq!(checked(header::CONTENT_ENCODING, encoded), Err(415), "{encoded}");
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let begins = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
        let body = Body::from_stream(begins.chain(futures_util::stream::pending()));
        let problem = read_within(body, Duration::from_millis(1)).await.expect_err("given up");
        assert_eq!(problem.status(), StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_read_no_further() {
        let chunk = Bytes::from(vec![b' '; LIMIT]);
        let body = Body::from_stream(futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone())));
        let problem = read(body).await.expect_err("refused");
        assert_eq!(problem.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn where_no_body_is_wanted_there_is_none_or_an_empty_object() {
        for (content_type, body, status) in [
            (None, "", None),
            (Some("application/json"), "", None),
            (Some("application/json"), " {} ", None),
            (Some("application/json"), "{\"x\":1}", Some(422)),
            (Some("application/json"), "[]", Some(422)),
            (Some("application/json"), "{", Some(400)),
            (Some("text/plain"), "x", Some(415)),
            (None, "x", Some(415)),
        ] {
            let mut request = Request::new(Body::from(body));
            if let Some(content_type) = content_type {
                request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            let refused = NoBody::from_request(request, &()).await.err().map(|problem| problem.status().as_u16());
            assert_eq!(refused, status, "{content_type:?} {body:?}");
        }
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
