//! Starts and stops Balcony's processes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use balcony_domain::{DERIVED, Topics};
use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::kafka::KafkaLog;
use balcony_event_log::testing::{OnBroker, eventually};
use balcony_event_log::{EventLog, Topic};
use balcony_http::{Authority, Expected, Role, Subjects};
use balcony_store::Scratch;
use sqlx::Connection as _;
use tempfile::TempDir;
use uuid::Uuid;

use crate::client::Client;
use balcony_test_support::Services;

pub const SECRET: &str = "a secret for tests, of 32 bytes or more";
pub const BINARY: &str = env!("CARGO_BIN_EXE_balcony");
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A running installation of its own: a data folder, or a database and topics.
pub struct Deployment {
    pub settings: Vec<(&'static str, String)>,
    pub kind: Kind,
    folder: Arc<TempDir>,
    pub processes: Vec<Process>,
    /// Goes after the processes.
    _database: Option<Scratch>,
    /// So do topics and groups in a database of others.
    _topics: Option<OnBroker>,
}

pub enum Kind {
    Embedded { data_dir: PathBuf },
    Distributed { brokers: String, database_url: String, prefix: String },
}

/// One process and where it listens. Killed when dropped.
pub struct Process {
    child: Child,
    pub name: String,
    pub url: String,
    stderr: PathBuf,
}

impl Deployment {
    /// Everything in one process, ready.
    pub async fn embedded() -> Self {
        let mut deployment = Self::embedded_idle();
        deployment.start_all().await;
        deployment
    }

    /// The same without a process yet.
    pub fn embedded_idle() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let data_dir = folder.path().join("data");
        let settings = vec![("DATA_DIR", data_dir.display().to_string())];
        Self::new(settings, Kind::Embedded { data_dir }, folder)
    }

    /// The three services on a database and topics of their own, ready. `None` without Kafka and PostgreSQL.
    pub async fn distributed() -> Option<Self> {
        let services = Services::shared()?;
        Some(Self::distributed_on(&services).await)
    }

    pub async fn distributed_on(services: &Services) -> Self {
        let mut deployment = Self::distributed_idle(services).await;
        deployment.start_all().await;
        deployment
    }

    /// Everything that belongs to its kind.
    pub async fn start_all(&mut self) {
        match self.kind {
            Kind::Embedded { .. } => drop(self.start("balcony", &[]).await),
            Kind::Distributed { .. } => {
                for service in ["projector", "command-api", "query-api"] {
                    self.start(service, &[service]).await;
                }
            }
        }
    }

    /// The same without a process yet.
    pub async fn distributed_idle(services: &Services) -> Self {
        let id = Uuid::now_v7().simple().to_string();
        let database = services.new_database().await;
        let database_url = database.url().unwrap().to_owned();
        let prefix = format!("t{id}.");
        let mut settings = vec![
            ("KAFKA_BOOTSTRAP_SERVERS", services.brokers.clone()),
            ("DATABASE_URL", database_url.clone()),
            ("KAFKA_TOPIC_PREFIX", prefix.clone()),
        ];
        let kind = Kind::Distributed { brokers: services.brokers.clone(), database_url, prefix };
        let folder = Arc::new(tempfile::tempdir().unwrap());
        settings.push(("DATA_DIR", folder.path().join("data").display().to_string()));
        let database = database.with(OnBroker::marked(&services.brokers, id.as_str()));
        Self { _database: Some(database), ..Self::new(settings, kind, folder) }
    }

    /// An installation of this namespace in a database that others have, too, without a process yet.
    pub fn in_namespace(services: &Services, database_url: &str, namespace: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let settings = vec![
            ("KAFKA_BOOTSTRAP_SERVERS", services.brokers.clone()),
            ("DATABASE_URL", database_url.to_owned()),
            ("NAMESPACE", namespace.to_owned()),
            ("DATA_DIR", folder.path().join("data").display().to_string()),
        ];
        let topics = OnBroker::marked(&services.brokers, namespace);
        let (brokers, database_url) = (services.brokers.clone(), database_url.to_owned());
        let kind = Kind::Distributed { brokers, database_url, prefix: format!("{namespace}.") };
        Self { _topics: Some(topics), ..Self::new(settings, kind, folder) }
    }

    /// The namespace of everything that it has in databases and clusters.
    pub fn namespace(&self) -> &str {
        self.settings.iter().find(|(name, _)| *name == "NAMESPACE").map_or("balcony", |(_, namespace)| namespace)
    }

    fn new(mut settings: Vec<(&'static str, String)>, kind: Kind, folder: Arc<TempDir>) -> Self {
        settings.push(("JWT_SECRET", SECRET.to_owned()));
        settings.push(("RATE_LIMIT", "off".to_owned()));
        Self { settings, kind, folder, processes: Vec::new(), _database: None, _topics: None }
    }

    /// Starts a process and waits until it is ready. Gives its index.
    pub async fn start(&mut self, name: &str, arguments: &[&str]) -> usize {
        self.start_on(name, arguments, "127.0.0.1:0").await
    }

    /// The same, and waits only until it answers.
    pub async fn start_unready(&mut self, name: &str, arguments: &[&str]) -> usize {
        self.start_and_wait(name, arguments, "127.0.0.1:0", "/livez").await
    }

    pub async fn start_on(&mut self, name: &str, arguments: &[&str], listen: &str) -> usize {
        self.start_and_wait(name, arguments, listen, "/readyz").await
    }

    async fn start_and_wait(&mut self, name: &str, arguments: &[&str], listen: &str, probe: &str) -> usize {
        let stderr = self.folder.path().join(format!("{name}-{}.log", Uuid::now_v7().simple()));
        let child = self
            .command(arguments)
            .env("LISTEN", listen)
            .stdout(Stdio::null())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let mut process = Process { child, name: name.to_owned(), url: String::new(), stderr };
        process.url = process.wait_until(probe).await;
        self.processes.push(process);
        self.processes.len() - 1
    }

    /// The binary with this installation's settings and nothing else of the environment that would be one.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare_command(arguments);
        command.envs(self.settings.iter().map(|(name, value)| (*name, value.as_str())));
        command
    }

    pub fn process(&self, name: &str) -> &Process {
        self.processes.iter().find(|process| process.name == name).expect("a process of this name")
    }

    pub fn process_mut(&mut self, name: &str) -> &mut Process {
        self.processes.iter_mut().find(|process| process.name == name).expect("a process of this name")
    }

    /// Kills a process with -9 and forgets it. Gives where it listened.
    pub fn kill(&mut self, name: &str) -> String {
        let index = self.processes.iter().position(|process| process.name == name).expect("a process of this name");
        let mut process = self.processes.remove(index);
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        process.url.trim_start_matches("http://").to_owned()
    }

    /// A client that commands one service and queries the other, or the one that is both.
    pub fn client(&self, user: &str, role: Role) -> Client {
        let (commands, queries) = match self.kind {
            Kind::Embedded { .. } => ("balcony", "balcony"),
            Kind::Distributed { .. } => ("command-api", "query-api"),
        };
        let token = authority().issue(user, role, 3_600).unwrap();
        Client::new(&self.process(commands).url, &self.process(queries).url, Some(token))
    }

    pub fn admin(&self) -> Client {
        self.client("admin", Role::Admin)
    }

    pub fn user(&self, name: &str) -> Client {
        self.client(name, Role::User)
    }

    pub fn nobody(&self) -> Client {
        self.user("nobody").with_token(None)
    }

    pub fn topics(&self) -> Topics {
        match &self.kind {
            Kind::Embedded { .. } => Topics::with_prefix("balcony."),
            Kind::Distributed { prefix, .. } => Topics::with_prefix(prefix),
        }
    }

    /// The installation's log, opened by the test. An embedded one must not be running then.
    pub async fn log(&self) -> Arc<dyn EventLog> {
        let topics = self.topics();
        let topic = |name: &Arc<str>| Topic { name: name.clone(), partitions: 6, replication: 1, retention: None };
        match &self.kind {
            Kind::Embedded { data_dir } => Arc::new(
                EmbeddedLog::open(&data_dir.join("log.db"), &[topic(&topics.facts), topic(&topics.views)]).unwrap(),
            ),
            Kind::Distributed { brokers, .. } => {
                Arc::new(KafkaLog::open(brokers, &[topic(&topics.facts)]).await.unwrap())
            }
        }
    }

    /// The installation's log, read beside the processes that run it. `None` while there is none.
    pub async fn log_beside(&self) -> Option<Arc<dyn EventLog>> {
        let topics = self.topics();
        let topic = |name: &Arc<str>| Topic { name: name.clone(), partitions: 6, replication: 1, retention: None };
        let log_topics = [topic(&topics.facts), topic(&topics.views)];
        match &self.kind {
            Kind::Embedded { data_dir } => {
                Some(Arc::new(EmbeddedLog::open_beside(&data_dir.join("log.db"), &log_topics).ok()?))
            }
            Kind::Distributed { brokers, .. } => {
                Some(Arc::new(KafkaLog::open_beside(brokers, &log_topics).await.ok()?))
            }
        }
    }

    pub async fn database(&self) -> sqlx::PgConnection {
        let Kind::Distributed { database_url, .. } = &self.kind else { panic!("an embedded one has no PostgreSQL") };
        sqlx::PgConnection::connect(database_url).await.unwrap()
    }
}

/// The binary without any setting from this process's environment.
pub fn bare_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).stdin(Stdio::null());
    for name in [
        "LISTEN",
        "DATA_DIR",
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_TOPIC_PREFIX",
        "DATABASE_URL",
        "NAMESPACE",
        "JWT_SECRET",
        "JWKS_URL",
        "RUST_LOG",
        "RATE_LIMIT",
        "SMTP_URL",
        "SMTP_URL_FILE",
        "PUBLIC_URL",
    ] {
        command.env_remove(name);
    }
    command
}

pub fn authority() -> Authority {
    Authority::new(SECRET.as_bytes(), "balcony", Subjects::derived_in(DERIVED), Expected::default())
}

impl Process {
    /// Waits until it says where it listens and `probe` finds it well there.
    async fn wait_until(&mut self, probe: &str) -> String {
        let client = reqwest::Client::new();
        eventually(&format!("{} is well at {probe}", self.name), READY_TIMEOUT, async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended with {status}: {}", self.name, self.log());
            }
            let url = format!("http://{}", address(&self.log(), "listening")?);
            let answer = client.get(format!("{url}{probe}")).send().await.ok()?;
            answer.status().is_success().then_some(url)
        })
        .await
    }

    /// Where operators are shown what is for them, when they have a port of their own.
    pub fn operators_url(&self) -> String {
        format!("http://{}", address(&self.log(), "listening for operators").expect("a port for operators"))
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Asks it to end as an operator would, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        eventually(&format!("{} ends", self.name), READY_TIMEOUT, async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(15).collect();
            eprintln!("the last lines of {}:", self.name);
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// The address in the line of `log` that says `message`.
fn address(log: &str, message: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains(&format!("\"{message}\"")))?;
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(line["fields"]["address"].as_str()?.to_owned())
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
