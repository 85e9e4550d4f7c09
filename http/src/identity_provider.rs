//! An identity provider: the keys that its tokens are signed with, as a JSON Web Key Set (RFC 7517) that is fetched, kept,
//! and fetched again.

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::json;

/// The public keys of an identity provider. Cheap to clone.
///
/// RS256 and ES256 are understood; other keys are passed over. The keys are fetched every five minutes, and at once when a
/// token names one that is not known, once a second at the most. What is no key set changes nothing; while the provider is
/// away its last keys count for a day.
#[derive(Clone)]
pub struct IdentityProvider(Arc<Shared>);

struct Shared {
    fetch: Box<dyn Fn() -> Fetching + Send + Sync>,
    keys: RwLock<Arc<KeySet>>,
    /// How long after they were asked for they are not asked for again because of a token.
    pause: Duration,
    /// When the keys were asked for last: while that goes on when it began, and then when it ended.
    asked: Mutex<Option<Instant>>,
}

type Fetching = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// The keys as they were at one time.
#[derive(Default)]
pub(crate) struct KeySet {
    /// Grows whenever the keys are others than before; 0 before there were any.
    pub(crate) edition: u64,
    keys: Vec<Key>,
    fetched: Option<Instant>,
}

struct Key {
    described: Jwk,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

/// What is read of a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// How often the keys are fetched, and how often while that fails.
const EVERY: Duration = Duration::from_mins(5);
const EVERY_IN_TROUBLE: Duration = Duration::from_secs(5);
/// How long keys are not asked for again because of a token.
const PAUSE: Duration = Duration::from_secs(1);
/// How long keys count that could not be fetched again.
const COUNT_FOR: Duration = Duration::from_hours(24);
/// How many keys are kept.
const KEYS_MAX: usize = 100;
/// Bytes of an RSA modulus: 2048 bits at the least (RFC 7518, section 3.3), and no more than take a reasonable time.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=512;
/// Bytes of an RSA exponent at the most.
const EXPONENT_MAX: usize = 8;
/// Bytes of a coordinate on P-256.
const COORDINATE: usize = 32;

impl IdentityProvider {
    /// The provider whose key set `fetch` fetches, within limits of its own.
    pub fn new<F>(fetch: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<u8>, String>> + Send + 'static,
    {
        Self::pausing(fetch, PAUSE)
    }

    fn pausing<F>(fetch: impl Fn() -> F + Send + Sync + 'static, pause: Duration) -> Self
    where
        F: Future<Output = Result<Vec<u8>, String>> + Send + 'static,
    {
        let fetch = move || -> Fetching { Box::pin(fetch()) };
        Self(Arc::new(Shared { fetch: Box::new(fetch), keys: RwLock::default(), pause, asked: Mutex::default() }))
    }

    /// Begins to fetch the keys now and then, until nobody has this provider any more.
    pub fn follow(&self) {
        let shared = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut is_known_trouble = false;
            while let Some(provider) = shared.upgrade().map(Self) {
                let fetched = provider.fetch(&mut *provider.0.asked.lock().await).await;
                drop(provider);
                match &fetched {
                    Ok(()) => is_known_trouble = false,
                    Err(error) if std::mem::replace(&mut is_known_trouble, true) => {
                        tracing::debug!(error, "the identity provider's keys could not be fetched");
                    }
                    Err(error) => tracing::warn!(error, "the identity provider's keys could not be fetched"),
                }
                sleep(if fetched.is_ok() { EVERY } else { EVERY_IN_TROUBLE }).await;
            }
        });
    }

    /// Whether there are keys that count.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn check(&self) -> Result<(), String> {
        if self.keys().count() { Ok(()) } else { Err("its keys could not be fetched".to_owned()) }
    }

    /// The keys as they are now.
    pub(crate) fn keys(&self) -> Arc<KeySet> {
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the keys are others than in `edition`, which they may be because they are fetched now. However many ask, one
    /// fetches for all of them.
    pub(crate) async fn has_others_than(&self, edition: u64) -> bool {
        let began = Instant::now();
        let mut asked = self.0.asked.lock().await;
        if self.keys().edition != edition {
            return true;
        }
        // Whoever has waited meanwhile has asked for no more than what has ended, however long that took.
        if asked.is_some_and(|asked| asked >= began || asked.elapsed() < self.0.pause) {
            return false;
        }
        if let Err(error) = self.fetch(&mut asked).await {
            tracing::warn!(error, "the identity provider's keys could not be fetched");
        }
        self.keys().edition != edition
    }

    /// Fetches the keys, and notes when: before, too, since whoever fetches may leave.
    async fn fetch(&self, asked: &mut Option<Instant>) -> Result<(), String> {
        *asked = Some(Instant::now());
        let fetched = (self.0.fetch)().await;
        *asked = Some(Instant::now());
        let keys = read(&fetched?)?;
        let mut known = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        let is_same =
            known.edition > 0 && keys.iter().map(|key| &key.described).eq(known.keys.iter().map(|key| &key.described));
        let edition = known.edition + u64::from(!is_same);
        *known = Arc::new(KeySet { edition, keys, fetched: Some(Instant::now()) });
        Ok(())
    }
}

impl KeySet {
    /// Whether they were fetched, and not too long ago.
    pub(crate) fn count(&self) -> bool {
        self.fetched.is_some_and(|fetched| fetched.elapsed() < COUNT_FOR)
    }

    /// The key for `algorithm` that is called `id`; the only one for it, when a token does not say which.
    pub(crate) fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Option<&DecodingKey> {
        let is_meant = |key: &&Key| key.algorithm == algorithm && (id.is_none() || key.described.kid.as_deref() == id);
        let mut meant = self.keys.iter().filter(is_meant);
        let found = meant.next()?;
        // Of several nobody guesses.
        meant.next().is_none().then_some(&found.decoding)
    }
}

/// The keys of a set that are understood here.
fn read(document: &[u8]) -> Result<Vec<Key>, String> {
    let no_set = || "what came is no JSON Web Key Set".to_owned();
    let set = json::object(document).map_err(|_| no_set())?;
    let Some(Value::Array(keys)) = set.get("keys") else { return Err(no_set()) };
    let keys = keys.iter().take(KEYS_MAX);
    Ok(keys.filter_map(|key| Key::read(serde_json::from_value(key.clone()).ok()?)).collect())
}

impl Key {
    /// The key, if signatures are checked with it by an algorithm that is understood here.
    fn read(described: Jwk) -> Option<Self> {
        let is_for_signatures = described.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && described.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|one| one == "verify"));
        if !is_for_signatures {
            return None;
        }
        let (algorithm, name, decoding) = match &*described.kty {
            "RSA" => (Algorithm::RS256, "RS256", rsa(&described)?),
            "EC" if described.crv.as_deref() == Some("P-256") => (Algorithm::ES256, "ES256", p256(&described)?),
            _ => return None,
        };
        let is_for_it = described.alg.as_deref().is_none_or(|alg| alg == name);
        is_for_it.then_some(Self { described, algorithm, decoding })
    }
}

fn rsa(jwk: &Jwk) -> Option<DecodingKey> {
    let (modulus, exponent) = (number(jwk.n.as_deref()?)?, number(jwk.e.as_deref()?)?);
    let is_sound = MODULUS.contains(&modulus.len()) && (1..=EXPONENT_MAX).contains(&exponent.len());
    is_sound.then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

fn p256(jwk: &Jwk) -> Option<DecodingKey> {
    let (x, y) = (jwk.x.as_deref()?, jwk.y.as_deref()?);
    let is_coordinate =
        |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).is_ok_and(|coordinate| coordinate.len() == COORDINATE);
    if is_coordinate(x) && is_coordinate(y) { DecodingKey::from_ec_components(x, y).ok() } else { None }
}

/// A number in base64url, without zeros before it.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Some(bytes[zeros..].to_vec())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use jsonwebtoken::crypto;
    use serde_json::json;

    use super::*;

    /// RFC 7515, appendices A.2 and A.3: what was signed, the keys, and the signatures.
    const PAYLOAD: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d\
        4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo\
        7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAc\
        DTW9gb54h4FRWyuXpoQ";
    const RSA_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5j\
        ujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383\
        LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0i\
        gcN_IoypGlUPQGe77Rw";
    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    const EC_SIGNATURE: &str = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    fn rsa_key(change: &Value) -> Value {
        changed(json!({"kty": "RSA", "kid": "r", "n": MODULUS, "e": "AQAB"}), change)
    }

    fn ec_key(change: &Value) -> Value {
        changed(json!({"kty": "EC", "kid": "e", "crv": "P-256", "x": X, "y": Y}), change)
    }

    fn changed(mut key: Value, change: &Value) -> Value {
        for (name, value) in change.as_object().expect("an object") {
            key[name] = value.clone();
        }
        key
    }

    fn set(keys: &[Value]) -> Vec<u8> {
        json!({"keys": keys}).to_string().into_bytes()
    }

    fn understood(keys: &[Value]) -> Vec<Algorithm> {
        read(&set(keys)).expect("a key set").iter().map(|key| key.algorithm).collect()
    }

    /// A provider that gives what `documents` has at the place of each time it is asked, and then the last.
    fn provider(documents: Vec<Result<Vec<u8>, String>>) -> (IdentityProvider, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let fetch = move || {
            let number = counted.fetch_add(1, Ordering::SeqCst).min(documents.len() - 1);
            let document = documents[number].clone();
            async move {
                tokio::task::yield_now().await;
                document
            }
        };
        (IdentityProvider::new(fetch), asked)
    }

    #[tokio::test]
    async fn a_provider_that_takes_long_is_asked_once_for_all_who_wait() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let fetch = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::task::yield_now().await;
                Err("no answer in time".to_owned())
            }
        };
        // However long it takes, the pause is over when it ends.
        let provider = IdentityProvider::pausing(fetch, Duration::ZERO);
        let found = join_all((0..10).map(|_| provider.has_others_than(0))).await;
        assert!(!found.contains(&true) && asked.load(Ordering::SeqCst) == 1);
    }

    #[test]
    fn signatures_of_the_standard_are_right_by_its_keys_and_by_no_others() {
        let keys = KeySet {
            edition: 1,
            keys: read(&set(&[rsa_key(&json!({})), ec_key(&json!({}))])).expect("a key set"),
            fetched: Some(Instant::now()),
        };
        for (algorithm, id, header, signature, other) in [
            (Algorithm::RS256, "r", "eyJhbGciOiJSUzI1NiJ9", RSA_SIGNATURE, EC_SIGNATURE),
            (Algorithm::ES256, "e", "eyJhbGciOiJFUzI1NiJ9", EC_SIGNATURE, RSA_SIGNATURE),
        ] {
            let key = keys.find(algorithm, Some(id)).expect("it is there");
            let is_right = |signature: &str, payload: &str| {
                let signed = format!("{header}.{payload}");
                crypto::verify(signature, signed.as_bytes(), key, algorithm).is_ok_and(|right| right)
            };
            assert!(is_right(signature, PAYLOAD), "{algorithm:?}");
            assert!(!is_right(other, PAYLOAD) && !is_right(signature, &PAYLOAD.to_lowercase()), "{algorithm:?}");
        }
        assert!(keys.find(Algorithm::RS256, Some("e")).is_none() && keys.find(Algorithm::ES256, Some("r")).is_none());
        assert!(keys.find(Algorithm::RS256, Some("x")).is_none());
        assert!(keys.find(Algorithm::HS256, Some("r")).is_none());
        assert!(keys.find(Algorithm::RS256, None).is_some(), "there is one key for it");
    }

    #[test]
    fn a_key_that_is_not_said_is_not_guessed() {
        let keys = read(&set(&[rsa_key(&json!({})), rsa_key(&json!({"kid": "second"}))])).expect("a key set");
        let keys = KeySet { edition: 1, keys, fetched: Some(Instant::now()) };
        assert!(keys.find(Algorithm::RS256, None).is_none());
        assert!(keys.find(Algorithm::RS256, Some("second")).is_some());
    }

    #[test]
    fn keys_for_anything_else_are_passed_over() {
        for alike in [
            json!({}),
            json!({"alg": "RS256"}),
            json!({"use": "sig"}),
            json!({"key_ops": ["verify"]}),
            json!({"x5t": "x"}),
        ] {
            assert_eq!(understood(&[rsa_key(&alike)]), [Algorithm::RS256], "{alike}");
        }
        for other in [
            json!({"use": "enc"}),
            json!({"key_ops": ["encrypt"]}),
            json!({"alg": "RS512"}),
            json!({"alg": "PS256"}),
            json!({"alg": "HS256"}),
            json!({"n": "AQAB"}),
            json!({"n": "A".repeat(2_000)}),
            json!({"n": null}),
            json!({"n": "%"}),
            json!({"e": ""}),
            json!({"kid": 1}),
            json!({"kty": "oct"}),
        ] {
            assert_eq!(understood(&[rsa_key(&other), ec_key(&json!({}))]), [Algorithm::ES256], "{other}");
        }
        for other in [json!({"crv": "P-384"}), json!({"x": "AQAB"}), json!({"y": null}), json!({"alg": "ES384"})] {
            assert_eq!(understood(&[ec_key(&other)]), [], "{other}");
        }
        // A secret that is shown to everybody is none.
        assert_eq!(understood(&[json!({"kty": "oct", "alg": "HS256", "k": "AAAA"})]), []);
        for no_set in [&b"{}"[..], b"[]", b"keys", br#"{"keys": {}}"#, br#"{"keys": [], "keys": []}"#] {
            assert!(read(no_set).is_err(), "{}", String::from_utf8_lossy(no_set));
        }
    }

    #[tokio::test]
    async fn however_many_tokens_name_an_unknown_key_the_provider_is_asked_once() {
        let (provider, asked) = provider(vec![Ok(set(&[ec_key(&json!({}))]))]);
        assert!(provider.check().is_err() && !provider.keys().count());
        let others = join_all((0..1_000).map(|_| provider.has_others_than(0))).await;
        assert!(others.into_iter().all(|others| others));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        provider.check().expect("they were fetched");
    }

    #[tokio::test]
    async fn keys_that_changed_are_another_edition_and_trouble_changes_nothing() {
        let (first, second) = (set(&[ec_key(&json!({}))]), set(&[ec_key(&json!({"kid": "new"}))]));
        let documents =
            [Ok(first.clone()), Err("away".to_owned()), Ok(b"<html>".to_vec()), Ok(first), Ok(second), Ok(set(&[]))];
        let (provider, _) = provider(documents.to_vec());
        let mut editions = Vec::new();
        for _ in 0..documents.len() {
            let _ = provider.fetch(&mut None).await;
            editions.push((provider.keys().edition, provider.keys().keys.len()));
        }
        assert_eq!(editions, [(1, 1), (1, 1), (1, 1), (1, 1), (2, 1), (3, 0)]);
        assert!(provider.keys().find(Algorithm::ES256, Some("e")).is_none());
    }
}
