//! A PostgreSQL server that one test has to itself.

use std::path::Path;
use std::process::Command;

use balcony_event_log::testing::service;
use balcony_store::{Scratch, sqlx};
use tempfile::TempDir;

pub(crate) struct PrivateServer {
    folder: TempDir,
    url: String,
}

impl PrivateServer {
    /// A server, where tests may have one: where the environment names another. Else the test is left out.
    pub(crate) async fn start() -> Option<Self> {
        service("DATABASE_URL")?;
        let mut server = Self { folder: tempfile::tempdir().unwrap(), url: String::new() };
        let environment = server.run(&["start", "postgres"]);
        let line = environment.lines().find_map(|line| line.strip_prefix("export DATABASE_URL="));
        server.url = line.unwrap().trim_matches(['\'', '"']).to_owned();
        Some(server)
    }

    /// An empty database on it.
    pub(crate) async fn database(&self) -> Scratch {
        Scratch::postgres_at(&self.url).await.unwrap()
    }

    /// What a crash takes back is what was committed in the last seconds, and not in the last moments.
    pub(crate) async fn write_late(&self) {
        self.execute("ALTER SYSTEM SET wal_writer_delay = '10s'").await;
        self.execute("ALTER SYSTEM SET wal_writer_flush_after = 0").await;
        self.execute("SELECT pg_reload_conf()").await;
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&self) {
        self.run(&["kill", "postgres"]);
    }

    pub(crate) fn restart(&self) {
        self.run(&["restart", "postgres"]);
    }

    /// Runs a statement by a user who may do anything.
    pub(crate) async fn execute(&self, sql: &'static str) {
        use sqlx::Connection as _;

        let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }

    fn run(&self, arguments: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/services");
        let run =
            || Command::new(&script).args(arguments).env("BALCONY_SERVICES", self.folder.path()).output().unwrap();
        let output = tokio::task::block_in_place(run);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.run(&["stop"]);
    }
}
