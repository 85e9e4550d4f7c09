//! Who asks: users by their bearer tokens, or nobody.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use hmac::{Hmac, Mac as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use quick_cache::sync::Cache;
use sha2::Sha256;
use uuid::Uuid;

use crate::describe::{Describe, Description};
use crate::identity_provider::{IdentityProvider, KeySet};
use crate::token::{self, Keyring, LEEWAY, TokenError};
use crate::{Expected, Problem, Role};

/// Checks tokens, and makes them for operators. Cheap to clone.
#[derive(Clone)]
pub struct Authority(Arc<Keys>);

struct Keys {
    secret: Option<Secret>,
    provider: Option<IdentityProvider>,
    expected: Expected,
    issuer: Arc<str>,
    subjects: Subjects,
    /// Tokens that were accepted. A token that was right once stays right until it expires, for these keys, and checking
    /// its signature takes longer than looking it up.
    accepted: Cache<String, Accepted>,
}

struct Secret {
    encoding: EncodingKey,
    decoding: DecodingKey,
    /// For keys of other purposes.
    keyed: Hmac<Sha256>,
}

/// A token that was accepted.
#[derive(Clone)]
struct Accepted {
    identity: Identity,
    /// In seconds since 1970.
    expires: f64,
    /// The edition of the provider's keys then.
    edition: u64,
}

/// Why no token is made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// They come from the identity provider.
    #[error("tokens come from the identity provider, since there is no secret to sign them with")]
    NoSecret,
    /// The library does not sign.
    #[error(transparent)]
    Signing(#[from] jsonwebtoken::errors::Error),
}

/// The user a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: Uuid,
    /// The user's name, as the token says it.
    pub name: Option<String>,
    /// What the user may do.
    pub role: Role,
}

/// How the subject of a token becomes the id of a user: a UUID in its hyphenated form is taken as it is, anything else
/// becomes the UUIDv5 (RFC 9562) of the token's issuer and the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subjects {
    namespace: Uuid,
}

/// The user a request comes from, or nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor(pub Option<Identity>);

/// What a secret must have at least, in bytes: as much as the digest it keys (RFC 7518, section 3.2).
pub const SECRET_MIN: usize = 32;
/// How many accepted tokens are remembered.
const TOKENS_REMEMBERED: usize = 10_000;
/// The longest token that is remembered, in bytes.
const REMEMBERED_MAX: usize = 2_048;

/// The length of a UUID in its hyphenated form.
const HYPHENATED: usize = 36;

impl Subjects {
    /// Subjects that are no UUIDs become UUIDs in `namespace`.
    pub const fn derived_in(namespace: Uuid) -> Self {
        Self { namespace }
    }

    /// The user that `subject` of `issuer` stands for.
    pub fn user(&self, issuer: &str, subject: &str) -> Uuid {
        let id = if subject.len() == HYPHENATED { Uuid::try_parse(subject).ok() } else { None };
        id.unwrap_or_else(|| Uuid::new_v5(&self.namespace, format!("user\0{issuer}\0{subject}").as_bytes()))
    }
}

impl Authority {
    /// An authority over the tokens signed with `secret`, which have to name what is `expected`. The users that it makes
    /// tokens for are those of `issuer`, and its tokens name that unless another issuer is expected.
    pub fn new(secret: &[u8], issuer: impl Into<Arc<str>>, subjects: Subjects, expected: Expected) -> Self {
        Self::by(Some(secret), None, issuer, subjects, expected)
    }

    /// An authority over the tokens of `provider`, and over those that are signed with `secret`, if there is one.
    pub fn of_provider(
        provider: IdentityProvider,
        secret: Option<&[u8]>,
        issuer: impl Into<Arc<str>>,
        subjects: Subjects,
        expected: Expected,
    ) -> Self {
        Self::by(secret, Some(provider), issuer, subjects, expected)
    }

    fn by(
        secret: Option<&[u8]>,
        provider: Option<IdentityProvider>,
        issuer: impl Into<Arc<str>>,
        subjects: Subjects,
        expected: Expected,
    ) -> Self {
        let secret = secret.map(|secret| Secret {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            keyed: Hmac::new_from_slice(secret).expect("a key may have any length"),
        });
        let accepted = Cache::new(TOKENS_REMEMBERED);
        Self(Arc::new(Keys { secret, provider, expected, issuer: issuer.into(), subjects, accepted }))
    }

    /// Whose tokens are taken beside, or instead of, those that are signed with the secret.
    pub fn provider(&self) -> Option<&IdentityProvider> {
        self.0.provider.as_ref()
    }

    /// Whether it can make tokens.
    pub fn can_issue(&self) -> bool {
        self.0.secret.is_some()
    }

    /// A key for `purpose`: the same for everybody who has the secret, and of no use for anything else. None without a
    /// secret.
    pub fn key_for(&self, purpose: &str) -> Option<[u8; 32]> {
        let secret = self.0.secret.as_ref()?;
        Some(keyed(&secret.keyed, purpose))
    }

    /// The user that tokens made for `name` stand for.
    pub fn user(&self, name: &str) -> Uuid {
        self.0.subjects.user(&self.0.issuer, name)
    }

    /// A token for the user called `name`, valid for `seconds` from now. The same name is the same user.
    ///
    /// # Errors
    /// Whatever keeps the library from signing, which is that there is no secret.
    pub fn issue(&self, name: &str, role: Role, seconds: u64) -> Result<String, IssueError> {
        let secret = self.0.secret.as_ref().ok_or(IssueError::NoSecret)?;
        let now = now();
        let Expected { issuer, audience } = &self.0.expected;
        let mut claims = serde_json::json!({
            "sub": self.user(name).to_string(),
            "name": name,
            "role": role.as_str(),
            "iss": issuer.as_ref().unwrap_or(&self.0.issuer),
            "iat": now,
            "exp": now.saturating_add(seconds),
        });
        if let Some(audience) = audience {
            claims["aud"] = (**audience).into();
        }
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &secret.encoding)?)
    }

    /// Who a request comes from, by its `Authorization`. Without one it comes from nobody.
    ///
    /// # Errors
    /// 401 for a token that is not accepted, 400 for two, 503 while the keys that it may be signed with cannot be had.
    pub async fn visitor(&self, headers: &HeaderMap) -> Result<Visitor, Problem> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(Visitor(None)) };
        if values.next().is_some() {
            return Err(Problem::malformed("`Authorization` stands twice"));
        }
        let value = value.to_str().unwrap_or_default();
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Problem::token_invalid("`Authorization` is not of the form `Bearer TOKEN`"));
        }
        match token.trim() {
            "" => Err(Problem::token_invalid("there is no token behind `Bearer`")),
            token => self.identity(token).await.map(|identity| Visitor(Some(identity))),
        }
    }

    async fn identity(&self, token: &str) -> Result<Identity, Problem> {
        let keys = self.provided();
        if let Some(identity) = self.remembered(token, keys.as_deref()) {
            return Ok(identity);
        }
        match (self.verify(token, keys.as_deref()), &self.0.provider) {
            (Err(TokenError::Key | TokenError::NoKeys), Some(provider)) => {
                // The provider may have others by now.
                provider.has_others_than(keys.map_or(0, |keys| keys.edition)).await;
                self.verify(token, self.provided().as_deref())
            }
            (verified, _) => verified,
        }
        .map_err(|error| match error {
            TokenError::NoKeys => Problem::unavailable("the identity provider's keys cannot be had; try again"),
            error => Problem::token_invalid(error.to_string()),
        })
    }

    /// The provider's keys as they are now.
    fn provided(&self) -> Option<Arc<KeySet>> {
        self.0.provider.as_ref().map(IdentityProvider::keys)
    }

    fn remembered(&self, token: &str, provided: Option<&KeySet>) -> Option<Identity> {
        let accepted = self.0.accepted.get(token)?;
        let still_counts = accepted.edition == edition(provided) && now() as f64 <= accepted.expires + LEEWAY as f64;
        still_counts.then_some(accepted.identity)
    }

    fn verify(&self, token: &str, provided: Option<&KeySet>) -> Result<Identity, TokenError> {
        let keys = &*self.0;
        let keyring = Keyring { secret: keys.secret.as_ref().map(|secret| &secret.decoding), provider: provided };
        let claims = token::verify(token, keyring, &keys.expected, now() as f64)?;
        let user = keys.subjects.user(&claims.issuer, &claims.subject);
        let identity = Identity { user, name: claims.name, role: claims.role };
        if token.len() <= REMEMBERED_MAX {
            let edition = edition(provided);
            let accepted = Accepted { identity: identity.clone(), expires: claims.expires, edition };
            keys.accepted.insert(token.to_owned(), accepted);
        }
        Ok(identity)
    }
}

/// A key for `purpose`: the same for everybody who has `secret`, and of no use for anything else.
pub fn key_of(secret: &[u8], purpose: &str) -> [u8; 32] {
    keyed(&Hmac::new_from_slice(secret).expect("a key may have any length"), purpose)
}

fn keyed(secret: &Hmac<Sha256>, purpose: &str) -> [u8; 32] {
    secret.clone().chain_update(purpose).finalize().into_bytes().into()
}

/// Which keys of a provider count; 0 where there are none.
fn edition(keys: Option<&KeySet>) -> u64 {
    keys.filter(|keys| keys.count()).map_or(0, |keys| keys.edition)
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(parts.extensions.get::<Self>().cloned().expect("the edge finds out who asks before every handler"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Visitor::from_request_parts(parts, state).await?.0.ok_or_else(Problem::token_missing)
    }
}

impl Describe for Identity {
    fn describe(description: &mut Description<'_>) {
        description.needs_token();
        description.refuses(StatusCode::UNAUTHORIZED, "no token came");
    }
}

/// Whoever asks is an admin.
#[derive(Debug, Clone)]
pub struct Admin(pub Identity);

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let identity = Identity::from_request_parts(parts, state).await?;
        if identity.role < Role::Admin {
            return Err(Problem::forbidden("only an admin may do this"));
        }
        Ok(Self(identity))
    }
}

impl Describe for Admin {
    fn describe(description: &mut Description<'_>) {
        Identity::describe(description);
        description.refuses(StatusCode::FORBIDDEN, "the user is no admin");
    }
}

impl Describe for Visitor {
    fn describe(description: &mut Description<'_>) {
        description.takes_token();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const SUBJECTS: Subjects = Subjects::derived_in(Uuid::from_u128(0x5b6f_1c57_9f0b_4d3e_8a61_7d2c_0e94_b1fa));

    fn authority() -> Authority {
        Authority::new(SECRET, "balcony", SUBJECTS, Expected::default())
    }

    fn signed(algorithm: Algorithm, secret: &[u8], claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).expect("a token")
    }

    fn visit(value: &str) -> Result<Visitor, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().expect("a header"));
        at_once(authority().visitor(&headers))
    }

    /// What comes of `future`, which waits for nobody.
    fn at_once<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("no provider is asked")
    }

    fn visit_as(claims: &Value) -> Result<Identity, Problem> {
        let visitor = visit(&format!("Bearer {}", signed(Algorithm::HS256, SECRET, claims)))?;
        Ok(visitor.0.expect("somebody"))
    }

    #[test]
    fn a_token_that_was_issued_is_accepted() {
        let token = authority().issue("Mia", Role::Moderator, 60).expect("a token");
        let Visitor(Some(mia)) = visit(&format!("bearer {token}")).expect("accepted") else { panic!("somebody") };
        assert_eq!((mia.name.as_deref(), mia.role), (Some("Mia"), Role::Moderator));
        let again = authority().issue("Mia", Role::User, 60).expect("a token");
        assert_eq!(visit(&format!("Bearer {again}")).expect("accepted").0.expect("somebody").user, mia.user);
    }

    #[test]
    fn a_uuid_subject_is_the_user_and_another_is_derived_with_its_issuer() {
        let id = "0192f0c1-7c3e-7b0a-9d58-2f6a1b3c4d5e";
        assert_eq!(SUBJECTS.user("a", id).to_string(), id);
        assert_eq!(SUBJECTS.user("a", &id.to_uppercase()).to_string(), id);
        for (issuer, subject, user) in [
            ("balcony", "Mia", "ab0c8cd8-8909-5908-973f-accb721f9f20"),
            ("", "mia", "46d864a0-2cac-52f9-8f5e-36fda00b010d"),
            ("https://issuer.example", "mia", "88166844-0e1e-57ce-93b4-82b16efb9cd0"),
        ] {
            assert_eq!(SUBJECTS.user(issuer, subject).to_string(), user, "{issuer} {subject}");
        }
        for other in [id.replace('-', ""), format!("{{{id}}}"), format!("urn:uuid:{id}")] {
            assert_ne!(SUBJECTS.user("a", &other).to_string(), id, "{other}");
        }
        assert_eq!(authority().user("Mia"), SUBJECTS.user("balcony", "Mia"));
    }

    #[test]
    fn the_name_is_as_the_token_says_it() {
        let name = |claims: Value| visit_as(&claims).expect("accepted").name;
        assert_eq!(name(json!({"sub": "mia", "exp": now() + 9})), None);
        assert_eq!(name(json!({"sub": "mia", "exp": now() + 9, "name": " \u{200b}"})).as_deref(), Some(" \u{200b}"));
    }

    #[test]
    fn the_role_is_user_when_absent_and_unknown_ones_are_refused() {
        assert_eq!(visit_as(&json!({"sub": "mia", "exp": now() + 9})).expect("accepted").role, Role::User);
        assert!(visit_as(&json!({"sub": "mia", "exp": now() + 9, "role": "root"})).is_err());
        assert!(visit_as(&json!({"sub": "mia", "exp": now() + 9, "role": "Admin"})).is_err());
    }

    #[test]
    fn expiry_is_required_and_clocks_may_be_a_minute_apart() {
        assert!(visit_as(&json!({"sub": "mia"})).is_err());
        assert!(visit_as(&json!({"sub": "mia", "exp": now() - 50})).is_ok());
        assert!(visit_as(&json!({"sub": "mia", "exp": now() - 70})).is_err());
        assert!(visit_as(&json!({"sub": "mia", "exp": now() + 90, "nbf": now() + 50})).is_ok());
        assert!(visit_as(&json!({"sub": "mia", "exp": now() + 90, "nbf": now() + 70})).is_err());
        assert!(visit_as(&json!({"sub": "mia", "exp": "tomorrow"})).is_err());
    }

    #[test]
    fn what_is_not_signed_by_us_with_hs256_is_refused() {
        let claims = json!({"sub": "mia", "exp": now() + 9});
        assert!(
            visit(&format!("Bearer {}", signed(Algorithm::HS256, b"another secret, as long as the first", &claims)))
                .is_err()
        );
        assert!(visit(&format!("Bearer {}", signed(Algorithm::HS512, SECRET, &claims))).is_err());
        // {"alg":"none"} and {"sub":"mia","exp":9999999999}
        assert!(visit("Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJtaWEiLCJleHAiOjk5OTk5OTk5OTl9.").is_err());
        for value in ["", "Bearer", "Bearer ", "Basic bWlhOm1pYQ==", "Bearer a.b.c", "token"] {
            assert!(visit(value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_token_that_is_remembered_still_expires_and_is_no_other() {
        let authority = authority();
        let visit = |token: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().expect("a header"));
            at_once(authority.visitor(&headers))
        };
        let token = signed(Algorithm::HS256, SECRET, &json!({"sub": "mia", "exp": now() + 9}));
        for _ in 0..2 {
            assert!(visit(&token).is_ok());
        }
        assert!(visit(&token[..token.len() - 1]).is_err());
        let mia = at_once(authority.identity(&token)).expect("accepted");
        let then = |identity, expires| Accepted { identity, expires, edition: 0 };
        authority.0.accepted.insert(token.clone(), then(mia, (now() - 70) as f64));
        let again = at_once(authority.identity(&token)).expect("verified again");
        authority.0.accepted.insert("long ago".into(), then(again, 0.0));
        assert!(visit("long ago").is_err());
    }

    #[test]
    fn tokens_that_are_made_name_what_is_expected_and_the_same_user() {
        let expected = Expected { issuer: Some("https://id.example".into()), audience: Some("comments".into()) };
        let strict = Authority::new(SECRET, "balcony", SUBJECTS, expected);
        let token = strict.issue("Mia", Role::User, 60).expect("a token");
        assert_eq!(at_once(strict.identity(&token)).expect("accepted").user, authority().user("Mia"));
        let loose = authority().issue("Mia", Role::User, 60).expect("a token");
        assert!(at_once(strict.identity(&loose)).is_err());
    }

    #[test]
    fn a_remembered_token_is_remembered_for_its_key_alone() {
        let (first, second) = (authority(), Authority::new(&[7; 32], "balcony", SUBJECTS, Expected::default()));
        let token = first.issue("Mia", Role::User, 60).expect("a token");
        for _ in 0..2 {
            assert!(at_once(first.identity(&token)).is_ok());
            assert!(at_once(second.identity(&token)).is_err());
        }
    }

    #[test]
    fn there_is_one_authorization() {
        let mut headers = HeaderMap::new();
        let token = authority().issue("Mia", Role::User, 60).expect("a token");
        for _ in 0..2 {
            headers.append(header::AUTHORIZATION, format!("Bearer {token}").parse().expect("a header"));
        }
        assert_eq!(at_once(authority().visitor(&headers)).expect_err("two").status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn nobody_is_a_visitor_too() {
        assert_eq!(at_once(authority().visitor(&HeaderMap::new())).expect("a visitor"), Visitor(None));
    }
}
