//! What an installation is made of, opened by its settings: log, read models, authority.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use balcony_domain::Topics;
use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::kafka::KafkaLog;
use balcony_event_log::{EventLog, LogError, Topic};
use balcony_http::rate_limit::Limiter;
use balcony_http::service::Edge;
use balcony_http::{Authority, Consistency, telemetry};
use balcony_projector::{Folder, Projector};
use balcony_search::Serving;
use balcony_store::{Database, StoreError};
use tokio::time::Instant;
use uuid::Uuid;

use crate::settings::{Deployment, Settings};

/// An installation that this process is part of.
pub(crate) struct Installation {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) database: Database,
    pub(crate) topics: Topics,
    pub(crate) consistency: Consistency,
    pub(crate) edge: Edge,
    group_prefix: String,
    search_folder: PathBuf,
    /// Keeps other processes from the data folder.
    _lock: Option<File>,
}

/// The embedded log's file in the data folder.
pub(crate) const LOG_FILE: &str = "log.db";
/// The folder of the embedded read models in the data folder.
pub(crate) const READ_MODELS: &str = "read-models";
/// How long page views are kept in the log.
const VIEWS_KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long the log and the database are waited for at the start.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of a secret that is made, before they are written in hexadecimal.
const SECRET_BYTES: usize = 32;

impl Installation {
    /// Opens the installation: the embedded one only when no other process holds it.
    pub(crate) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let topics = settings.topics()?;
        let authority = authority(settings)?;
        let edge = Edge {
            authority,
            limiter: Limiter::new(settings.rate_limit()?),
            cors_origins: settings.cors_origins()?,
            metrics: telemetry::install()?,
        };
        let log_topics = log_topics(settings, &topics)?;
        let (log, database, lock): (Arc<dyn EventLog>, _, _) = match settings.deployment()? {
            Deployment::Embedded { data_dir } => {
                let lock = hold(&data_dir)?;
                let log = open_embedded_log(&data_dir, &log_topics)?;
                let settings = balcony_store::Settings::Sqlite { directory: data_dir.join(READ_MODELS) };
                let database = Database::open(&settings).await.context("DATA_DIR: the read models cannot be opened")?;
                (Arc::new(log), database, Some(lock))
            }
            Deployment::Distributed { brokers, database_url } => {
                let log = open_log(&brokers, &log_topics).await?;
                (Arc::new(log), open_database(database_url).await?, None)
            }
        };
        let identity = log.identity().await?;
        let search_folder = search_folder(&settings.data_dir()?, &identity);
        let consistency = Consistency::new(&identity, topics.clone());
        let group_prefix = settings.topic_prefix()?.to_owned();
        Ok(Self { log, database, topics, consistency, edge, group_prefix, search_folder, _lock: lock })
    }

    /// Lets `projector` keep a copy of the search index, and gives what is searched.
    pub(crate) fn start_search(&self, projector: &mut Projector) -> anyhow::Result<Serving> {
        let serving = Serving::default();
        let folder = Folder::hold(&self.search_folder);
        let folder =
            folder.with_context(|| format!("DATA_DIR: no search index in {}", self.search_folder.display()))?;
        projector.start_search(self.topics.facts.clone(), folder, serving.clone());
        Ok(serving)
    }

    /// A projector on this installation, with no projections yet.
    pub(crate) fn projector(&self) -> Projector {
        Projector::new(self.log.clone(), self.database.clone(), self.group_prefix.as_str())
    }
}

/// Whoever has the installation's secret. Works beside a running installation.
pub(crate) fn authority(settings: &Settings) -> anyhow::Result<Authority> {
    if let Some(secret) = settings.jwt_secret()? {
        return Ok(Authority::new(secret.as_bytes()));
    }
    match settings.deployment()? {
        Deployment::Embedded { data_dir } => Ok(Authority::new(secret(&data_dir)?.as_bytes())),
        Deployment::Distributed { .. } => {
            bail!(
                "JWT_SECRET: is missing; a distributed installation needs one of 32 bytes or more, the same everywhere"
            )
        }
    }
}

pub(crate) fn log_topics(settings: &Settings, topics: &Topics) -> anyhow::Result<[Topic; 2]> {
    let (partitions, replication) = (settings.partitions()?, settings.replication()?);
    let topic = |name: &Arc<str>, retention| Topic { name: name.clone(), partitions, replication, retention };
    Ok([topic(&topics.facts, None), topic(&topics.views, Some(VIEWS_KEPT))])
}

pub(crate) fn open_embedded_log(data_dir: &Path, topics: &[Topic]) -> anyhow::Result<EmbeddedLog> {
    EmbeddedLog::open(&data_dir.join(LOG_FILE), topics)
        .with_context(|| format!("DATA_DIR: the log in {} cannot be opened", data_dir.display()))
}

pub(crate) async fn open_log(brokers: &str, topics: &[Topic]) -> anyhow::Result<KafkaLog> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match KafkaLog::open(brokers, topics).await {
            Err(error @ LogError::Unavailable(_)) if Instant::now() < deadline => {
                tracing::warn!(%error, "waiting for the log");
                tokio::time::sleep(PAUSE).await;
            }
            opened => return opened.context("KAFKA_BOOTSTRAP_SERVERS"),
        }
    }
}

async fn open_database(url: String) -> anyhow::Result<Database> {
    let deadline = Instant::now() + PATIENCE;
    let settings = balcony_store::Settings::Postgres { url };
    loop {
        match Database::open(&settings).await {
            Err(error @ StoreError::Unavailable(_)) if Instant::now() < deadline => {
                tracing::warn!(%error, "waiting for the database");
                tokio::time::sleep(PAUSE).await;
            }
            opened => return opened.context("DATABASE_URL"),
        }
    }
}

/// Keeps the data folder for this process, until it ends.
pub(crate) fn hold(data_dir: &Path) -> anyhow::Result<File> {
    make_folder(data_dir)?;
    let path = data_dir.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("DATA_DIR: {} cannot be written", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("DATA_DIR: another process holds {}; stop it or use another folder", data_dir.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("DATA_DIR: {} cannot be locked", path.display()))
        }
    }
}

/// The secret in the data folder, made when there is none. A process that makes one at the same time wins or loses
/// as a whole: the file appears complete.
fn secret(data_dir: &Path) -> anyhow::Result<String> {
    make_folder(data_dir)?;
    let path = data_dir.join("jwt-secret");
    if !path.exists() {
        let bytes: [u8; SECRET_BYTES] = rand::random();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let draft = data_dir.join(format!("jwt-secret.{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            match std::fs::hard_link(&draft, &path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
                _ => std::fs::remove_file(&draft),
            }
        };
        write().with_context(|| format!("DATA_DIR: {} cannot be written", path.display()))?;
    }
    let mut text = String::new();
    let read = File::open(&path).and_then(|mut file| file.read_to_string(&mut text));
    read.with_context(|| format!("DATA_DIR: {} cannot be read", path.display()))?;
    let text = text.trim();
    if text.len() < 2 * SECRET_BYTES {
        bail!("DATA_DIR: {} is damaged; remove it to have a new one made, which ends all tokens", path.display());
    }
    Ok(text.to_owned())
}

fn make_folder(data_dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(data_dir).with_context(|| format!("DATA_DIR: {} cannot be made", data_dir.display()))
}

/// Where the search indexes of the log called `identity` are: an index holds what one log says, and no other.
pub(crate) fn search_folder(data_dir: &Path, identity: &str) -> PathBuf {
    let log = Uuid::new_v5(&Uuid::NAMESPACE_OID, identity.as_bytes());
    data_dir.join("search").join(log.simple().to_string())
}
