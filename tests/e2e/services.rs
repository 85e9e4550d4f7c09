//! Kafka and PostgreSQL, which the tests are given or start for themselves.

use std::process::Command;

use balcony_event_log::testing::service;
use balcony_store::Scratch;
use tempfile::TempDir;

use crate::deployment::root;

pub struct Services {
    pub brokers: String,
    pub database_url: String,
    /// Of those that a test has to itself.
    private: Option<TempDir>,
}

impl Services {
    /// Those that the environment names. Without them the test is left out, unless `CI` is set.
    pub fn shared() -> Option<Self> {
        let (brokers, database_url) = (service("KAFKA_BOOTSTRAP_SERVERS")?, service("DATABASE_URL")?);
        Some(Self { brokers, database_url, private: None })
    }

    /// A broker and a database of this test's own, to be killed and started again.
    pub fn private() -> Option<Self> {
        Self::shared()?;
        let folder = tempfile::tempdir().unwrap();
        let mut services = Self { brokers: String::new(), database_url: String::new(), private: Some(folder) };
        let environment = services.run(&["start", "kafka", "postgres"]);
        let value = |name: &str| {
            let line = environment.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
            line.unwrap_or_else(|| panic!("{name} in {environment}")).trim_matches(['\'', '"']).to_owned()
        };
        services.brokers = value("KAFKA_BOOTSTRAP_SERVERS");
        services.database_url = value("DATABASE_URL");
        Some(services)
    }

    pub fn kill(&self, service: &str) {
        self.run(&["kill", service]);
    }

    pub fn restart(&self, service: &str) {
        self.run(&["restart", service]);
    }

    fn run(&self, arguments: &[&str]) -> String {
        let folder = self.private.as_ref().expect("services of one's own").path();
        let output = Command::new(root().join("tests/services"))
            .args(arguments)
            .env("BALCONY_SERVICES", folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes an empty database, which goes when what is given is dropped.
    pub async fn new_database(&self) -> Scratch {
        Scratch::postgres_at(&self.database_url).await.unwrap()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if let Some(folder) = &self.private {
            let stopped =
                Command::new(root().join("tests/services")).arg("stop").env("BALCONY_SERVICES", folder.path()).output();
            if !stopped.is_ok_and(|output| output.status.success()) {
                eprintln!("the services in {} could not be stopped", folder.path().display());
            }
        }
    }
}
