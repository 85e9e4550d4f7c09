//! The program from outside: files that are rotated, truncated and badly written while it is killed with -9.
//!
//! On Kafka and PostgreSQL, too, where `KAFKA_BOOTSTRAP_SERVERS` and `DATABASE_URL` name them; with `CI` set they have to.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::embedded::EmbeddedLog;
use balcony_event_log::kafka::KafkaLog;
use balcony_event_log::testing::eventually;
use balcony_event_log::{EventLog, Excerpt, Record, Topic};
use balcony_store::Scratch;
use balcony_test_support::{Installed, Running, Services};
use serde_json::Value as Json;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);
const TOPICS: [&str; 4] = ["orders", "orders-cash", "orders-credit", "orders-debit"];

/// An installation of its own, and the file that it collects.
struct Installation {
    folder: TempDir,
    settings: Vec<(&'static str, String)>,
    namespace: String,
    brokers: Option<String>,
    _database: Option<Scratch>,
}

impl Installation {
    fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, settings: Vec::new(), namespace: "coffeeorders".to_owned(), brokers: None, _database: None }
    }

    async fn distributed(services: &Services) -> Self {
        let Installed { settings, namespace, database } = services.installation().await;
        let (brokers, database) = (Some(services.brokers.clone()), Some(database));
        Self { settings, namespace, brokers, _database: database, ..Self::embedded() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("orders.jsonl")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coffee-orders"));
        command.args(arguments).current_dir(self.folder.path()).env_clear().stdout(Stdio::null());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        let log = OpenOptions::new().create(true).append(true).open(self.folder.path().join("stderr")).unwrap();
        command.stderr(log);
        command
    }

    fn collect(&self, more: &[&str]) -> Running {
        Running(
            self.command(&[&["collect", "--file", "orders.jsonl", "--host", "here"], more].concat()).spawn().unwrap(),
        )
    }

    /// Appends generated orders to the file, and gives them.
    fn generate(&self, seed: u32, lines: u32) -> Vec<String> {
        let generated = self.folder.path().join("generated");
        let (seed, lines) = (seed.to_string(), lines.to_string());
        let arguments = ["generate", "--file", "generated", "--rate", "1000000", "--seed", &seed, "--lines", &lines];
        assert!(self.command(&arguments).status().unwrap().success());
        let text = fs::read_to_string(&generated).unwrap();
        fs::remove_file(&generated).unwrap();
        self.write(&text);
        text.lines().map(str::to_owned).collect()
    }

    fn write(&self, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.file()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    async fn log(&self) -> Option<Arc<dyn EventLog>> {
        let name = |short: &str| format!("{}.{short}", self.namespace).into();
        let topics = TOPICS.map(|short| Topic { name: name(short), partitions: 6, replication: 1, retention: None });
        Some(match &self.brokers {
            Some(brokers) => Arc::new(KafkaLog::open_beside(brokers, &topics).await.ok()?),
            None => {
                let file = self.folder.path().join("coffee-orders-data/log.db");
                Arc::new(EmbeddedLog::open_beside(&file, &topics).ok()?)
            }
        })
    }

    /// All that is in the log.
    async fn records(&self) -> Option<Vec<Record>> {
        let log = self.log().await?;
        let topics: Vec<Arc<str>> = log.topics().iter().map(|topic| topic.name.clone()).collect();
        Excerpt::whole(log.as_ref(), &topics).await.ok()?.rest().await.ok()
    }

    /// Waits until so many lines are in the log.
    async fn until_there_are(&self, lines: usize) {
        let there = async || self.records().await.filter(|records| records.len() >= lines).map(drop);
        eventually(&format!("{lines} lines in the log"), PATIENCE, there).await;
    }

    /// Serves and gives what was counted of each value of a series, once `orders` were counted.
    async fn counted(&self, orders: i64) -> BTreeMap<String, i64> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let _serving =
            Running(self.command(&["serve"]).env("LISTEN", &address).env("RATE_LIMIT", "off").spawn().unwrap());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let series = async |stream: &str, dimension: &str, window: &str| {
            let url = format!("http://{address}/v1/stats/{stream}?dimension={dimension}&window={window}&limit=100");
            let text = client.get(&url).send().await.ok()?.error_for_status().ok()?.text().await.ok()?;
            let page: Json = serde_json::from_str(&text).unwrap();
            let mut counts = BTreeMap::new();
            for item in page["items"].as_array().unwrap() {
                *counts.entry(item["value"].as_str().unwrap().to_owned()).or_insert(0) +=
                    item["count"].as_i64().unwrap();
            }
            Some(counts)
        };
        let by_payment = async || {
            let counts = series("orders", "payment-method", "1d").await?;
            (counts.values().sum::<i64>() >= orders).then_some(counts)
        };
        let mut counts = eventually("all orders are counted", PATIENCE, by_payment).await;
        let in_seconds = series("orders", "payment-method", "10s").await.unwrap();
        assert_eq!(in_seconds, counts, "the windows of ten seconds are those of the day");
        counts.extend(series("orders", "age-grade", "1d").await.unwrap());
        counts.extend(series("coffees", "type", "1d").await.unwrap());
        counts
    }
}

/// What a plain loop over the lines counts.
fn fold<'a>(lines: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for line in lines {
        let order: Json = serde_json::from_str(line).unwrap();
        let coffees = order["orders"].as_array().unwrap().iter();
        for value in coffees.chain([&order["customerAgeGrade"], &order["paymentMethod"]]) {
            *counts.entry(value.as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    counts
}

fn texts(records: &[Record]) -> Vec<String> {
    let mut texts: Vec<String> =
        records.iter().map(|record| String::from_utf8(record.payload.clone()).unwrap()).collect();
    texts.sort_unstable();
    texts
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_unstable();
    lines
}

fn header<'a>(record: &'a Record, name: &str) -> &'a str {
    std::str::from_utf8(record.headers.get(name).unwrap()).unwrap()
}

fn move_away(file: &Path, ending: &str) {
    fs::rename(file, format!("{}.{ending}", file.display())).unwrap();
}

/// Each line stands in the log once, whatever happens to file and collector.
async fn each_line_once(here: Installation) {
    let mut orders = here.generate(1, 2_000);
    let collector = here.collect(&[]);
    here.until_there_are(1).await;
    drop(collector);

    // Killed again and again in the middle, while lines come.
    for seed in 2..5 {
        let before = here.records().await.unwrap().len();
        orders.extend(here.generate(seed, 1_000));
        let _collector = here.collect(&[]);
        here.until_there_are(before + 1).await;
    }

    // An invalid line, and one that is not finished.
    let (half, other_half) = (r#"{"customerAgeGrade":"1020","paymentMethod":"Cash","#, r#""orders":["Latte"]}"#);
    here.write("this is no order\n");
    here.write(half);
    let collector = here.collect(&[]);
    here.until_there_are(orders.len() + 1).await;
    here.write(&format!("{other_half}\n"));
    here.until_there_are(orders.len() + 2).await;
    orders.push(format!("{half}{other_half}"));

    // Moved away while it is read, and the last line has no end.
    here.write(r#"{"customerAgeGrade":"9999","paymentMethod":"Debit","orders":["Mocha"]}"#);
    orders.push(r#"{"customerAgeGrade":"9999","paymentMethod":"Debit","orders":["Mocha"]}"#.to_owned());
    move_away(&here.file(), "1");
    orders.extend(here.generate(5, 500));
    here.until_there_are(orders.len() + 1).await;
    drop(collector);

    // Moved away twice while nobody reads, after lines that nobody has read.
    orders.extend(here.generate(6, 300));
    move_away(&here.file(), "2");
    orders.extend(here.generate(7, 300));
    move_away(&here.file(), "3");
    orders.extend(here.generate(8, 300));
    let collector = here.collect(&[]);
    here.until_there_are(orders.len() + 1).await;

    // Truncated in place while it is read, and while nobody reads.
    fs::File::create(here.file()).unwrap();
    orders.extend(here.generate(9, 400));
    here.until_there_are(orders.len() + 1).await;
    drop(collector);
    fs::File::create(here.file()).unwrap();
    orders.extend(here.generate(10, 700));
    let collector = here.collect(&[]);
    here.until_there_are(orders.len() + 1).await;
    drop(collector);

    // One that begins again has nothing to do.
    let collector = here.collect(&[]);
    orders.extend(here.generate(11, 1));
    here.until_there_are(orders.len() + 1).await;
    drop(collector);

    let records = here.records().await.unwrap();
    let mut lines = orders.clone();
    lines.push("this is no order".to_owned());
    assert!(texts(&records) == sorted(lines), "{} records of {} lines", records.len(), orders.len() + 1);
    let ids: HashSet<&str> = records.iter().map(|record| header(record, "ce_id")).collect();
    assert_eq!(ids.len(), records.len());
    assert!(records.iter().all(|record| header(record, "ce_host") == "here"));

    assert_eq!(here.counted(orders.len().try_into().unwrap()).await, fold(&orders));
    let parked = String::from_utf8(here.command(&["parked", "list"]).stdout(Stdio::piped()).output().unwrap().stdout);
    let parked = parked.unwrap();
    assert!(parked.contains("orders.jsonl, line 5001"), "the line is named: {parked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_collected_once_embedded() {
    each_line_once(Installation::embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_collected_once_on_kafka_and_postgresql() {
    let Some(services) = Services::shared() else { return };
    each_line_once(Installation::distributed(&services).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_wait_while_the_log_is_away_and_are_counted_once() {
    let Some(services) = Services::private() else { return };
    let here = Installation::distributed(&services).await;
    let mut orders = here.generate(1, 500);
    let _collector = here.collect(&["--route", "paymentMethod"]);
    here.until_there_are(500).await;

    let times_said = || {
        let said = fs::read_to_string(here.folder.path().join("stderr")).unwrap();
        said.matches("messages wait").count()
    };
    let messages_wait = async |before: usize| {
        let said = async || (times_said() > before).then_some(());
        eventually("the collector says that messages wait", PATIENCE, said).await;
    };

    // A broker that hangs takes what it does not answer for. So many lines that another round over the partitions would
    // begin elsewhere.
    services.pause("kafka");
    orders.extend(here.generate(2, 301));
    messages_wait(0).await;
    services.resume("kafka");
    here.until_there_are(orders.len()).await;

    let before = times_said();
    services.kill("kafka");
    orders.extend(here.generate(3, 1_000));
    move_away(&here.file(), "1");
    orders.extend(here.generate(4, 1_000));
    messages_wait(before).await;
    services.restart("kafka");
    here.until_there_are(orders.len()).await;

    assert_eq!(here.counted(orders.len().try_into().unwrap()).await, fold(&orders));
    // The log may not have confirmed what it took: such a line stands there again, under its id.
    let by_id: BTreeMap<String, (String, String)> = here
        .records()
        .await
        .unwrap()
        .iter()
        .map(|record| {
            let text = String::from_utf8(record.payload.clone()).unwrap();
            (header(record, "ce_id").to_owned(), (text, record.partition.topic.to_string()))
        })
        .collect();
    assert!(sorted(by_id.values().map(|(text, _)| text.clone()).collect()) == sorted(orders));
    for (text, topic) in by_id.values() {
        let order: Json = serde_json::from_str(text).unwrap();
        let method = order["paymentMethod"].as_str().unwrap().to_ascii_lowercase();
        assert!(topic.ends_with(&format!(".orders-{method}")), "{topic}: {text}");
    }
}
