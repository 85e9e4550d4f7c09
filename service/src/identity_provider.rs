//! How the keys of an identity provider are fetched, where `JWKS_URL` says.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::body::Bytes;
use axum::http::{Request, StatusCode, Uri, header};
use balcony_http::IdentityProvider;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long the provider may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest key set that is read, in bytes.
const SET_MAX: usize = 256 << 10;

/// Where a key set is.
struct Address {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
}

/// The provider whose keys are at `url`, which is an `http` or `https` URL with a host.
///
/// # Errors
/// When keys cannot be fetched from such a URL.
pub(crate) fn provider(url: &str) -> anyhow::Result<IdentityProvider> {
    let place = Arc::new(Address::read(url)?);
    Ok(IdentityProvider::new(move || {
        let place = place.clone();
        async move {
            let fetched = timeout(PATIENCE, place.fetch()).await;
            fetched.map_err(|_| "no answer in time".to_owned())?.map_err(|error| format!("{error:#}"))
        }
    }))
}

impl Address {
    fn read(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse()?;
        let authority = uri.authority().context("it has no host")?;
        ensure!(!authority.as_str().contains('@'), "it has a name or a password in it");
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_encrypted = uri.scheme_str() == Some("https");
        let port = authority.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        let tls = if is_encrypted { Some(tls()?) } else { None };
        Ok(Self { uri, host, port, tls })
    }

    async fn fetch(&self) -> anyhow::Result<Vec<u8>> {
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        match &self.tls {
            None => self.ask(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone())?;
                self.ask(tls.connect(name, stream).await?).await
            }
        }
    }

    /// Asks once on `stream`. A redirection is not followed: the keys are where the setting says.
    async fn ask(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send) -> anyhow::Result<Vec<u8>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(path)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Empty::<Bytes>::new())?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            ensure!(status == StatusCode::OK, "the answer is {status}");
            let body = Limited::new(response.into_body(), SET_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("the key set cannot be read: {error}"))?;
            Ok(body.to_bytes().to_vec())
        };
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answered = &mut answer => answered,
            // It may end when the whole answer has come.
            ended = &mut connection => {
                ended?;
                answer.await
            }
        }
    }
}

/// TLS that believes whom the machine believes.
fn tls() -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    ensure!(added > 0, "this machine has no certificates to check the provider by");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
