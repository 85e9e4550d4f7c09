//! Every setting: a flag, and an environment variable of the same name.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use axum::http::{HeaderValue, Uri};
use balcony_http::auth::SECRET_MIN;
use balcony_http::rate_limit::RateLimit;
use balcony_projector::settings::not_empty;
use balcony_projector::{Application, Deployment};

use crate::application::balcony;

/// The settings as they were given. Each is checked when it is asked for, so that the error names it.
#[derive(clap::Args)]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) installation: balcony_projector::Settings,

    /// What these are the settings of.
    #[arg(skip = balcony())]
    pub(crate) application: Application,

    /// Where to listen: 127.0.0.1:8080, or port 8081, 8082, 8083 for command-api, query-api, projector.
    #[arg(long, env = "LISTEN", global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,

    /// The secret that tokens are signed with, 32 bytes or more. Embedded, one is made in the data folder.
    #[arg(long, env = "JWT_SECRET", global = true, hide_env_values = true, value_name = "SECRET")]
    jwt_secret: Option<String>,

    /// An identity provider's keys. Not supported yet.
    #[arg(long, env = "JWKS_URL", global = true, hide = true)]
    jwks_url: Option<String>,

    /// How often one user may ask: on (200 requests a second), off, or a number of requests a second.
    #[arg(long, env = "RATE_LIMIT", global = true, default_value = "on", value_name = "LIMIT")]
    rate_limit: String,

    /// The origins whose pages may call the API, separated by commas; * for all.
    #[arg(long, env = "CORS_ORIGINS", global = true, value_name = "ORIGIN,…")]
    cors_origins: Option<String>,

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
    pub(crate) fn listen(&self, default: &str) -> anyhow::Result<SocketAddr> {
        let text = self.listen.as_deref().unwrap_or(default);
        text.parse().with_context(|| format!("LISTEN: {text:?} is not an address and port, such as 127.0.0.1:8080"))
    }

    pub(crate) fn deployment(&self) -> anyhow::Result<Deployment> {
        self.installation.deployment(&self.application)
    }

    /// The secret, if one was given.
    pub(crate) fn jwt_secret(&self) -> anyhow::Result<Option<&str>> {
        ensure!(self.jwks_url.is_none(), "JWKS_URL: identity providers are not supported yet; set JWT_SECRET instead");
        if let Some(secret) = &self.jwt_secret {
            let length = secret.len();
            ensure!(length >= SECRET_MIN, "JWT_SECRET: has {length} bytes; {SECRET_MIN} are needed at the least");
        }
        Ok(self.jwt_secret.as_deref())
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
    let parsed: Option<Uri> = url.parse().ok();
    let legal = parsed.is_some_and(|parsed| {
        matches!(parsed.scheme_str(), Some("http" | "https"))
            && parsed.authority().is_some_and(|authority| !authority.host().is_empty())
            && !url.contains(['?', '#', '@'])
    });
    ensure!(legal, "{name}: {url:?} is not a URL, such as https://balcony.example");
    Ok(Some(url.trim_end_matches('/')))
}

fn cors_origin(origin: &str) -> anyhow::Result<HeaderValue> {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let legal = origin == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ']));
    ensure!(legal, "CORS_ORIGINS: {origin:?} is not an origin, such as https://balcony.example");
    HeaderValue::from_str(origin).with_context(|| format!("CORS_ORIGINS: {origin:?} has characters no origin has"))
}
