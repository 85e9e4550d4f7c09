//! Kafka and PostgreSQL, which the tests are given or start for themselves.

use std::process::Command;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
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
        let brokers = std::env::var("KAFKA_BOOTSTRAP_SERVERS");
        let database_url = std::env::var("DATABASE_URL");
        if let (Ok(brokers), Ok(database_url)) = (brokers, database_url) {
            return Some(Self { brokers, database_url, private: None });
        }
        assert!(
            std::env::var_os("CI").is_none(),
            "KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL are missing: use tests/run"
        );
        println!("left out: KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL are not set; tests/run sets them");
        None
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

    /// Makes an empty database and gives its URL.
    pub async fn new_database(&self, name: &str) -> String {
        let mut connection = PgConnection::connect(&self.database_url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE t{name}"))).execute(&mut connection).await.unwrap();
        let (server, _) = self.database_url.rsplit_once('/').unwrap();
        format!("{server}/t{name}")
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
