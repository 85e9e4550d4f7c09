//! An installation opened beside the processes that run it, for what operators ask of it.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use balcony_domain::Topics;
use balcony_event_log::EventLog;
use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::kafka::KafkaLog;
use balcony_store::Database;

use crate::installation::{LOG_FILE, READ_MODELS, log_topics};
use crate::settings::{Deployment, Settings};

/// What can be had beside a running installation, and without one that runs. Nothing is made: an installation that was
/// never started has neither log nor read models.
#[expect(dead_code, reason = "for the commands that ask about read models")]
pub(crate) struct Beside {
    /// Embedded, it only reads.
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) database: Database,
    pub(crate) topics: Topics,
}

#[expect(dead_code, reason = "for the commands that ask about read models")]
impl Beside {
    /// Opens the installation of these settings.
    pub(crate) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let (log, topics) = log(settings).await?;
        let database = match settings.deployment()? {
            Deployment::Embedded { data_dir } => {
                let directory = data_dir.join(READ_MODELS);
                ensure!(
                    directory.is_dir(),
                    "DATA_DIR: {} has no read models yet; start balcony first",
                    data_dir.display()
                );
                let opened = Database::open(&balcony_store::Settings::Sqlite { directory }).await;
                opened.context("DATA_DIR: the read models cannot be opened")?
            }
            Deployment::Distributed { database_url, .. } => {
                let opened = Database::open(&balcony_store::Settings::Postgres { url: database_url }).await;
                opened.context("DATABASE_URL")?
            }
        };
        Ok(Self { log, database, topics })
    }
}

/// The log alone, and its topics.
pub(crate) async fn log(settings: &Settings) -> anyhow::Result<(Arc<dyn EventLog>, Topics)> {
    let topics = settings.topics()?;
    let log_topics = log_topics(settings, &topics)?;
    let log: Arc<dyn EventLog> = match settings.deployment()? {
        Deployment::Embedded { data_dir } => {
            let file = data_dir.join(LOG_FILE);
            ensure!(file.is_file(), "DATA_DIR: there is no installation in {}", data_dir.display());
            let opened = EmbeddedLog::open_beside(&file, &log_topics);
            Arc::new(opened.with_context(|| format!("DATA_DIR: the log in {} cannot be read", data_dir.display()))?)
        }
        Deployment::Distributed { brokers, .. } => {
            let opened = KafkaLog::open_beside(&brokers, &log_topics).await;
            Arc::new(opened.context("KAFKA_BOOTSTRAP_SERVERS, KAFKA_TOPIC_PREFIX")?)
        }
    };
    Ok((log, topics))
}
