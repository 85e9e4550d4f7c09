//! Starts the program, and asks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::kafka::KafkaLog;
use balcony_event_log::testing::eventually;
use balcony_event_log::{EventLog, Excerpt, Topic};
use balcony_store::Scratch;
use balcony_test_support::{Installed, Services};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::whole::Whole;

const PATIENCE: Duration = Duration::from_secs(120);
const KINDS: [&str; 4] = ["view", "cart", "remove_from_cart", "purchase"];

/// An installation of its own.
pub struct Shop {
    folder: TempDir,
    file: Option<PathBuf>,
    settings: Vec<(&'static str, String)>,
    brokers: Option<String>,
    namespace: String,
    _database: Option<Scratch>,
}

/// The program, while it runs. Killed when dropped.
pub struct Running {
    child: Child,
    stderr: PathBuf,
    url: String,
    http: reqwest::Client,
}

impl Shop {
    pub fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = vec![("DATA_DIR", folder.path().join("data").display().to_string())];
        Self { folder, file: None, settings, brokers: None, namespace: "shopbehaviour".to_owned(), _database: None }
    }

    pub async fn distributed(services: &Services) -> Self {
        let Installed { settings, namespace, database } = services.installation().await;
        let mut shop = Self { namespace, ..Self::embedded() };
        shop.settings.extend(settings);
        Self { brokers: Some(services.brokers.clone()), _database: Some(database), ..shop }
    }

    pub fn is_embedded(&self) -> bool {
        self.brokers.is_none()
    }

    /// Gives it a file of its own.
    pub fn file(&mut self, text: &[u8]) {
        let path = self.folder.path().join("shop.csv");
        std::fs::write(&path, text).unwrap();
        self.file = Some(path);
    }

    /// The program with this installation's settings and nothing else of the environment that would be one.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop-behaviour"));
        for name in ["DATA_DIR", "DATABASE_URL", "JWT_SECRET", "KAFKA_BOOTSTRAP_SERVERS", "NAMESPACE", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.args(arguments).env("LISTEN", "127.0.0.1:0").env("RATE_LIMIT", "off").stdin(Stdio::null());
        command.envs(self.settings.iter().map(|(name, value)| (*name, value)));
        if let Some(file) = &self.file {
            command.arg("--file").arg(file);
        }
        command
    }

    /// Starts the program, and waits until it is ready.
    pub async fn start(&self, arguments: &[&str]) -> Running {
        let mut running = self.spawn(arguments);
        running.url = running.ready().await;
        running
    }

    /// Starts the program.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        let stderr = self.folder.path().join(format!("{}.log", Uuid::now_v7().simple()));
        let child =
            self.command(arguments).stdout(Stdio::null()).stderr(File::create(&stderr).unwrap()).spawn().unwrap();
        Running { child, stderr, url: String::new(), http: reqwest::Client::new() }
    }

    /// Waits until so many rows are in the log, and gives how many there are.
    pub async fn appended(&self, enough: u64) -> u64 {
        let log = eventually("there is a log", PATIENCE, async || self.log_beside().await).await;
        let topics = [self.topic("actions")];
        eventually("enough is appended", PATIENCE, async || {
            let appended = u64::try_from(log.ends(&topics).await.ok()?.sum()).unwrap();
            (appended >= enough).then_some(appended)
        })
        .await
    }

    fn topic(&self, short: &str) -> Arc<str> {
        format!("{}.{short}", self.namespace).into()
    }

    /// The installation's log, read beside the program.
    async fn log_beside(&self) -> Option<Arc<dyn EventLog>> {
        let topics = ["actions", "refused"].map(|short| Topic {
            name: self.topic(short),
            partitions: 6,
            replication: 1,
            retention: None,
        });
        match &self.brokers {
            None => Some(Arc::new(EmbeddedLog::open_beside(&self.folder.path().join("data/log.db"), &topics).ok()?)),
            Some(brokers) => Some(Arc::new(KafkaLog::open_beside(brokers, &topics).await.ok()?)),
        }
    }

    /// How many records the topic has, and their ids.
    pub async fn in_log(&self, topic: &str) -> (usize, BTreeSet<Vec<u8>>) {
        let (log, wanted) = (self.log_beside().await.expect("a log"), [self.topic(topic)]);
        let records = Excerpt::whole(log.as_ref(), &wanted).await.unwrap().rest().await.unwrap();
        let ids = records.iter().map(|record| record.headers.get("ce_id").unwrap().to_vec()).collect();
        (records.len(), ids)
    }
}

impl Running {
    /// Waits until it is ready, and gives where.
    async fn ready(&mut self) -> String {
        eventually("the shop is ready", PATIENCE, async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status}: {}", self.log());
            }
            let log = self.log();
            let line: Value = serde_json::from_str(log.lines().find(|line| line.contains("\"listening\""))?).ok()?;
            let url = format!("http://{}", line["fields"]["address"].as_str()?);
            let answer = self.http.get(format!("{url}/readyz")).send().await.ok()?;
            answer.status().is_success().then_some(url)
        })
        .await
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Everything that is counted of a stream.
    pub async fn points(&self, stream: &str, query: &str) -> Vec<Value> {
        let (mut points, mut next) = (Vec::new(), String::new());
        loop {
            let url = format!("{}/v1/stats/{stream}?limit=100&{query}{next}", self.url);
            let page: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
            points.extend(page["items"].as_array().unwrap_or_else(|| panic!("{page}")).iter().cloned());
            match page["next_cursor"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => return points,
            }
        }
    }

    async fn count(&self) -> u64 {
        self.points("prices", "window=1d").await.iter().map(|point| point["count"].as_u64().unwrap()).sum()
    }

    /// Waits until so many rows are counted, and gives how many there are.
    pub async fn counted(&self, enough: u64) -> u64 {
        eventually("enough is counted", PATIENCE, async || Some(self.count().await).filter(|count| *count >= enough))
            .await
    }

    /// Waits until it has come to the file's end.
    pub async fn published(&self) {
        let end = "the file is published";
        eventually(end, PATIENCE, async || self.log().contains(end).then_some(())).await;
    }

    pub async fn page(&self) -> String {
        self.http.get(&self.url).send().await.unwrap().text().await.unwrap()
    }

    /// Checks that the windows of every length come to what the file does.
    pub async fn assert_counts(&self, whole: &Whole) {
        let cents = |value: &Value| (value.as_f64().unwrap() * 100.0).round() as i64;
        for window in ["1m", "1h", "1d"] {
            let points = self.points("prices", &format!("window={window}")).await;
            let count: u64 = points.iter().map(|point| point["count"].as_u64().unwrap()).sum();
            let sum: i64 = points.iter().map(|point| cents(&point["sum"])).sum();
            let least = points.iter().map(|point| cents(&point["min"])).min().unwrap();
            let most = points.iter().map(|point| cents(&point["max"])).max().unwrap();
            assert_eq!((count, (sum, least, most)), (whole.rows, whole.prices), "{window}");
            let mut ranges = BTreeMap::new();
            for kind in KINDS {
                for point in self.points("ranges", &format!("window={window}&dimension={kind}")).await {
                    let range = point["value"].as_str().unwrap().to_owned();
                    *ranges.entry((kind.to_owned(), range)).or_default() += point["count"].as_u64().unwrap();
                }
            }
            assert_eq!(ranges, whole.ranges, "{window}");
        }
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end as an operator would, and waits until it has.
    pub fn terminate(mut self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success() && self.child.wait().unwrap().success(), "{}", self.log());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            log.lines().rev().take(10).for_each(|line| eprintln!("{line}"));
        }
    }
}
