//! Every setting: a flag, and an environment variable of the same name.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::http::{HeaderValue, Uri};
use balcony_http::Expected;
use balcony_http::auth::SECRET_MIN;
use balcony_http::rate_limit::{RateLimit, TrustedProxies};
use balcony_projector::settings::{not_empty, secret};
use balcony_projector::{Application, Deployment};
use balcony_read_models::{Letterhead, PostOffice};
use tracing_subscriber::EnvFilter;

use crate::application::{NAME, balcony};

/// How much is logged.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace", "0", "1", "2", "3", "4", "5"];

/// The settings as they were given. Each is checked when it is asked for, so that the error names it.
#[derive(clap::Args)]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) installation: balcony_projector::Settings,

    /// What these are the settings of.
    #[arg(skip = balcony(None))]
    pub(crate) application: Application,

    /// Where mail to companies goes out.
    #[arg(skip)]
    pub(crate) office: Option<Arc<PostOffice>>,

    /// Where to listen: 127.0.0.1:8080, or port 8081, 8082, 8083 for command-api, query-api, projector.
    #[arg(long, env = "LISTEN", global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,

    /// The secret that tokens are signed with, 32 bytes or more. Embedded, one is made in the data folder.
    #[arg(long, env = "JWT_SECRET", global = true, hide_env_values = true, value_name = "SECRET")]
    jwt_secret: Option<String>,

    /// A file that has the secret.
    #[arg(long, env = "JWT_SECRET_FILE", global = true, value_name = "FILE")]
    jwt_secret_file: Option<String>,

    /// Who has to have issued tokens. By default anybody who has the secret.
    #[arg(long, env = "JWT_ISSUER", global = true, value_name = "ISSUER")]
    jwt_issuer: Option<String>,

    /// Whom tokens have to be for. By default anybody.
    #[arg(long, env = "JWT_AUDIENCE", global = true, value_name = "AUDIENCE")]
    jwt_audience: Option<String>,

    /// An identity provider's keys. Not supported yet.
    #[arg(long, env = "JWKS_URL", global = true, hide = true)]
    jwks_url: Option<String>,

    /// How often one user may ask: on (200 requests a second), off, or a number of requests a second.
    #[arg(long, env = "RATE_LIMIT", global = true, default_value = "on", value_name = "LIMIT")]
    rate_limit: String,

    /// Proxies whose `Forwarded` or `X-Forwarded-For` says where requests come from: addresses and networks such as
    /// 10.0.0.0/8, separated by commas.
    #[arg(long, env = "TRUSTED_PROXIES", global = true, value_name = "NETWORK,…")]
    trusted_proxies: Option<String>,

    /// The server that takes mail to companies: smtp://NAME:PASSWORD@HOST:PORT, with ?tls=required for STARTTLS, or
    /// smtps://. Without it no mail is sent.
    #[arg(long, env = "SMTP_URL", global = true, hide_env_values = true, value_name = "URL")]
    smtp_url: Option<String>,

    /// A file that has SMTP_URL.
    #[arg(long, env = "SMTP_URL_FILE", global = true, value_name = "FILE")]
    smtp_url_file: Option<String>,

    /// Where traces go. None are sent yet.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", global = true, hide = true, value_name = "URL")]
    otel_exporter_otlp_endpoint: Option<String>,

    /// The origins whose pages may call the API, separated by commas; * for all.
    #[arg(long, env = "CORS_ORIGINS", global = true, value_name = "ORIGIN,…")]
    cors_origins: Option<String>,

    /// What is logged: a level (error, warn, info, debug, trace, off), and levels of parts as NAME=LEVEL.
    #[arg(long, env = "RUST_LOG", global = true, value_name = "FILTER")]
    rust_log: Option<String>,

    /// Where clients find the command API, when that is not the query API's own origin.
    #[arg(long, env = "COMMAND_API_URL", global = true, value_name = "URL")]
    command_api_url: Option<String>,

    /// Where clients find the query API, when that is not the command API's own origin.
    #[arg(long, env = "QUERY_API_URL", global = true, value_name = "URL")]
    query_api_url: Option<String>,

    /// Where people find Balcony, for links that leave it.
    #[arg(long, env = "PUBLIC_URL", global = true, value_name = "URL")]
    public_url: Option<String>,

    /// Where operators find metrics, states and what is missing. Without it a service on loopback shows them where it
    /// listens, and another one nowhere.
    #[arg(long, env = "ADMIN_LISTEN", global = true, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,
}

impl Settings {
    /// Opens the post office, if there is a server to send through.
    pub(crate) fn open_post_office(&mut self) -> anyhow::Result<()> {
        let Some(url) = self.smtp_url()? else { return Ok(()) };
        let parsed: Option<Uri> = self.public_url()?.unwrap_or(&url).parse().ok();
        let host = parsed.as_ref().and_then(Uri::host).unwrap_or_default();
        let head = Letterhead::new(host, self.public_url()?.map(str::to_owned));
        let office = Arc::new(PostOffice::new(&url, head).context("SMTP_URL: is wrong")?);
        self.application = balcony(Some(office.clone()));
        self.office = Some(office);
        Ok(())
    }

    pub(crate) fn listen(&self, default: &str) -> anyhow::Result<SocketAddr> {
        let text = self.listen.as_deref().unwrap_or(default);
        text.parse().with_context(|| format!("LISTEN: {text:?} is not an address and port, such as 127.0.0.1:8080"))
    }

    /// Checks the form of every setting, whether it is used by this process or not.
    ///
    /// # Errors
    /// Names the first setting that is wrong.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.log_filter()?;
        self.installation.check(&self.application)?;
        self.listen("127.0.0.1:0")?;
        self.jwt_secret()?;
        self.expected_tokens()?;
        self.rate_limit()?;
        self.trusted_proxies()?;
        self.cors_origins()?;
        self.command_api_url()?;
        self.query_api_url()?;
        self.public_url()?;
        self.admin_listen()?;
        self.smtp_url()?;
        self.otlp_endpoint()?;
        Ok(())
    }

    /// What is logged.
    pub(crate) fn log_filter(&self) -> anyhow::Result<EnvFilter> {
        let text = not_empty("RUST_LOG", self.rust_log.as_deref())?.unwrap_or("info,sqlx=warn");
        let wrong = || format!("RUST_LOG: {text:?} is not what to log, such as debug or info,sqlx=warn");
        // A word that is no level would be taken for the name of a part, of which everything is logged, and nothing else.
        let is_known = |directive: &str| {
            let name = directive.split([':', '[', '=']).next().unwrap_or_default();
            directive.contains(['=', '[']) || LEVELS.contains(&name.to_lowercase().as_str()) || name.starts_with(NAME)
        };
        ensure!(text.split(',').map(str::trim).all(is_known), wrong());
        EnvFilter::try_new(text).with_context(wrong)
    }

    pub(crate) fn deployment(&self) -> anyhow::Result<Deployment> {
        self.installation.deployment(&self.application)
    }

    /// The secret, if one was given.
    pub(crate) fn jwt_secret(&self) -> anyhow::Result<Option<String>> {
        ensure!(self.jwks_url.is_none(), "JWKS_URL: identity providers are not supported yet; set JWT_SECRET instead");
        let secret = secret("JWT_SECRET", self.jwt_secret.as_deref(), self.jwt_secret_file.as_deref())?;
        if let Some(secret) = &secret {
            let length = secret.len();
            ensure!(length >= SECRET_MIN, "JWT_SECRET: has {length} bytes; {SECRET_MIN} are needed at the least");
        }
        Ok(secret)
    }

    /// What tokens have to name.
    pub(crate) fn expected_tokens(&self) -> anyhow::Result<Expected> {
        let issuer = not_empty("JWT_ISSUER", self.jwt_issuer.as_deref())?;
        let audience = not_empty("JWT_AUDIENCE", self.jwt_audience.as_deref())?;
        Ok(Expected { issuer: issuer.map(Into::into), audience: audience.map(Into::into) })
    }

    /// The proxies whose word on where requests come from is believed.
    pub(crate) fn trusted_proxies(&self) -> anyhow::Result<TrustedProxies> {
        let Some(proxies) = not_empty("TRUSTED_PROXIES", self.trusted_proxies.as_deref())? else {
            return Ok(TrustedProxies::default());
        };
        proxies.parse().context("TRUSTED_PROXIES")
    }

    /// The server that takes mail, if there is one.
    pub(crate) fn smtp_url(&self) -> anyhow::Result<Option<String>> {
        let url = secret("SMTP_URL", self.smtp_url.as_deref(), self.smtp_url_file.as_deref())?;
        // Its password is not to be seen, so neither is the rest of it.
        let legal = url.as_deref().is_none_or(|url| is_url(url, &["smtp", "smtps"]));
        ensure!(legal, "SMTP_URL: is not a URL, such as smtp://user:password@mail.example:587");
        Ok(url)
    }

    /// Where traces go, if anywhere.
    pub(crate) fn otlp_endpoint(&self) -> anyhow::Result<Option<&str>> {
        let url = not_empty("OTEL_EXPORTER_OTLP_ENDPOINT", self.otel_exporter_otlp_endpoint.as_deref())?;
        let legal = url.is_none_or(|url| is_url(url, &["http", "https"]));
        ensure!(
            legal,
            "OTEL_EXPORTER_OTLP_ENDPOINT: {} is not a URL, such as http://127.0.0.1:4317",
            url.unwrap_or_default()
        );
        Ok(url)
    }

    pub(crate) fn rate_limit(&self) -> anyhow::Result<RateLimit> {
        self.rate_limit.parse().with_context(|| format!("RATE_LIMIT: {:?}", self.rate_limit))
    }

    pub(crate) fn cors_origins(&self) -> anyhow::Result<Vec<HeaderValue>> {
        let Some(origins) = not_empty("CORS_ORIGINS", self.cors_origins.as_deref())? else { return Ok(Vec::new()) };
        origins.split(',').map(|origin| cors_origin(origin.trim())).collect()
    }

    pub(crate) fn command_api_url(&self) -> anyhow::Result<Option<&str>> {
        base_url("COMMAND_API_URL", self.command_api_url.as_deref())
    }

    pub(crate) fn query_api_url(&self) -> anyhow::Result<Option<&str>> {
        base_url("QUERY_API_URL", self.query_api_url.as_deref())
    }

    pub(crate) fn public_url(&self) -> anyhow::Result<Option<&str>> {
        base_url("PUBLIC_URL", self.public_url.as_deref())
    }

    pub(crate) fn admin_listen(&self) -> anyhow::Result<Option<SocketAddr>> {
        let Some(text) = not_empty("ADMIN_LISTEN", self.admin_listen.as_deref())? else { return Ok(None) };
        let address = text.parse();
        let address = address
            .with_context(|| format!("ADMIN_LISTEN: {text:?} is not an address and port, such as 127.0.0.1:9080"))?;
        Ok(Some(address))
    }
}

/// A URL that paths are put behind, without a slash at its end.
fn base_url<'a>(name: &'static str, given: Option<&'a str>) -> anyhow::Result<Option<&'a str>> {
    let Some(url) = not_empty(name, given)? else { return Ok(None) };
    let legal = is_url(url, &["http", "https"]) && !url.contains(['?', '#', '@']);
    ensure!(legal, "{name}: {url:?} is not a URL, such as https://balcony.example");
    Ok(Some(url.trim_end_matches('/')))
}

/// Whether `url` is one of these schemes with a host, and with nothing that a URL cannot have.
fn is_url(url: &str, schemes: &[&str]) -> bool {
    let parsed: Option<Uri> = url.parse().ok();
    parsed.is_some_and(|parsed| {
        parsed.scheme_str().is_some_and(|scheme| schemes.contains(&scheme))
            && parsed.host().is_some_and(|host| !host.is_empty())
    })
}

fn cors_origin(origin: &str) -> anyhow::Result<HeaderValue> {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let legal = origin == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ']));
    ensure!(legal, "CORS_ORIGINS: {origin:?} is not an origin, such as https://balcony.example");
    HeaderValue::from_str(origin).with_context(|| format!("CORS_ORIGINS: {origin:?} has characters no origin has"))
}
