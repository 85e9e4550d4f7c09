//! Every setting: a flag, and an environment variable of the same name.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use axum::http::HeaderValue;
use balcony_domain::Topics;
use balcony_http::auth::SECRET_MIN;
use balcony_http::rate_limit::RateLimit;

/// The settings as they were given. Each is checked when it is asked for, so that the error names it.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// Where to listen: 127.0.0.1:8080, or port 8081, 8082, 8083 for command-api, query-api, projector.
    #[arg(long, env = "LISTEN", global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,

    /// The folder of the embedded installation: its log, its read models, its secret.
    #[arg(long, env = "DATA_DIR", global = true, default_value = "./balcony-data", value_name = "FOLDER")]
    data_dir: String,

    /// Kafka's brokers. With DATABASE_URL the installation is distributed; without both it is embedded.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", global = true, value_name = "HOST:PORT,…")]
    kafka_bootstrap_servers: Option<String>,

    /// The PostgreSQL database of the read models.
    #[arg(long, env = "DATABASE_URL", global = true, hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,

    /// Partitions of topics that have to be created.
    #[arg(long, env = "KAFKA_PARTITIONS", global = true, default_value = "6", value_name = "NUMBER")]
    kafka_partitions: String,

    /// Replicas of topics that have to be created; fewer when the cluster has fewer brokers.
    #[arg(long, env = "KAFKA_REPLICATION", global = true, default_value = "3", value_name = "NUMBER")]
    kafka_replication: String,

    /// What the names of the topics begin with.
    #[arg(long, env = "KAFKA_TOPIC_PREFIX", global = true, default_value = "balcony.", value_name = "PREFIX")]
    kafka_topic_prefix: String,

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
}

/// Where the log and the read models are.
pub(crate) enum Deployment {
    /// In a folder, in this process.
    Embedded { data_dir: PathBuf },
    /// In Kafka and PostgreSQL.
    Distributed { brokers: String, database_url: String },
}

impl Settings {
    pub(crate) fn listen(&self, default: &str) -> anyhow::Result<SocketAddr> {
        let text = self.listen.as_deref().unwrap_or(default);
        text.parse().with_context(|| format!("LISTEN: {text:?} is not an address and port, such as 127.0.0.1:8080"))
    }

    pub(crate) fn deployment(&self) -> anyhow::Result<Deployment> {
        let brokers = not_empty("KAFKA_BOOTSTRAP_SERVERS", self.kafka_bootstrap_servers.as_deref())?;
        let database_url = not_empty("DATABASE_URL", self.database_url.as_deref())?;
        match (brokers, database_url) {
            (None, None) => Ok(Deployment::Embedded { data_dir: self.data_dir()? }),
            (Some(brokers), Some(database_url)) => {
                Ok(Deployment::Distributed { brokers: brokers.to_owned(), database_url: database_url.to_owned() })
            }
            (Some(_), None) => {
                bail!("DATABASE_URL: is missing; KAFKA_BOOTSTRAP_SERVERS is set, and both belong together")
            }
            (None, Some(_)) => {
                bail!("KAFKA_BOOTSTRAP_SERVERS: is missing; DATABASE_URL is set, and both belong together")
            }
        }
    }

    pub(crate) fn data_dir(&self) -> anyhow::Result<PathBuf> {
        let data_dir = not_empty("DATA_DIR", Some(&self.data_dir))?;
        Ok(data_dir.unwrap_or_default().into())
    }

    pub(crate) fn partitions(&self) -> anyhow::Result<i32> {
        number("KAFKA_PARTITIONS", &self.kafka_partitions, 1..=1_000)
    }

    pub(crate) fn replication(&self) -> anyhow::Result<i32> {
        number("KAFKA_REPLICATION", &self.kafka_replication, 1..=100)
    }

    pub(crate) fn topic_prefix(&self) -> anyhow::Result<&str> {
        let prefix = self.kafka_topic_prefix.as_str();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        ensure!(
            (1..=200).contains(&prefix.len()) && prefix.bytes().all(legal),
            "KAFKA_TOPIC_PREFIX: {prefix:?} is not 1 to 200 letters, digits, dots, dashes and underscores"
        );
        Ok(prefix)
    }

    pub(crate) fn topics(&self) -> anyhow::Result<Topics> {
        Ok(Topics::with_prefix(self.topic_prefix()?))
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
        let Some(url) = not_empty("COMMAND_API_URL", self.command_api_url.as_deref())? else { return Ok(None) };
        ensure!(
            url.starts_with("http://") || url.starts_with("https://"),
            "COMMAND_API_URL: {url:?} is not a URL, such as http://127.0.0.1:8081"
        );
        Ok(Some(url.trim_end_matches('/')))
    }
}

fn cors_origin(origin: &str) -> anyhow::Result<HeaderValue> {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let legal = origin == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ']));
    ensure!(legal, "CORS_ORIGINS: {origin:?} is not an origin, such as https://balcony.example");
    HeaderValue::from_str(origin).with_context(|| format!("CORS_ORIGINS: {origin:?} has characters no origin has"))
}

fn not_empty<'a>(name: &str, value: Option<&'a str>) -> anyhow::Result<Option<&'a str>> {
    match value.map(str::trim) {
        Some("") => bail!("{name}: is empty; give it a value or leave it out"),
        value => Ok(value),
    }
}

fn number(name: &str, text: &str, range: std::ops::RangeInclusive<i32>) -> anyhow::Result<i32> {
    match i32::from_str(text) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => bail!("{name}: {text:?} is not a number from {} to {}", range.start(), range.end()),
    }
}
