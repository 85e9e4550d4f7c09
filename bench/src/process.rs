//! Starts the servers that are measured, each in a process of its own, and ends them.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;

use crate::exchange::{Connection, request};

/// Where the log and the read models are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deployment {
    /// In SQLite.
    Embedded,
    /// In Kafka and PostgreSQL.
    Distributed,
}

impl Deployment {
    /// What tables call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Distributed => "Kafka and PostgreSQL",
        }
    }
}

/// A running server. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    log: PathBuf,
}

/// What a program is started with beside its arguments.
pub(crate) type Settings = Vec<(&'static str, String)>;

/// Settings of Balcony's that the environment of this program may hold.
const FOREIGN: &[&str] = &[
    "DATA_DIR",
    "KAFKA_BOOTSTRAP_SERVERS",
    "DATABASE_URL",
    "KAFKA_TOPIC_PREFIX",
    "JWT_SECRET",
    "RUST_LOG",
    "JWKS_URL",
];
const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
/// How often another port is tried when somebody takes the free one first.
const PORTS: usize = 3;

impl Process {
    /// Starts `program` and waits until it is ready. What it says goes into a file in `folder`.
    pub(crate) async fn start(
        program: &Path,
        arguments: &[&str],
        settings: &Settings,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        Self::start_configured(program, arguments, settings, folder, "/readyz", |_| Ok(())).await
    }

    /// The same of a program that is told its address by `configure`, and is ready when it answers at the path `ready`.
    pub(crate) async fn start_configured(
        program: &Path,
        arguments: &[&str],
        settings: &Settings,
        folder: &Path,
        ready: &str,
        configure: impl Fn(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let mut last = None;
        for _ in 0..PORTS {
            let address = free_address()?;
            configure(&address)?;
            match Self::try_start(program, arguments, settings, folder, address, ready).await {
                Ok(process) => return Ok(process),
                Err(error) => last = Some(error),
            }
        }
        let error = last.context("no port was tried")?;
        Err(error.context(format!("starting {} {}", program.display(), arguments.join(" "))))
    }

    async fn try_start(
        program: &Path,
        arguments: &[&str],
        settings: &Settings,
        folder: &Path,
        address: String,
        ready: &str,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{}.log", address.replace(':', "-")));
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        for name in FOREIGN {
            command.env_remove(name);
        }
        let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
        let child = command.envs(settings).env("LISTEN", &address).spawn()?;
        let mut process = Self { child, address, log };
        process.wait_until_ready(ready).await?;
        Ok(process)
    }

    async fn wait_until_ready(&mut self, ready: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        let question = request("GET", ready, "", "");
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}: {}", self.last_words());
            }
            if let Ok(mut connection) = Connection::open(&self.address).await
                && connection.exchange(&question).await.is_ok_and(|answer| answer.status == 200)
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "it is not ready: {}", self.last_words());
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to end as an operator would, and waits until it has.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let told = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        ensure!(told.success(), "a server could not be told to end");
        let deadline = Instant::now() + STOP_PATIENCE;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "a server does not end: {}", self.last_words());
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
