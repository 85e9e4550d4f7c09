//! Tokens of an identity provider, whose keys are fetched from a server of the test's own.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use balcony_domain::CompanyId;
use balcony_event_log::TopicPartition;
use balcony_event_log::testing::eventually;
use balcony_http::auth::key_of;
use balcony_http::{Consistency, ConsistencyToken};
use balcony_read_models::Leaving;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::pkcs8::EncodePrivateKey as _;
use reqwest::{Method, StatusCode};
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::client::Client;
use crate::deployment::{Deployment, Kind, authority};
use balcony_test_support::Services;

const PATIENCE: Duration = Duration::from_secs(30);
const ISSUER: &str = "https://id.example";

/// A pair of keys, and what they are called.
struct Signer {
    id: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
    public: Value,
}

impl Signer {
    fn rsa(id: &'static str) -> Self {
        let key = rsa::RsaPrivateKey::new(&mut OsRng, 2_048).unwrap();
        let encoded = |number: &rsa::BigUint| BASE64_URL_SAFE_NO_PAD.encode(number.to_bytes_be());
        let public = json!({"kty": "RSA", "kid": id, "use": "sig", "n": encoded(key.n()), "e": encoded(key.e())});
        let private = EncodingKey::from_rsa_der(key.to_pkcs1_der().unwrap().as_bytes());
        Self { id, algorithm: Algorithm::RS256, private, public }
    }

    fn p256(id: &'static str) -> Self {
        let key = p256::SecretKey::random(&mut OsRng);
        let point = key.public_key().to_encoded_point(false);
        let (x, y) = (point.x().unwrap(), point.y().unwrap());
        let encoded = |number: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(number);
        let public = json!({"kty": "EC", "kid": id, "crv": "P-256", "x": encoded(x), "y": encoded(y)});
        let private = EncodingKey::from_ec_der(key.to_pkcs8_der().unwrap().as_bytes());
        Self { id, algorithm: Algorithm::ES256, private, public }
    }

    fn sign(&self, change: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, &claims(change), &self.private).unwrap()
    }
}

fn claims(change: &Value) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({"iss": ISSUER, "aud": "comments", "sub": "mia", "name": "Mia", "exp": now + 600});
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// Where the keys are.
struct Provider {
    url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    async fn start(keys: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let provider = Self { url, keys: Arc::default(), asked: Arc::default() };
        provider.has(keys);
        let (keys, asked) = (provider.keys.clone(), provider.asked.clone());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap() > 0 {}
                assert!(request.starts_with(b"GET /keys HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&request));
                asked.fetch_add(1, Ordering::SeqCst);
                let set = json!({"keys": *keys.lock().unwrap()}).to_string();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{set}", set.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        provider
    }

    fn has(&self, keys: &[&Signer]) {
        *self.keys.lock().unwrap() = keys.iter().map(|signer| signer.public.clone()).collect();
    }

    /// The settings of an installation that takes this provider's tokens and no others.
    fn settings_of(&self, deployment: &mut Deployment) {
        deployment.settings.retain(|(name, _)| *name != "JWT_SECRET");
        deployment.settings.push(("JWKS_URL", self.url.clone()));
        deployment.settings.push(("JWT_ISSUER", ISSUER.to_owned()));
        deployment.settings.push(("JWT_AUDIENCE", "comments".to_owned()));
    }
}

/// A client of the service that answers both, or of each its own.
fn client(deployment: &Deployment, token: &str) -> Client {
    let (commands, queries) = match deployment.kind {
        Kind::Embedded { .. } => ("balcony", "balcony"),
        Kind::Distributed { .. } => ("command-api", "query-api"),
    };
    Client::new(&deployment.process(commands).url, &deployment.process(queries).url, Some(token.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_an_identity_provider_are_taken_by_its_keys_alone() {
    let (rsa, p256, stranger) = (Signer::rsa("r"), Signer::p256("e"), Signer::p256("e"));
    let provider = Provider::start(&[&rsa, &p256]).await;
    let mut deployment = Deployment::embedded_idle();
    provider.settings_of(&mut deployment);
    deployment.start_all().await;
    let Kind::Embedded { data_dir } = &deployment.kind else { unreachable!("it is embedded") };
    assert!(!data_dir.join("jwt-secret").exists(), "no secret is made beside a provider");

    let me = async |token: &str| client(&deployment, token).get("/v1/me").await;
    let mut ids = Vec::new();
    for signer in [&rsa, &p256] {
        ids.push(me(&signer.sign(&json!({}))).await.expect(StatusCode::OK).json()["id"].clone());
    }
    assert_eq!(ids[0], ids[1], "the issuer and the subject are the user, whatever the key");
    let movie = json!({"title": "Ikiru"});
    client(&deployment, &rsa.sign(&json!({}))).post("/v1/movies", &movie).await.problem(403);
    let admin = client(&deployment, &p256.sign(&json!({"role": "admin"})));
    let made = admin.post("/v1/movies", &movie).await.expect(StatusCode::CREATED);
    admin.having_seen(&made).get(&made.header("location")).await.expect(StatusCode::OK);

    let refused = async |token: &str, part: &str| {
        let answer = me(token).await;
        answer.problem(401);
        assert!(answer.text.contains(part), "{part} in {}", answer.text);
    };
    refused(&stranger.sign(&json!({})), "signature is wrong").await;
    refused(&Signer { id: "x", ..stranger }.sign(&json!({})), "`kid` is none").await;
    refused(&rsa.sign(&json!({"iss": "https://other.example"})), "`iss`").await;
    refused(&rsa.sign(&json!({"aud": "shop"})), "`aud`").await;
    refused(&rsa.sign(&json!({"exp": 1_700_000_000})), "expired").await;
    refused(&rsa.sign(&json!({"role": "root"})), "`role`").await;
    // A public key is no secret, and no key is one for another algorithm.
    let hmac = |secret: &str, algorithm| {
        let header = Header { kid: Some("r".to_owned()), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, &claims(&json!({})), &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    refused(&hmac(&rsa.public.to_string(), Algorithm::HS256), "`alg` is not RS256 or ES256").await;
    refused(&hmac("", Algorithm::HS512), "`alg` is not RS256 or ES256").await;
    let swapped = Header { kid: Some("r".to_owned()), ..Header::new(Algorithm::ES256) };
    refused(&jsonwebtoken::encode(&swapped, &claims(&json!({})), &p256.private).unwrap(), "`kid` is none").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_without_a_restart_and_an_old_one_is_forgotten_with_its_tokens() {
    let (old, new) = (Signer::p256("old"), Signer::rsa("new"));
    let provider = Provider::start(&[&old]).await;
    let mut deployment = Deployment::embedded_idle();
    provider.settings_of(&mut deployment);
    deployment.start_all().await;
    let (of_old, of_new) = (old.sign(&json!({})), new.sign(&json!({})));
    let me = async |token: &str| client(&deployment, token).get("/v1/me").await;
    for _ in 0..2 {
        me(&of_old).await.expect(StatusCode::OK);
    }
    me(&of_new).await.problem(401);
    provider.has(&[&new]);
    // Keys are not asked for again within a second of the last time.
    eventually("the new key is known", PATIENCE, async || (me(&of_new).await.status == StatusCode::OK).then_some(()))
        .await;
    // It was remembered.
    me(&of_old).await.problem(401);

    // However many come with keys that nobody knows, the provider is hardly asked.
    let before = provider.asked.load(Ordering::SeqCst);
    let begun = std::time::Instant::now();
    for number in 0..200 {
        me(&old.sign(&json!({"jti": number}))).await.problem(401);
    }
    let most = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    let asked = provider.asked.load(Ordering::SeqCst) - before;
    assert!(asked <= most, "{asked} times in {most} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_waited_for_and_said_to_be_missing() {
    let signer = Signer::p256("e");
    let provider = Provider::start(&[&signer]).await;
    // In front of it, what hangs up until it is told otherwise.
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = front.local_addr().unwrap();
    let behind = provider.url.trim_start_matches("http://").trim_end_matches("/keys").to_owned();
    let is_there = Arc::new(AtomicBool::new(false));
    tokio::spawn({
        let is_there = is_there.clone();
        async move {
            loop {
                let (mut client, _) = front.accept().await.unwrap();
                if is_there.load(Ordering::SeqCst) {
                    let mut server = TcpStream::connect(&behind).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            }
        }
    });
    let mut deployment = Deployment::embedded_idle();
    provider.settings_of(&mut deployment);
    deployment.settings.push(("JWKS_URL", format!("http://{address}/keys")));
    let process = deployment.start_unready("balcony", &[]).await;
    let url = deployment.processes[process].url.clone();
    let client = Client::new(&url, &url, Some(signer.sign(&json!({}))));
    let refused = client.get("/v1/me").await;
    refused.problem(503);
    assert!(
        refused.text.contains("identity provider") && !refused.header("retry-after").is_empty(),
        "{}",
        refused.text
    );
    let nobody = client.clone().with_token(None);
    let ready = nobody.get("/readyz").await.expect(StatusCode::SERVICE_UNAVAILABLE).json();
    let parts = ready["parts"].as_array().unwrap();
    assert!(parts.iter().any(|part| part["name"] == "identity provider" && part["ready"] == false), "{ready}");
    // Whoever sends no token needs no keys.
    eventually("whoever sends none is answered", PATIENCE, async || {
        (nobody.get("/v1/movies").await.status == StatusCode::OK).then_some(())
    })
    .await;

    is_there.store(true, Ordering::SeqCst);
    eventually("the keys are there", PATIENCE, async || {
        (client.get("/v1/me").await.status == StatusCode::OK).then_some(())
    })
    .await;
    // Whether it is ready is looked at for all who ask, now and then.
    eventually("nothing is missing", PATIENCE, async || {
        (nobody.get("/readyz").await.status == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_apart_need_no_secret_beside_a_provider() {
    let Some(services) = Services::shared() else { return };
    let signer = Signer::rsa("r");
    let provider = Provider::start(&[&signer]).await;
    let mut deployment = Deployment::distributed_idle(&services).await;
    provider.settings_of(&mut deployment);
    deployment.start_all().await;
    let admin = client(&deployment, &signer.sign(&json!({"role": "admin"})));
    let movie = admin.register_movie("Ikiru").await;
    // The other service reads the token, which nobody made who had a secret of this installation.
    let seen = admin.clone().having_seen(&movie).get("/v1/movies").await.expect(StatusCode::OK);
    assert_eq!(seen.items("title"), ["Ikiru"]);
    let forged = admin.with_header("consistency-token", "AgAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(forged.get("/v1/movies").await.problem(422), ["Consistency-Token:"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_installation_without_a_secret_are_its_own() {
    let mut deployment = Deployment::embedded_idle();
    let Kind::Embedded { data_dir } = &deployment.kind else { unreachable!("it is embedded") };
    let key = data_dir.join("installation-key");
    has_keys_of_its_own(&mut deployment).await;
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    if let Some(services) = Services::shared() {
        has_keys_of_its_own(&mut Deployment::distributed_idle(&services).await).await;
    }
}

/// Nothing that can be seen of the installation makes what its processes honour, and they honour what each of them makes.
async fn has_keys_of_its_own(deployment: &mut Deployment) {
    let signer = Signer::p256("e");
    let provider = Provider::start(&[&signer]).await;
    provider.settings_of(deployment);
    deployment.start_all().await;
    let admin = signer.sign(&json!({"role": "admin"}));
    let made = client(deployment, &admin).register_movie("Ikiru").await;
    let reads = async |deployment: &Deployment, token: &str| {
        client(deployment, &admin).with_header("consistency-token", token).get("/v1/movies").await
    };
    let token = made.header("consistency-token");
    assert_eq!(reads(deployment, &token).await.expect(StatusCode::OK).items("title"), ["Ikiru"]);

    let log = deployment.log_beside().await.unwrap();
    let (identity, topics) = (log.identity().await.unwrap(), deployment.topics());
    let seen = |purpose| key_of(identity.as_bytes(), purpose);
    let names = vec![topics.facts.clone(), topics.views.clone()];
    let forger = Consistency::new(&identity, names, &seen("consistency token"));
    let at_the_start = [(TopicPartition::new(topics.facts, 0), 0)].into_iter().collect();
    let forged = forger.header(&ConsistencyToken(at_the_start)).1;
    assert_eq!(reads(deployment, forged.to_str().unwrap()).await.problem(422), ["Consistency-Token:"]);
    let forged = Leaving::new(&seen("leaving")).ticket(CompanyId(Uuid::from_u128(7)));
    let link = format!("/v1/mail/unsubscribe/{forged}");
    client(deployment, &admin).command(Method::GET, &link, None).await.problem(404);

    while let Some(process) = deployment.processes.first().map(|process| process.name.clone()) {
        deployment.kill(&process);
    }
    deployment.start_all().await;
    reads(deployment, &token).await.expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_provider_a_secret_signs_what_the_command_line_makes() {
    let signer = Signer::p256("e");
    let provider = Provider::start(&[&signer]).await;
    let mut deployment = Deployment::embedded_idle();
    deployment.settings.push(("JWKS_URL", provider.url.clone()));
    deployment.start_all().await;
    client(&deployment, &signer.sign(&json!({}))).get("/v1/me").await.expect(StatusCode::OK);
    let mia = deployment.user("Mia").get("/v1/me").await.expect(StatusCode::OK).json();
    assert_eq!(mia["id"], authority().user("Mia").to_string());
}
