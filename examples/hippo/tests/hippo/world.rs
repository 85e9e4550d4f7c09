//! A hippo of one's own: a folder with its configuration, and an installation.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use balcony_event_log::testing::eventually;
use balcony_store::Scratch;
use balcony_test_support::{Installed, Services};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A hippo that may run.
pub struct Hippo {
    pub folder: TempDir,
    settings: Vec<(&'static str, String)>,
    child: Option<Child>,
    /// A process that somebody else has started.
    adopted: Option<String>,
    /// Goes after the process.
    _database: Option<Scratch>,
}

impl Hippo {
    /// An embedded one with this configuration, beside the demo's commands. It does not run yet.
    pub fn embedded(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&package().join("demo"), &folder.path().join("demo"));
        fs::write(folder.path().join("hippo.toml"), config).unwrap();
        let data_dir = folder.path().join("data").display().to_string();
        let settings = vec![("DATA_DIR", data_dir), ("LISTEN", "127.0.0.1:0".to_owned())];
        Self { folder, settings, child: None, adopted: None, _database: None }
    }

    /// The same on Kafka and PostgreSQL. `None` without them.
    pub async fn distributed(config: &str) -> Option<Self> {
        let Installed { settings, database, .. } = Services::shared()?.installation().await;
        let mut hippo = Self::embedded(config);
        hippo.settings.extend(settings);
        hippo.settings.push(("KAFKA_PARTITIONS", "3".to_owned()));
        hippo._database = Some(database);
        Some(hippo)
    }

    /// Both that there are.
    pub async fn everywhere(config: &str) -> Vec<Self> {
        [Some(Self::embedded(config)), Self::distributed(config).await].into_iter().flatten().collect()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// The program with these arguments and the settings of this hippo alone.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hippo"));
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        command.envs(["PATH", "HOME"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Where it listens, once it says so.
    pub async fn url(&self) -> String {
        self.eventually("it listens", || {
            let log = self.read("stderr");
            let (_, address) = log.rsplit_once("\"address\":\"")?;
            Some(format!("http://{}", address.split_once('"')?.0))
        })
        .await
    }

    /// What it answers, with a token of this role or none.
    pub async fn ask(&self, path: &str, role: Option<&str>) -> (u16, String) {
        let mut request = reqwest::Client::new().get(format!("{}{path}", self.url().await));
        if let Some(role) = role {
            let token = self.run(&["token", "--user", "Mia", "--role", role]);
            request = request.bearer_auth(String::from_utf8(token.stdout).unwrap().trim());
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("stderr")).unwrap();
        self.child = Some(self.command(&[]).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// What it answers once it knows.
    pub async fn served(&self, path: &str) -> String {
        eventually(path, PATIENCE, async || {
            let (status, answer) = self.ask(path, None).await;
            (status == 200).then_some(answer)
        })
        .await
    }

    /// The Kafka that it is on.
    pub fn brokers(&self) -> Option<String> {
        self.settings.iter().find(|(name, _)| *name == "KAFKA_BOOTSTRAP_SERVERS").map(|(_, brokers)| brokers.clone())
    }

    /// Ends this process of another's with the hippo.
    pub fn adopt(&mut self, process: &str) {
        self.adopted = Some(process.to_owned());
    }

    /// Ends it with -9.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Tells it to end, and waits until it has.
    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        assert!(child.wait().unwrap().success(), "{}", self.read("stderr"));
    }

    /// The data of every message of a topic, in the order of the log.
    pub fn messages(&self, topic: &str) -> Vec<Value> {
        let exported = self.run(&["export"]);
        let lines = String::from_utf8(exported.stdout).unwrap();
        let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let is_of = |event: &Value| event["hippoposition"].as_str().unwrap().starts_with(&format!("{topic}/"));
        events.filter(is_of).map(|event| event["data"].clone()).collect()
    }

    /// The ends of a step's jobs.
    pub fn finishes(&self, step: &str) -> Vec<Value> {
        let mut finishes = self.messages("hippo-finish");
        finishes.retain(|finish| finish["hippo_name"] == step);
        finishes
    }

    /// What a step's jobs have printed, sorted.
    pub fn printed(&self, step: &str) -> Vec<String> {
        let outputs = self.messages("hippo-output").into_iter().filter(|output| output["step"] == step);
        let mut printed: Vec<_> = outputs.map(|output| output["stdout"].as_str().unwrap().to_owned()).collect();
        printed.sort();
        printed
    }

    /// Waits until a step has ended so many jobs, and gives their ends.
    pub async fn finished(&self, step: &str, many: usize) -> Vec<Value> {
        self.eventually(&format!("{many} jobs of {step}"), || {
            Some(self.finishes(step)).filter(|finishes| finishes.len() >= many)
        })
        .await
    }

    /// Waits for what `ask` gives.
    pub async fn eventually<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        eventually(what, PATIENCE, async || ask()).await
    }
}

impl Drop for Hippo {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(process) = &self.adopted {
            let _ = Command::new("kill").args(["-9", process]).status();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.read("stderr"));
        }
    }
}

/// Whether a process of this number is there, and is more than what its parent has not buried.
pub fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The folder of this package.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).map(drop).unwrap()
        }
    }
}
