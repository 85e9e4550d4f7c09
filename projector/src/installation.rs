//! What an installation of a program is made of, opened by its settings.

mod distributed;
mod embedded;
mod layout;
mod private;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use balcony_event_log::{EventLog, LogError, Topic};
use balcony_store::{Database, Reader, StoreError};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) use self::layout::{LOG_FILE, READ_MODELS};
use self::private::private_file;
pub use self::private::private_folder;
use crate::application::{Application, InstalledTopic, Topics};
use crate::bound::{BindError, BoundLog, check_names};
use crate::catalogue::{Catalogue, Step};
use crate::intake::IntakeError;
use crate::newest::Newest;
use crate::projector::Projector;
use crate::replica::ReplicaFolder;
use crate::settings::{Deployment, Settings};

/// An installation of a program.
pub struct Installation {
    /// The log. Beside other processes an embedded one can only be read.
    pub log: Arc<dyn EventLog>,
    /// The read-model database.
    pub database: Database,
    /// The program's topics.
    pub topics: Topics,
    /// The program's steps.
    pub catalogue: Catalogue,
    group_prefix: String,
    data_dir: PathBuf,
    /// What the log is known by.
    identity: String,
    /// What the installation is known by, since it was founded.
    id: Uuid,
    /// Keeps other processes from the data folder.
    _held: Option<File>,
}

/// How long the log and the database are waited for at the start.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many digits of what the database is known by are in the names of consumer groups.
const DATABASE_DIGITS: usize = 8;
const PAUSE: Duration = Duration::from_millis(500);

impl Installation {
    /// Opens the installation to be part of it, and makes what is missing: topics, tables. The log and the database are
    /// waited for.
    ///
    /// # Errors
    /// Names the setting that is wrong. An embedded installation that another process holds is refused.
    pub async fn open(application: &Application, settings: &Settings) -> anyhow::Result<Self> {
        let parts = Parts::open(application, settings).await?;
        let id = parts.log.founding().id;
        Self::of(application, settings, parts.log, parts.database, Some(id), parts.held).await
    }

    /// Opens the installation for an operator, beside the processes that run it or when none does. Nothing is made.
    ///
    /// # Errors
    /// Names the setting that is wrong, or says that the installation was never started.
    pub async fn beside(application: &Application, settings: &Settings) -> anyhow::Result<Self> {
        let log = log_beside(application, settings).await?;
        let place = database_settings(application, settings)?;
        let database = match settings.deployment(application)? {
            Deployment::Embedded { data_dir } => {
                ensure!(
                    data_dir.join(READ_MODELS).is_dir(),
                    "DATA_DIR: {} has no read models yet; start {} first",
                    data_dir.display(),
                    application.name()
                );
                Database::open_beside(&place).await.context("DATA_DIR: the read models cannot be opened")?
            }
            Deployment::Distributed { .. } => Database::open_beside(&place).await.context("DATABASE_URL")?,
        };
        let deployment = settings.deployment(application)?;
        let log = BoundLog::bind_beside(log, &database).await.map_err(|error| unbound(error, &deployment))?;
        let id = database.founding().await?.map(|founding| founding.id);
        Self::of(application, settings, log, database, id, None).await
    }

    async fn of(
        application: &Application,
        settings: &Settings,
        log: Arc<dyn EventLog>,
        database: Database,
        id: Option<Uuid>,
        held: Option<File>,
    ) -> anyhow::Result<Self> {
        let topics = settings.topics(application)?;
        let catalogue = application.catalogue(&topics);
        if let Some(name) = catalogue.repeated_name() {
            bail!("{} has two steps called {name}", application.name());
        }
        let identity = log.identity().await?;
        let mut group_prefix = settings.group_prefix(application)?;
        if let Some(own) = database.own_identity().await? {
            let own = Uuid::new_v5(&Uuid::NAMESPACE_OID, own.as_bytes()).simple().to_string();
            group_prefix.push_str(&own[..DATABASE_DIGITS]);
            group_prefix.push('.');
        }
        let data_dir = settings.data_dir(application)?;
        let id = id.unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_OID, identity.as_bytes()));
        Ok(Self { log, database, topics, catalogue, group_prefix, data_dir, identity, id, _held: held })
    }

    /// A projector on this installation, with no steps yet.
    pub fn projector(&self) -> Projector {
        Projector::new(self.log.clone(), self.database.clone(), self.group_prefix.as_str())
    }

    /// Runs every step of the program in this process. Stores of replicas are in the data folder.
    ///
    /// # Errors
    /// When there is no folder for a replica.
    pub fn start(&self) -> anyhow::Result<Projector> {
        let mut projector = self.projector();
        for step in self.catalogue.steps() {
            match step.clone() {
                Step::Projection(projection) => projector.start(projection),
                Step::Replica { replica, .. } => {
                    let folder = self.replica_folder(replica.name())?;
                    projector.start_replica(replica, folder);
                }
                Step::Reactor(reactor) => projector.start_reactor(reactor),
            }
        }
        Ok(projector)
    }

    /// A reader of what the program's projections write.
    pub async fn reader(&self) -> Reader {
        let read_model = |step: &Step| match step {
            Step::Projection(projection) => Some(projection.read_model().clone()),
            Step::Replica { .. } | Step::Reactor(_) => None,
        };
        let models = self.catalogue.steps().iter().filter_map(read_model).collect();
        Reader::open(&self.database, models).await
    }

    /// Asks what the program's projections write for everything that is in the log.
    pub async fn newest(&self) -> Newest {
        Newest::new(self.log.clone(), self.reader().await)
    }

    /// What the log is known by: the same for every process on it, and different for every other log.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The folder of the embedded installation, and of what a process keeps for itself.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A folder for this process's stores of the replica called `name`.
    ///
    /// # Errors
    /// What the system says, or that there are too many processes.
    pub fn replica_folder(&self, name: &str) -> anyhow::Result<ReplicaFolder> {
        private_folder(&self.data_dir)
            .with_context(|| format!("DATA_DIR: {} cannot be made", self.data_dir.display()))?;
        let directory = self.replica_directory(name);
        ReplicaFolder::hold(&directory)
            .with_context(|| format!("DATA_DIR: no store of {name} in {}", directory.display()))
    }

    /// Where the stores of the replica called `name` are: they hold what one log says, and no other.
    pub(crate) fn replica_directory(&self, name: &str) -> PathBuf {
        self.data_dir.join(name).join(self.id.simple().to_string())
    }
}

/// A log and the database that it is tied to, opened by a process that is part of an installation.
pub(crate) struct Parts {
    pub(crate) log: Arc<BoundLog>,
    pub(crate) database: Database,
    /// Keeps other processes from the data folder.
    pub(crate) held: Option<File>,
}

impl Parts {
    /// Opens both and makes what is missing, but no topic that the database knows. The log and the database are waited for.
    pub(crate) async fn open(application: &Application, settings: &Settings) -> anyhow::Result<Self> {
        let log_topics = log_topics(application, settings)?;
        let place = database_settings(application, settings)?;
        let deployment = settings.deployment(application)?;
        let (log, database, held): (Arc<dyn EventLog>, _, _) = match &deployment {
            Deployment::Embedded { data_dir } => {
                let held = hold(data_dir)?;
                let log = open_embedded_log(data_dir, &log_topics)?;
                let database = Database::open(&place).await.context("DATA_DIR: the read models cannot be opened")?;
                (log, database, Some(held))
            }
            Deployment::Distributed { brokers, .. } => {
                let database = open_database(&place).await?;
                let names: Vec<Arc<str>> = log_topics.iter().map(|topic| topic.name.clone()).collect();
                // Before topics are made that nobody wants.
                check_names(&database, &names).await.map_err(|error| unbound(error, &deployment))?;
                let founding = database.founding().await?;
                let known: Vec<Arc<str>> =
                    founding.into_iter().flat_map(|founding| founding.partitions).map(|(topic, _)| topic).collect();
                (open_log(brokers, &log_topics, &known).await?, database, None)
            }
        };
        let log = bind(log, &database).await.map_err(|error| unbound(error, &deployment))?;
        Ok(Self { log, database, held })
    }
}

/// The log alone, beside the processes that run the installation.
pub(crate) async fn log_beside(application: &Application, settings: &Settings) -> anyhow::Result<Arc<dyn EventLog>> {
    let log_topics = log_topics(application, settings)?;
    Ok(match settings.deployment(application)? {
        Deployment::Embedded { data_dir } => {
            let file = data_dir.join(LOG_FILE);
            ensure!(file.is_file(), "DATA_DIR: there is no installation in {}", data_dir.display());
            let opened = embedded::open_log_beside(&file, &log_topics);
            opened.with_context(|| format!("DATA_DIR: the log in {} cannot be read", data_dir.display()))?
        }
        Deployment::Distributed { brokers, .. } => {
            let opened = distributed::open_log_beside(&brokers, &log_topics).await;
            opened.context("KAFKA_BOOTSTRAP_SERVERS, KAFKA_TOPIC_PREFIX")?
        }
    })
}

/// Opens the log of another program, an installation at `place`, to read its topic of this full name beside the processes that run
/// on it.
///
/// # Errors
/// When it cannot be opened, or has no such topic.
pub async fn log_of_another(place: &Deployment, topic: &Arc<str>) -> Result<Arc<dyn EventLog>, IntakeError> {
    let topics = [Topic { name: topic.clone(), partitions: 1, replication: 1, retention: None }];
    Ok(match place {
        Deployment::Embedded { data_dir } => {
            let file = data_dir.join(LOG_FILE);
            let opened = spawn_blocking(move || embedded::open_log_beside(&file, &topics)).await;
            opened.map_err(IntakeError::outside)??
        }
        Deployment::Distributed { brokers, .. } => distributed::open_log_beside(brokers, &topics).await?,
    })
}

/// The program's topics as the log is opened with them.
pub(crate) fn log_topics(application: &Application, settings: &Settings) -> anyhow::Result<Vec<Topic>> {
    let (partitions, replication) = (settings.partitions()?, settings.replication()?);
    let topics = settings.topics(application)?;
    let topic = |topic: &InstalledTopic| Topic {
        name: topic.full.clone(),
        partitions,
        replication,
        retention: topic.retention,
    };
    Ok(topics.iter().map(topic).collect())
}

/// How the database is opened.
fn database_settings(application: &Application, settings: &Settings) -> anyhow::Result<balcony_store::Settings> {
    let place = match settings.deployment(application)? {
        Deployment::Embedded { data_dir } => embedded::place(data_dir.join(READ_MODELS))?,
        Deployment::Distributed { database_url, .. } => distributed::place(database_url)?,
    };
    Ok(balcony_store::Settings { namespace: settings.namespace(application)?, place })
}

pub(crate) fn open_embedded_log(data_dir: &Path, topics: &[Topic]) -> anyhow::Result<Arc<dyn EventLog>> {
    private_file(&data_dir.join(LOG_FILE))
        .with_context(|| format!("DATA_DIR: the log in {} cannot be written", data_dir.display()))?;
    embedded::open_log(&data_dir.join(LOG_FILE), topics)
        .with_context(|| format!("DATA_DIR: the log in {} cannot be opened", data_dir.display()))
}

async fn open_log(brokers: &str, topics: &[Topic], known: &[Arc<str>]) -> anyhow::Result<Arc<dyn EventLog>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match distributed::open_log(brokers, topics, known).await {
            Err(error @ LogError::Unavailable(_)) if Instant::now() < deadline => {
                tracing::warn!(%error, "waiting for the log");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error @ LogError::UnknownTopic { .. }) => bail!(
                "KAFKA_BOOTSTRAP_SERVERS, KAFKA_TOPIC_PREFIX: {error}, and the database was used with it: bring the topic \
                 back, or give a new log a database of its own"
            ),
            opened => return opened.context("KAFKA_BOOTSTRAP_SERVERS"),
        }
    }
}

async fn bind(log: Arc<dyn EventLog>, database: &Database) -> Result<Arc<BoundLog>, BindError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match BoundLog::bind(log.clone(), database).await {
            Err(error @ (BindError::Log(LogError::Unavailable(_)) | BindError::Store(StoreError::Unavailable(_))))
                if Instant::now() < deadline =>
            {
                tracing::warn!(%error, "waiting for the log and the database");
                tokio::time::sleep(PAUSE).await;
            }
            bound => return bound,
        }
    }
}

/// What to do about a log that is not the database's.
fn unbound(error: BindError, deployment: &Deployment) -> anyhow::Error {
    match (error, deployment) {
        (BindError::Unrecognised(why), Deployment::Embedded { data_dir }) => anyhow!(
            "DATA_DIR: the read models in {} were made of another log than its {LOG_FILE}: {why}; bring that log back, or \
             remove {READ_MODELS}, which is then built of this one",
            data_dir.display()
        ),
        (BindError::Unrecognised(why), Deployment::Distributed { .. }) => anyhow!(
            "KAFKA_BOOTSTRAP_SERVERS, KAFKA_TOPIC_PREFIX, DATABASE_URL: the database was used with another log: {why}; go \
             back to that log, or give this one a database of its own"
        ),
        (error, Deployment::Embedded { .. }) => anyhow::Error::new(error).context("DATA_DIR"),
        (error, Deployment::Distributed { .. }) => {
            anyhow::Error::new(error).context("KAFKA_BOOTSTRAP_SERVERS, DATABASE_URL")
        }
    }
}

async fn open_database(settings: &balcony_store::Settings) -> anyhow::Result<Database> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Database::open(settings).await {
            // Credentials that were never right do not become so.
            Err(error) if error.is_transient() && !error.is_entry_refused() && Instant::now() < deadline => {
                tracing::warn!(%error, "waiting for the database");
                tokio::time::sleep(PAUSE).await;
            }
            opened => return opened.context("DATABASE_URL"),
        }
    }
}

/// Keeps the data folder for this process, until it ends.
pub(crate) fn hold(data_dir: &Path) -> anyhow::Result<File> {
    let held = try_hold(data_dir)?;
    held.with_context(|| {
        format!("DATA_DIR: another process holds {}; stop it or use another folder", data_dir.display())
    })
}

/// The same; `None` when another process has it.
pub(crate) fn try_hold(data_dir: &Path) -> anyhow::Result<Option<File>> {
    private_folder(data_dir).with_context(|| format!("DATA_DIR: {} cannot be made", data_dir.display()))?;
    let path = data_dir.join(layout::LOCK);
    let file = private_file(&path);
    let file = file.with_context(|| format!("DATA_DIR: {} cannot be written", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("DATA_DIR: {} cannot be locked", path.display()))
        }
    }
}
