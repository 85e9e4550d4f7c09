//! The key under which a client may send a request again: the value of `Idempotency-Key`.

use axum::http::{HeaderMap, HeaderName, StatusCode};
use utoipa::IntoParams;

use crate::describe::{Describe, Description};
use crate::{FieldError, Problem};

/// The key under which a client may send a request again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// The header of commands that may be sent again.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header, which is read by name")]
struct KeyHeader {
    /// Under the same key the same request is done once: 1 to 255 visible ASCII characters.
    #[param(rename = "Idempotency-Key", nullable = false, min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl IdempotencyKey {
    /// The key in a request's headers, if there is one.
    ///
    /// # Errors
    /// 422 for a key that is none, and for two.
    pub fn take(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let bytes = value.as_bytes();
        let visible = bytes.iter().all(|byte| (0x21..=0x7e).contains(byte));
        if !visible || bytes.is_empty() || bytes.len() > 255 || values.next().is_some() {
            let detail = "is not one value of 1 to 255 visible ASCII characters";
            return Err(Problem::invalid(vec![FieldError::header("Idempotency-Key", detail)]));
        }
        Ok(Some(Self(String::from_utf8_lossy(bytes).into_owned())))
    }

    /// The key as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Describe for IdempotencyKey {
    fn describe(description: &mut Description<'_>) {
        description.takes::<KeyHeader>();
        description.refuses(StatusCode::CONFLICT, "a request with the same `Idempotency-Key` is under way");
        description.refuses(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the `Idempotency-Key` is malformed, or was used for a request with another body",
        );
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn key(value: &str) -> Result<Option<IdempotencyKey>, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value.as_bytes()).expect("a header"));
        IdempotencyKey::take(&headers)
    }

    #[test]
    fn keys_are_visible_ascii() {
        for good in ["a", "!~", &"k".repeat(255)] {
            assert_eq!(key(good).expect("a key").expect("one").as_str(), good);
        }
        for bad in ["", "a b", "é", "a\tb", &"k".repeat(256)] {
            assert!(key(bad).is_err(), "{bad:?}");
        }
        assert_eq!(IdempotencyKey::take(&HeaderMap::new()).expect("none"), None);
    }
}
