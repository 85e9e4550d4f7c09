//! Kafka and PostgreSQL, which the tests are given or start for themselves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use balcony_event_log::testing::{OnBroker, eventually, service};
use balcony_store::Scratch;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tempfile::TempDir;
use uuid::Uuid;

pub struct Services {
    pub brokers: String,
    pub database_url: String,
    /// Of those that a test has to itself.
    private: Option<TempDir>,
}

/// Where a program is installed on them for one test.
pub struct Installed {
    /// The settings that say so.
    pub settings: Vec<(&'static str, String)>,
    /// What is in all its names.
    pub namespace: String,
    /// Goes when it is dropped, with topics and groups: after the program.
    pub database: Scratch,
}

impl Services {
    /// Those that the environment names. Without them the test is left out, unless `CI` is set.
    pub fn shared() -> Option<Self> {
        let (brokers, database_url) = (service("KAFKA_BOOTSTRAP_SERVERS")?, service("DATABASE_URL")?);
        Some(Self { brokers, database_url, private: None })
    }

    /// A broker and a database of this test's own, to be killed and started again.
    pub fn private() -> Option<Self> {
        let mut services = Self::shared()?.with_own_folder();
        let environment = services.run(&["start", "kafka", "postgres"]);
        services.brokers = exported(&environment, "KAFKA_BOOTSTRAP_SERVERS");
        services.database_url = exported(&environment, "DATABASE_URL");
        Some(services)
    }

    /// A broker of this test's own beside the shared database, which lets a new consumer group wait for members as long as
    /// brokers do by default.
    pub fn unhurried() -> Option<Self> {
        let mut services = Self::shared()?.with_own_folder();
        let environment = services.run_with(&["start", "kafka"], &[("BALCONY_REBALANCE_DELAY", "3000")]);
        services.brokers = exported(&environment, "KAFKA_BOOTSTRAP_SERVERS");
        Some(services)
    }

    /// A cluster of this test's own, of the nodes `kafka-1`, `kafka-2` and `kafka-3`, beside the shared database.
    pub fn cluster() -> Option<Self> {
        let mut services = Self::shared()?.with_own_folder();
        services.brokers = exported(&services.run(&["start", "cluster"]), "KAFKA_BOOTSTRAP_SERVERS");
        Some(services)
    }

    fn with_own_folder(mut self) -> Self {
        self.private = Some(tempfile::tempdir().unwrap());
        self
    }

    pub fn kill(&self, service: &str) {
        self.run(&["kill", service]);
    }

    /// Hangs it: it keeps what comes to it, and answers nothing.
    pub fn pause(&self, service: &str) {
        self.run(&["pause", service]);
    }

    pub fn resume(&self, service: &str) {
        self.run(&["resume", service]);
    }

    pub fn restart(&self, service: &str) {
        self.run(&["restart", service]);
    }

    /// Waits until every node of the cluster has all that was acknowledged, so that any of them may go.
    pub async fn in_sync(&self) {
        const NODES: usize = 3;
        let mut config = ClientConfig::new();
        let client: BaseConsumer = config.set("bootstrap.servers", &self.brokers).create().unwrap();
        eventually("all nodes are in sync", Duration::from_secs(60), async || {
            let metadata = client.fetch_metadata(None, Duration::from_secs(10)).ok()?;
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            partitions.all(|partition| partition.isr().len() == NODES).then_some(())
        })
        .await;
    }

    fn run(&self, arguments: &[&str]) -> String {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let folder = self.private.as_ref().expect("services of one's own").path();
        let mut command = Command::new(script());
        command.args(arguments).env("BALCONY_SERVICES", folder).envs(environment.iter().copied());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// An installation of a test's own: an empty database, and a namespace.
    pub async fn installation(&self) -> Installed {
        let namespace = format!("t{}", &Uuid::now_v7().simple().to_string()[..31]);
        let database = self.new_database().await.with(OnBroker::marked(&self.brokers, namespace.as_str()));
        let settings = vec![
            ("KAFKA_BOOTSTRAP_SERVERS", self.brokers.clone()),
            ("DATABASE_URL", database.url().unwrap().to_owned()),
            ("NAMESPACE", namespace.clone()),
            ("JWT_SECRET", "a secret for tests, of 32 bytes or more".to_owned()),
        ];
        Installed { settings, namespace, database }
    }

    /// Makes an empty database, which goes when what is given is dropped.
    pub async fn new_database(&self) -> Scratch {
        Scratch::postgres_at(&self.database_url).await.unwrap()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if let Some(folder) = &self.private {
            let stopped = Command::new(script()).arg("stop").env("BALCONY_SERVICES", folder.path()).output();
            if !stopped.is_ok_and(|output| output.status.success()) {
                eprintln!("the services in {} could not be stopped", folder.path().display());
            }
        }
    }
}

/// What starts and stops them, in the repository that this is compiled in.
fn script() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut scripts = package.ancestors().map(|folder| folder.join("tests/services"));
    scripts.find(|script| script.is_file()).expect("the repository has tests/services")
}

/// The value that `environment` gives to `name`.
fn exported(environment: &str, name: &str) -> String {
    let line = environment.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
    line.unwrap_or_else(|| panic!("{name} in {environment}")).trim_matches(['\'', '"']).to_owned()
}
