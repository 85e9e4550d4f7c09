//! The program from outside: killed with -9 again and again, it counts every word once.
//!
//! On Kafka and PostgreSQL, too, where `KAFKA_BOOTSTRAP_SERVERS` and `DATABASE_URL` name them; with `CI` set they have to.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use balcony_event_log::testing::eventually;
use balcony_test_support::{Installed, Running, Services};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);
const TEXTS: [&str; 4] = [
    "To be, or not to be: that is the question",
    "The films of Kurosawa are about the Kurosawa in all of us",
    "映画を見た。とても面白い映画だった。",
    "Café au lait and a CAFE 🎬",
];

/// An installation of its own.
struct Installation {
    folder: TempDir,
    settings: Vec<(&'static str, String)>,
}

impl Installation {
    fn new(settings: Vec<(&'static str, String)>) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), settings }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_word-count"));
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    fn start(&self) -> Running {
        Running(
            self.command(&[]).env("LISTEN", "127.0.0.1:0").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
        )
    }

    /// What a command prints; `None` when it fails.
    fn ask(&self, arguments: &[&str]) -> Option<String> {
        let output = self.command(arguments).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    fn counts(&self) -> Option<BTreeMap<String, u64>> {
        let of = |line: &str| {
            let (times, word) = line.trim().split_once("  ").unwrap();
            (word.to_owned(), times.parse().unwrap())
        };
        Some(self.ask(&["top", "1000000"])?.lines().map(of).collect())
    }

    /// Whether both steps have come to the end of what they read. The doctor also tells of the workers that were killed.
    fn is_done(&self) -> bool {
        let said = String::from_utf8(self.command(&["doctor"]).output().unwrap().stdout).unwrap();
        let lag = |line: &str| line.split_whitespace().nth(4).map(str::to_owned);
        let lags: Vec<_> = said.lines().skip(1).take_while(|line| !line.is_empty()).map(lag).collect();
        lags.len() == 2 && lags.iter().all(|lag| lag.as_deref() == Some("0"))
    }
}

async fn check(installation: Installation) {
    let file = installation.folder.path().join("comments.txt");
    let texts: String = TEXTS.iter().cycle().take(6_000).enumerate().map(|(n, text)| format!("{text} {n}\n")).collect();
    std::fs::write(&file, &texts).unwrap();
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for word in texts.lines().flat_map(balcony_search::words) {
        *expected.entry(word).or_default() += 1;
    }
    let all: u64 = expected.values().sum();

    installation.ask(&["add", "comments.txt"]).expect("the lines are added");
    let counted = || installation.counts().map(|counts| counts.values().sum::<u64>());
    let mut before = 0;
    for _ in 0..3 {
        let running = installation.start();
        let further = async || counted().filter(|counted| *counted > before);
        before = eventually("more words are counted", PATIENCE, further).await;
        drop(running);
    }
    assert!(before < all, "it was done before it was killed: more lines are wanted");

    installation.ask(&["add", "comments.txt"]).or_else(|| installation.ask(&["add", "comments.txt"])).unwrap();
    let _running = installation.start();
    let whole = async || (counted() >= Some(all) && installation.is_done()).then_some(());
    eventually("every word is counted", PATIENCE, whole).await;
    assert_eq!(installation.counts().unwrap(), expected);
}

#[tokio::test]
async fn every_word_is_counted_once_embedded() {
    check(Installation::new(Vec::new())).await;
}

#[tokio::test]
async fn every_word_is_counted_once_on_kafka_and_postgresql() {
    let Some(services) = Services::shared() else { return };
    let Installed { settings, database, .. } = services.installation().await;
    check(Installation::new(settings)).await;
    drop(database);
}
