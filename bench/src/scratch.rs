//! What a run makes and removes again: a folder, databases, topics.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};
use tempfile::TempDir;

use crate::consumption::Consumers;
use crate::options::Options;
use crate::process::{Deployment, Process, Settings};

/// Everything of one run.
pub(crate) struct Scratch {
    id: String,
    folder: TempDir,
    balcony: PathBuf,
    embedded: bool,
    servers: Option<Servers>,
    services: Consumers,
}

/// The Kafka and the PostgreSQL that are measured on.
struct Servers {
    brokers: String,
    database: PgConnectOptions,
}

const KAFKA_PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const PARTITIONS: i32 = 6;

impl Scratch {
    pub(crate) fn new(options: &Options) -> anyhow::Result<Self> {
        let beside = std::env::current_exe()?.with_file_name("balcony");
        let balcony = options.balcony.clone().unwrap_or(beside);
        ensure!(balcony.is_file(), "{} is missing: cargo build --release -p balcony", balcony.display());
        let wanted = |deployment| options.only.is_none_or(|only| only == deployment);
        let servers = match (&options.kafka_bootstrap_servers, &options.database_url) {
            (Some(brokers), Some(url)) if wanted(Deployment::Distributed) => {
                let database = url.parse().context("DATABASE_URL")?;
                Some(Servers { brokers: brokers.clone(), database })
            }
            _ => {
                ensure!(
                    options.only != Some(Deployment::Distributed),
                    "KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL are missing: eval \"$(tests/services start)\""
                );
                if wanted(Deployment::Distributed) {
                    eprintln!(
                        "KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL are not set: only the embedded half runs \
                         (eval \"$(tests/services start)\" for the other)"
                    );
                }
                None
            }
        };
        Ok(Self {
            id: format!("bench{}", uuid::Uuid::now_v7().simple()),
            folder: tempfile::tempdir()?,
            balcony,
            embedded: wanted(Deployment::Embedded),
            servers,
            services: Consumers::services(options.balcony_services.as_deref()),
        })
    }

    /// What can be measured.
    pub(crate) fn deployments(&self) -> Vec<Deployment> {
        let embedded = self.embedded.then_some(Deployment::Embedded);
        embedded.into_iter().chain(self.servers.as_ref().map(|_| Deployment::Distributed)).collect()
    }

    /// A path in the run's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the names of topics called `name` begin with.
    pub(crate) fn prefix(&self, name: &str) -> String {
        format!("{}.{name}.", self.id)
    }

    pub(crate) fn brokers(&self) -> anyhow::Result<&str> {
        Ok(&self.servers()?.brokers)
    }

    /// The broker and the database, where their processes are known.
    pub(crate) fn services(&self) -> Consumers {
        self.services.clone()
    }

    /// Starts Balcony.
    pub(crate) async fn balcony(&self, arguments: &[&str], settings: &Settings) -> anyhow::Result<Process> {
        Process::start(&self.balcony, arguments, settings, self.folder.path()).await
    }

    /// Starts another program, which `configure` tells where to listen, and waits until it answers at the path `ready`.
    pub(crate) async fn peer(
        &self,
        program: &str,
        arguments: &[&str],
        ready: &str,
        configure: impl Fn(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Process> {
        let (program, folder) = (Path::new(program), self.folder.path());
        Process::start_configured(program, arguments, &Settings::new(), folder, ready, configure).await
    }

    /// Starts this program as a server.
    pub(crate) async fn bare(&self, arguments: &[&str], settings: &Settings) -> anyhow::Result<Process> {
        let arguments = [&["serve"], arguments].concat();
        Process::start(&std::env::current_exe()?, &arguments, settings, self.folder.path()).await
    }

    /// Creates a database and gives its URL.
    pub(crate) async fn create_database(&self, name: &str) -> anyhow::Result<String> {
        let name = format!("{}_{name}", self.id);
        self.administer(format!("CREATE DATABASE {name}")).await?;
        Ok(self.servers()?.database.clone().database(&name).to_url_lossy().to_string())
    }

    pub(crate) async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        self.administer(format!("DROP DATABASE IF EXISTS {}_{name} WITH (FORCE)", self.id)).await
    }

    /// Removes everything.
    pub(crate) async fn remove(&self) -> anyhow::Result<()> {
        if self.servers.is_some() {
            self.drop_databases().await.context("removing databases")?;
            self.delete_topics().await.context("removing topics")?;
        }
        Ok(())
    }

    async fn drop_databases(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        let names: Vec<String> = sqlx::query_scalar("SELECT datname FROM pg_database WHERE starts_with(datname, $1)")
            .bind(&self.id)
            .fetch_all(&mut connection)
            .await?;
        for name in names {
            let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        }
        Ok(())
    }

    async fn delete_topics(&self) -> anyhow::Result<()> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers()?);
        let consumer: BaseConsumer = config.clone().set("group.id", "balcony-bench").create()?;
        let metadata = consumer.fetch_metadata(None, KAFKA_PATIENCE)?;
        let names: Vec<&str> =
            metadata.topics().iter().map(|topic| topic.name()).filter(|name| name.starts_with(&self.id)).collect();
        if !names.is_empty() {
            let admin: AdminClient<DefaultClientContext> = config.create()?;
            let options = AdminOptions::new().operation_timeout(Some(KAFKA_PATIENCE));
            admin.delete_topics(&names, &options).await?;
        }
        Ok(())
    }

    async fn administer(&self, sql: String) -> anyhow::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connect().await?).await?;
        Ok(())
    }

    async fn connect(&self) -> anyhow::Result<PgConnection> {
        PgConnection::connect_with(&self.servers()?.database).await.context("DATABASE_URL")
    }

    fn servers(&self) -> anyhow::Result<&Servers> {
        self.servers.as_ref().context("the distributed half has no servers")
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}
