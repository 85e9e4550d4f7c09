//! What a bearer token says: JSON Web Tokens (RFC 7519), signed with HS256 by whoever has the installation's secret, or with
//! RS256 or ES256 by an identity provider.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};

use crate::identity_provider::KeySet;
use crate::json;
use crate::role::{Role, UnknownRole};

/// What tokens have to name beside their subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Who has to have issued them (`iss`); anybody with the secret when there is none.
    pub issuer: Option<Arc<str>>,
    /// Whom they have to be for, possibly among others (`aud`); anybody when there is none.
    pub audience: Option<Arc<str>>,
}

/// What a token that is accepted says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claims {
    pub(crate) subject: String,
    /// Empty when the token names none.
    pub(crate) issuer: String,
    pub(crate) name: Option<String>,
    pub(crate) role: Role,
    /// When it expires, in seconds since 1970.
    pub(crate) expires: f64,
}

/// Why a token is not accepted. Nothing of the token is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token is no JSON Web Token: three parts in base64url with dots between them")]
    NotThreeParts,
    #[error("the token's {0} is not a JSON object")]
    NotAnObject(&'static str),
    #[error("the token's `alg` is not {0}")]
    Algorithm(&'static str),
    #[error("the token's `kid` is none of the identity provider's keys")]
    Key,
    #[error("the identity provider's keys are not there")]
    NoKeys,
    #[error("the token's `crit` asks for what is not understood here")]
    Critical,
    #[error("the token's signature is wrong: the token was changed, or signed with another installation's secret")]
    Signature,
    #[error("the token has no `{0}`")]
    Missing(&'static str),
    #[error("the token's `{0}` is not {1}")]
    Wrong(&'static str, &'static str),
    #[error("the token's `role` {0}")]
    Role(UnknownRole),
    #[error("the token has expired; get a new one")]
    Expired,
    #[error("the token's `{0}` is still to come")]
    TooEarly(&'static str),
}

/// By what tokens are checked, one or both of these. An algorithm is checked by keys of its own kind alone.
#[derive(Clone, Copy)]
pub(crate) struct Keyring<'k> {
    /// For HS256.
    pub(crate) secret: Option<&'k DecodingKey>,
    /// For RS256 and ES256: those of an identity provider.
    pub(crate) provider: Option<&'k KeySet>,
}

/// How far clocks may be apart, in seconds.
pub(crate) const LEEWAY: u64 = 60;

/// Checks `token` at `now`, in seconds since 1970.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn verify(token: &str, keys: Keyring<'_>, expected: &Expected, now: f64) -> Result<Claims, TokenError> {
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::NotThreeParts);
    };
    let fields = object("header", header)?;
    let algorithm = fields.get("alg").and_then(Value::as_str);
    // RFC 7515, section 4.1.11: what is critical has to be understood, and an empty list is no list.
    if fields.contains_key("crit") {
        return Err(TokenError::Critical);
    }
    let (algorithm, key) = keys.find(algorithm.unwrap_or_default(), text(&fields, "kid")?)?;
    let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
    if !crypto::verify(signature, signed, key, algorithm).is_ok_and(|right| right) {
        return Err(TokenError::Signature);
    }
    claims(&object("payload", payload)?, expected, now)
}

impl<'k> Keyring<'k> {
    /// The key for the algorithm that tokens call `algorithm`; a provider's is called `id`.
    fn find(&self, algorithm: &str, id: Option<&str>) -> Result<(Algorithm, &'k DecodingKey), TokenError> {
        let (algorithm, keys) = match (algorithm, self.secret, self.provider) {
            ("HS256", Some(secret), _) => return Ok((Algorithm::HS256, secret)),
            ("RS256", _, Some(keys)) => (Algorithm::RS256, keys),
            ("ES256", _, Some(keys)) => (Algorithm::ES256, keys),
            (_, _, None) => return Err(TokenError::Algorithm("HS256")),
            (_, None, _) => return Err(TokenError::Algorithm("RS256 or ES256")),
            (_, Some(_), _) => return Err(TokenError::Algorithm("HS256, RS256 or ES256")),
        };
        if !keys.count() {
            return Err(TokenError::NoKeys);
        }
        keys.find(algorithm, id).map(|key| (algorithm, key)).ok_or(TokenError::Key)
    }
}

fn object(part: &'static str, encoded: &str) -> Result<Map<String, Value>, TokenError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::NotThreeParts)?;
    json::object(&bytes).map_err(|_| TokenError::NotAnObject(part))
}

fn claims(fields: &Map<String, Value>, expected: &Expected, now: f64) -> Result<Claims, TokenError> {
    let leeway = LEEWAY as f64;
    let expires = time(fields, "exp")?.ok_or(TokenError::Missing("exp"))?;
    if expires + leeway < now {
        return Err(TokenError::Expired);
    }
    for name in ["nbf", "iat"] {
        if time(fields, name)?.is_some_and(|from| from - leeway > now) {
            return Err(TokenError::TooEarly(name));
        }
    }

    let issuer = text(fields, "iss")?;
    if let Some(expected) = &expected.issuer
        && issuer.ok_or(TokenError::Missing("iss"))? != &**expected
    {
        return Err(TokenError::Wrong("iss", "the issuer that this installation takes tokens of"));
    }
    if let Some(expected) = &expected.audience {
        let named = match fields.get("aud").ok_or(TokenError::Missing("aud"))? {
            Value::Array(all) => all.iter().any(|one| one == &**expected),
            one => one == &**expected,
        };
        if !named {
            return Err(TokenError::Wrong("aud", "the audience that this installation is"));
        }
    }

    let subject = text(fields, "sub")?.ok_or(TokenError::Missing("sub"))?;
    if subject.is_empty() {
        return Err(TokenError::Wrong("sub", "a text of one character or more"));
    }
    let role = text(fields, "role")?.map_or(Ok(Role::User), str::parse).map_err(TokenError::Role)?;
    Ok(Claims {
        subject: subject.to_owned(),
        issuer: issuer.unwrap_or_default().to_owned(),
        name: text(fields, "name")?.map(str::to_owned),
        role,
        expires,
    })
}

/// The claim `name`; none when it is absent or null.
fn text<'f>(fields: &'f Map<String, Value>, name: &'static str) -> Result<Option<&'f str>, TokenError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(TokenError::Wrong(name, "a text")),
    }
}

/// The claim `name`, in seconds since 1970; none when it is absent.
fn time(fields: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, TokenError> {
    let wrong = TokenError::Wrong(name, "a number of seconds since 1970");
    fields.get(name).map(|value| value.as_f64().ok_or(wrong)).transpose()
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::EncodingKey;
    use serde_json::json;

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: f64 = 1_800_000_000.0;

    fn encoded(text: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(text)
    }

    fn token(header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(payload));
        let key = EncodingKey::from_secret(SECRET);
        let signature = crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).expect("a signature");
        format!("{signed}.{signature}")
    }

    fn checked_by(expected: &Expected, token: &str) -> Result<Claims, TokenError> {
        let secret = DecodingKey::from_secret(SECRET);
        verify(token, Keyring { secret: Some(&secret), provider: None }, expected, NOW)
    }

    fn checked(header: &Value, payload: &Value) -> Result<Claims, TokenError> {
        checked_by(&Expected::default(), &token(&header.to_string(), &payload.to_string()))
    }

    fn payload(change: &Value) -> Value {
        let mut payload = json!({"sub": "mia", "exp": NOW + 9.0});
        for (name, value) in change.as_object().expect("an object") {
            payload[name] = value.clone();
        }
        payload
    }

    fn claimed(change: &Value) -> Result<Claims, TokenError> {
        checked(&json!({"alg": "HS256"}), &payload(change))
    }

    #[test]
    fn what_is_critical_has_to_be_understood() {
        for crit in [json!([]), json!(["exp"]), json!(["b64"]), json!(null), json!("b64")] {
            let header = json!({"alg": "HS256", "crit": crit, "b64": true, "exp": 1});
            assert_eq!(checked(&header, &payload(&json!({}))), Err(TokenError::Critical), "{crit}");
        }
        assert!(checked(&json!({"alg": "HS256", "typ": "at+jwt", "kid": "1"}), &payload(&json!({}))).is_ok());
    }

    #[test]
    fn a_token_is_by_the_issuer_and_for_the_audience_that_are_expected() {
        let expected = Expected { issuer: Some("https://id.example".into()), audience: Some("comments".into()) };
        let check = |change: Value| {
            let token = token(r#"{"alg":"HS256"}"#, &payload(&change).to_string());
            (checked_by(&Expected::default(), &token).is_ok(), checked_by(&expected, &token).err())
        };
        let issuer = "https://id.example";
        for aud in [json!("comments"), json!(["shop", "comments"])] {
            assert_eq!(check(json!({"iss": issuer, "aud": aud})), (true, None), "{aud}");
        }
        for aud in
            [json!("Comments"), json!([]), json!(["shop"]), json!(1), json!({"comments": 1}), json!([["comments"]])]
        {
            let (_, error) = check(json!({"iss": issuer, "aud": aud}));
            assert!(matches!(error, Some(TokenError::Wrong("aud", _))), "{aud}");
        }
        assert_eq!(check(json!({"iss": issuer})), (true, Some(TokenError::Missing("aud"))));
        assert_eq!(check(json!({"aud": "comments"})), (true, Some(TokenError::Missing("iss"))));
        for iss in ["https://id.example/", "", "HTTPS://id.example"] {
            let (by_anybody, error) = check(json!({"iss": iss, "aud": "comments"}));
            assert!(by_anybody && matches!(error, Some(TokenError::Wrong("iss", _))), "{iss}");
        }
    }

    #[test]
    fn times_are_numbers_and_clocks_may_be_a_minute_apart() {
        for (change, expected) in [
            (json!({"exp": NOW - 60.0}), None),
            (json!({"exp": NOW - 60.5}), Some(TokenError::Expired)),
            (json!({"exp": -1}), Some(TokenError::Expired)),
            (json!({"nbf": NOW + 60.0, "iat": NOW + 60.0}), None),
            (json!({"nbf": NOW + 61.0}), Some(TokenError::TooEarly("nbf"))),
            (json!({"iat": NOW + 61.0}), Some(TokenError::TooEarly("iat"))),
        ] {
            assert_eq!(claimed(&change).err(), expected, "{change}");
        }
        for name in ["exp", "nbf", "iat"] {
            for wrong in [json!("2030"), json!(null), json!([1]), json!(true)] {
                let found = claimed(&json!({name: wrong})).err();
                assert_eq!(found, Some(TokenError::Wrong(name, "a number of seconds since 1970")), "{name} {wrong}");
            }
        }
        let endless = token(r#"{"alg":"HS256"}"#, r#"{"sub":"mia","exp":1e999}"#);
        assert_eq!(checked_by(&Expected::default(), &endless), Err(TokenError::NotAnObject("payload")));
    }

    #[test]
    fn what_is_wrong_with_a_token_is_said_of_the_one_that_came() {
        let plain = payload(&json!({})).to_string();
        let good = token(r#"{"alg":"HS256"}"#, &plain);
        let (signed, signature) = good.rsplit_once('.').expect("three parts");
        let said = |token: &str| checked_by(&Expected::default(), token).expect_err(token).to_string();
        for (token, part) in [
            ("", "three parts"),
            ("x", "three parts"),
            (signed, "three parts"),
            (&format!("{good}.x"), "three parts"),
            (&format!("%.{good}"), "three parts"),
            (&format!("{}.x.y", encoded("[]")), "header is not a JSON object"),
            (&format!("{}.{}.", encoded(r#"{"alg":"none"}"#), encoded(&plain)), "`alg` is not HS256"),
            (&format!("{}.x.y", encoded(r#"{"typ":"JWT"}"#)), "`alg` is not HS256"),
            (&format!("{signed}.{}", signature.to_lowercase()), "signature is wrong"),
            (&format!("{signed}."), "signature is wrong"),
            (&token(r#"{"alg":"HS256"}"#, "1"), "payload is not a JSON object"),
            (&token(r#"{"alg":"HS256"}"#, r#"{"sub":"a","sub":"b"}"#), "payload is not a JSON object"),
            (&token(r#"{"alg":"HS256"}"#, r#"{"sub":"mia"}"#), "has no `exp`"),
            (&token(r#"{"alg":"HS256"}"#, r#"{"exp":1900000000}"#), "has no `sub`"),
        ] {
            assert!(said(token).contains(part), "{token}: {}", said(token));
        }
        for (change, part) in [
            (json!({"sub": ""}), "`sub` is not a text of one"),
            (json!({"sub": 7}), "`sub` is not a text"),
            (json!({"name": ["Mia"]}), "`name` is not a text"),
            (json!({"role": 1}), "`role` is not a text"),
            (json!({"role": "root"}), "`role` is not one of user, moderator, admin"),
            (json!({"iss": 1}), "`iss` is not a text"),
        ] {
            let error = claimed(&change).expect_err("refused").to_string();
            assert!(error.contains(part), "{change}: {error}");
        }
    }
}
