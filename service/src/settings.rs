//! The settings of every service: a flag, and an environment variable of the same name.

use std::net::SocketAddr;

use anyhow::{Context as _, anyhow, ensure};
use axum::http::{HeaderValue, Uri};
use balcony_http::Expected;
use balcony_http::auth::SECRET_MIN;
use balcony_http::rate_limit::{RateLimit, TrustedProxies};
use balcony_projector::Application;
use balcony_projector::settings::{not_empty, secret};
use tracing_subscriber::EnvFilter;

/// How much is logged.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace", "0", "1", "2", "3", "4", "5"];

/// What the library's own parts are called in logs begins with this.
const LIBRARY: &str = "balcony_";

/// The settings as they were given. Each is checked when it is asked for, so that the error names it.
#[derive(Debug, Clone, clap::Args)]
// A group would be called as the type is, and a program may call its own so.
#[group(skip)]
pub struct Settings {
    /// Where the log and the read models are.
    #[command(flatten)]
    pub installation: balcony_projector::Settings,

    /// Where to listen, such as 127.0.0.1:8080. By default on loopback.
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

    /// Where an identity provider has the keys that its tokens are signed with (a JSON Web Key Set). They are taken beside
    /// those that are signed with the secret, if one is set.
    #[arg(long, env = "JWKS_URL", global = true, value_name = "URL")]
    jwks_url: Option<String>,

    /// How often one user may ask: on (200 requests a second), off, or a number of requests a second.
    #[arg(long, env = "RATE_LIMIT", global = true, default_value = "on", value_name = "LIMIT")]
    rate_limit: String,

    /// Proxies whose `Forwarded` or `X-Forwarded-For` says where requests come from: addresses and networks such as
    /// 10.0.0.0/8, separated by commas.
    #[arg(long, env = "TRUSTED_PROXIES", global = true, value_name = "NETWORK,…")]
    trusted_proxies: Option<String>,

    /// The origins whose pages may call the API, separated by commas; * for all.
    #[arg(long, env = "CORS_ORIGINS", global = true, value_name = "ORIGIN,…")]
    cors_origins: Option<String>,

    /// What is logged: a level (error, warn, info, debug, trace, off), and levels of parts as NAME=LEVEL.
    #[arg(long, env = "RUST_LOG", global = true, value_name = "FILTER")]
    rust_log: Option<String>,

    /// Where traces go. None are sent yet.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", global = true, hide = true, value_name = "URL")]
    otel_exporter_otlp_endpoint: Option<String>,

    /// Where operators find metrics, states and what is missing. Without it a service on loopback shows them where it
    /// listens, and another one nowhere.
    #[arg(long, env = "ADMIN_LISTEN", global = true, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,
}

impl Settings {
    /// Where to listen: `default` where nothing was said.
    ///
    /// # Errors
    /// When it is no address and port.
    pub fn listen(&self, default: &str) -> anyhow::Result<SocketAddr> {
        let text = self.listen.as_deref().unwrap_or(default);
        text.parse().with_context(|| format!("LISTEN: {text:?} is not an address and port, such as 127.0.0.1:8080"))
    }

    /// Checks the form of every setting, whether it is used by this process or not.
    ///
    /// # Errors
    /// Names the first setting that is wrong.
    pub(crate) fn check(&self, application: &Application) -> anyhow::Result<()> {
        self.log_filter(application)?;
        self.installation.check(application)?;
        self.listen("127.0.0.1:0")?;
        self.jwt_secret()?;
        self.jwks_url()?;
        self.expected_tokens()?;
        self.rate_limit()?;
        self.trusted_proxies()?;
        self.cors_origins(application)?;
        self.admin_listen()?;
        self.otlp_endpoint()?;
        Ok(())
    }

    /// What is logged.
    pub(crate) fn log_filter(&self, application: &Application) -> anyhow::Result<EnvFilter> {
        let text = not_empty("RUST_LOG", self.rust_log.as_deref())?.unwrap_or("info,sqlx=warn");
        let wrong = || format!("RUST_LOG: {text:?} is not what to log, such as debug or info,sqlx=warn");
        // A word that is no level would be taken for the name of a part, of which everything is logged, and nothing else.
        // A crate's name has no hyphens.
        let own = application.name().replace('-', "_");
        let is_part = |name: &str| name.starts_with(&own) || name.starts_with(LIBRARY);
        let is_known = |directive: &str| {
            let name = directive.split([':', '[', '=']).next().unwrap_or_default();
            directive.contains(['=', '[']) || LEVELS.contains(&name.to_lowercase().as_str()) || is_part(name)
        };
        ensure!(text.split(',').map(str::trim).all(is_known), wrong());
        // What the library says would be said twice.
        EnvFilter::try_new(text).map_err(|_| anyhow!(wrong()))
    }

    /// The secret, if one was given.
    pub(crate) fn jwt_secret(&self) -> anyhow::Result<Option<String>> {
        let secret = secret("JWT_SECRET", self.jwt_secret.as_deref(), self.jwt_secret_file.as_deref())?;
        if let Some(secret) = &secret {
            let length = secret.len();
            ensure!(length >= SECRET_MIN, "JWT_SECRET: has {length} bytes; {SECRET_MIN} are needed at the least");
        }
        Ok(secret)
    }

    /// Where the keys of an identity provider are, if there is one.
    pub(crate) fn jwks_url(&self) -> anyhow::Result<Option<&str>> {
        let url = not_empty("JWKS_URL", self.jwks_url.as_deref())?;
        // One that is wrong may have a secret in it.
        let legal = url.is_none_or(|url| is_url(url, &["http", "https"]) && !url.contains('@'));
        ensure!(legal, "JWKS_URL: is not a URL without a name in it, such as https://id.example/keys");
        Ok(url)
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

    /// How often one user may ask.
    pub(crate) fn rate_limit(&self) -> anyhow::Result<RateLimit> {
        self.rate_limit.parse().with_context(|| format!("RATE_LIMIT: {:?}", self.rate_limit))
    }

    /// The origins whose pages may call the API.
    pub(crate) fn cors_origins(&self, application: &Application) -> anyhow::Result<Vec<HeaderValue>> {
        let Some(origins) = not_empty("CORS_ORIGINS", self.cors_origins.as_deref())? else { return Ok(Vec::new()) };
        origins.split(',').map(|origin| cors_origin(application, origin.trim())).collect()
    }

    /// Where to listen for operators, if apart.
    pub(crate) fn admin_listen(&self) -> anyhow::Result<Option<SocketAddr>> {
        let Some(text) = not_empty("ADMIN_LISTEN", self.admin_listen.as_deref())? else { return Ok(None) };
        let address = text.parse();
        let address = address
            .with_context(|| format!("ADMIN_LISTEN: {text:?} is not an address and port, such as 127.0.0.1:9080"))?;
        Ok(Some(address))
    }
}

/// Whether `url` is one of these schemes with a host, and with nothing that a URL cannot have.
pub fn is_url(url: &str, schemes: &[&str]) -> bool {
    let parsed: Option<Uri> = url.parse().ok();
    parsed.is_some_and(|parsed| {
        parsed.scheme_str().is_some_and(|scheme| schemes.contains(&scheme))
            && parsed.host().is_some_and(|host| !host.is_empty())
    })
}

fn cors_origin(application: &Application, origin: &str) -> anyhow::Result<HeaderValue> {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let legal = origin == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ']));
    let name = application.name();
    ensure!(legal, "CORS_ORIGINS: {origin:?} is not an origin, such as https://{name}.example");
    HeaderValue::from_str(origin).with_context(|| format!("CORS_ORIGINS: {origin:?} has characters no origin has"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use balcony_projector::{Catalogue, TopicSpec};
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    /// The settings that these arguments give, whatever the environment says.
    pub(crate) fn settings(arguments: &[&str]) -> Settings {
        let command = Cli::command().mut_args(|argument| argument.env(None));
        let matches = command.get_matches_from([&["orders"], arguments].concat());
        Cli::from_arg_matches(&matches).unwrap().settings
    }

    /// A program of one topic and no steps.
    pub(crate) fn program(name: &str) -> Application {
        Application::new(name, [TopicSpec::forever("orders")], |_| Catalogue::new())
    }

    #[test]
    fn a_part_that_is_logged_is_the_programs_or_the_librarys_or_has_a_level() {
        let filter = |text| settings(&["--rust-log", text]).log_filter(&program("orders"));
        for good in ["debug", "info,sqlx=warn", "orders", "orders::kitchen", "balcony_projector", "hyper=OFF"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["", "verbose", "balcony", "info,loud", "orders=loud"] {
            let error = format!("{:#}", filter(bad).unwrap_err());
            assert!(error.starts_with("RUST_LOG: "), "{bad}: {error}");
        }
    }

    #[test]
    fn a_program_may_call_its_own_settings_as_it_likes() {
        let command = Cli::command();
        // Groups of one name are a fault that only a debug build tells.
        assert_eq!(command.get_groups().filter(|group| group.get_id() == "Settings").count(), 0);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_programs_own_name() {
        let error = settings(&["--cors-origins", "orders"]).check(&program("orders")).unwrap_err();
        assert_eq!(error.to_string(), "CORS_ORIGINS: \"orders\" is not an origin, such as https://orders.example");
    }
}
