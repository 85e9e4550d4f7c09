//! What `hippo.toml` says, and everything that is wrong with it.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use balcony_projector::{Taken, Topics};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::Spanned;

/// Where the ends of all steps are published.
pub(crate) const FINISH: &str = "hippo-finish";
/// Where what commands have printed is kept.
pub(crate) const OUTPUT: &str = "hippo-output";
/// Where the tractor puts what is to be done again.
pub(crate) const HAUL: &str = "hippo-haul";
/// Topics that only hippo itself writes to.
const OWN: [&str; 3] = [FINISH, OUTPUT, HAUL];
/// Names of hippo's own read models.
const RESERVED: [&str; 4] = ["jobs", "tags", "taken", "tractor"];
/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// A configuration that was checked whole.
#[derive(Debug)]
pub(crate) struct Config {
    /// What messages start.
    pub(crate) steps: Vec<Step>,
    /// What announces new data.
    pub(crate) frontiers: Vec<Frontier>,
    /// Topics of other programs.
    pub(crate) sources: Vec<Source>,
    /// What the gateway puts together.
    pub(crate) gateway: Option<Gateway>,
    /// The file's folder, from which relative paths begin.
    pub(crate) folder: PathBuf,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    step: Vec<Spanned<Step>>,
    #[serde(default)]
    frontier: Vec<Spanned<Frontier>>,
    #[serde(default)]
    source: Vec<Spanned<Source>>,
    gateway: Option<Spanned<Gateway>>,
}

/// A command that messages start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// Its name.
    pub(crate) name: String,
    /// The topics whose messages start it.
    pub(crate) subscribe: Vec<String>,
    /// Where what it prints is published.
    pub(crate) publish: Option<String>,
    /// The command and its arguments.
    pub(crate) command: Vec<String>,
    /// How long it may take: seconds, or with a unit (`90s`, `15m`, `2h`).
    #[serde(default = "ten_minutes", deserialize_with = "duration")]
    pub(crate) timeout: Duration,
    /// How many may run at once.
    #[serde(default = "one")]
    pub(crate) concurrency: usize,
    /// Only messages of these CloudEvent types start it; all when it is empty.
    #[serde(default)]
    pub(crate) types: Vec<String>,
    /// Where the service is that the command works with, if there is one.
    pub(crate) host: Option<String>,
    /// Its port.
    pub(crate) port: Option<u16>,
}

/// What announces new files of a folder, or new rows of a table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Frontier {
    /// Its name.
    pub(crate) name: String,
    /// The folder.
    pub(crate) directory: Option<PathBuf>,
    /// The table.
    pub(crate) table: Option<String>,
    /// A file of SQLite, or a URL of PostgreSQL, that has the table.
    pub(crate) database: Option<String>,
    /// A column of the table that grows with each row.
    #[serde(default = "id")]
    pub(crate) column: String,
    /// Where it announces.
    #[serde(default = "announced")]
    pub(crate) publish: String,
}

/// A topic of another program. Its records are copied to a topic of that name here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    /// The topic's full name there.
    pub(crate) topic: String,
    /// The data folder of the program, when it is embedded. Without it the topic is on this installation's Kafka.
    pub(crate) data_dir: Option<PathBuf>,
    /// Only records of these CloudEvent types; all when it is empty.
    #[serde(default)]
    pub(crate) types: Vec<String>,
}

/// What the gateway puts together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    /// Where Balcony's query API is.
    pub(crate) balcony: String,
    /// The topic that has the tags of its comments.
    pub(crate) tags: String,
}

/// What is wrong, by line.
struct Wrong<'f> {
    text: &'f str,
    lines: Vec<(usize, String)>,
}

impl Config {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// When something is wrong with it: all of it is said on standard error, each on a line with the file and the line.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let read =
            || std::io::Result::Ok((path.metadata()?.len(), std::fs::read_to_string(path)?, path.canonicalize()?));
        let (size, text, whole) = read().with_context(|| format!("--config: {shown} cannot be read"))?;
        ensure!(size <= LARGEST, "--config: {shown} has more than {LARGEST} bytes");
        let mut wrong = Wrong { text: &text, lines: Vec::new() };
        let parsed = toml::from_str::<File>(&text);
        let config = parsed.map(|file| {
            let config = Self {
                steps: plain(&file.step),
                frontiers: plain(&file.frontier),
                sources: plain(&file.source),
                gateway: file.gateway.as_ref().map(|gateway| gateway.get_ref().clone()),
                folder: whole.parent().unwrap_or(&whole).to_owned(),
            };
            config.check(&file, &mut wrong);
            config
        });
        if let Err(error) = &config {
            wrong.say(error.span().map_or(0, |span| span.start), "", error.message().replace('\n', " "));
        }
        wrong.lines.sort();
        for (line, what) in &wrong.lines {
            writeln!(std::io::stderr(), "{shown}:{line}: {what}")?;
        }
        ensure!(wrong.lines.is_empty(), "--config: {shown} cannot be used, for what is said above");
        Ok(config?)
    }

    /// The step called `name`.
    pub(crate) fn step(&self, name: &str) -> anyhow::Result<&Step> {
        let found = self.steps.iter().find(|step| step.name == name);
        found.with_context(|| format!("--step: there is no step called {name:?}"))
    }

    /// Remembers what frontiers and sources have taken in.
    pub(crate) fn taken(&self, topics: &Topics) -> Taken {
        Taken::new(self.filled().map(|topic| topics.get(topic).clone()))
    }

    /// The topics that frontiers and sources fill.
    pub(crate) fn filled(&self) -> impl Iterator<Item = &str> {
        let frontiers = self.frontiers.iter().map(|frontier| frontier.publish.as_str());
        frontiers.chain(self.sources.iter().map(|source| source.topic.as_str()))
    }

    /// Every topic, once, in one order whatever the file's is.
    pub(crate) fn topics(&self) -> Vec<&str> {
        let steps = self.steps.iter().filter_map(|step| step.publish.as_deref());
        let mut topics: Vec<&str> = self.filled().chain(steps).chain(OWN).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    fn check(&self, file: &File, wrong: &mut Wrong<'_>) {
        if self.steps.is_empty() {
            wrong.say(0, "", "there is no step".to_owned());
        }
        let (topics, mut names) = (self.topics(), HashSet::from(RESERVED));
        let steps =
            file.step.iter().map(|one| (one.span().start, Some(&one.get_ref().name), one.get_ref().publish.as_ref()));
        let frontiers =
            file.frontier.iter().map(|one| (one.span().start, Some(&one.get_ref().name), Some(&one.get_ref().publish)));
        let sources = file.source.iter().map(|one| (one.span().start, None, Some(&one.get_ref().topic)));
        for (at, name, topic) in steps.chain(frontiers).chain(sources) {
            if let Some(name) = name
                && !is_name(name)
            {
                let form = "up to 24 lower-case letters, digits and dashes, the first a letter";
                wrong.say(at, name, format!("{name:?} is no name: it takes {form}"));
            } else if let Some(name) = name
                && !names.insert(name)
            {
                wrong.say(at, name, format!("the name {name:?} is taken"));
            }
            let Some(topic) = topic else { continue };
            if !is_topic(topic) {
                let form = "up to 100 letters, digits, dots, dashes and underscores";
                wrong.say(at, topic, format!("{topic:?} is no topic: it takes {form}"));
            } else if OWN.contains(&topic.as_str()) {
                wrong.say(at, topic, format!("only hippo itself publishes to {topic:?}"));
            }
        }
        for step in &file.step {
            step.get_ref().check(step.span().start, &topics, wrong);
        }
        for one in &file.frontier {
            let Frontier { name, directory, table, database, .. } = one.get_ref();
            if directory.is_some() == table.is_some() || table.is_some() != database.is_some() {
                let what = format!("{name} needs either a directory, or a table and its database");
                wrong.say(one.span().start, name, what);
            }
        }
        if let Some(gateway) = &file.gateway {
            let (at, Gateway { balcony, tags }) = (gateway.span().start, gateway.get_ref());
            if !topics.contains(&tags.as_str()) {
                wrong.say(at, tags, format!("nothing publishes to {tags:?}"));
            }
            if !balcony.starts_with("http://") {
                wrong.say(at, balcony, format!("{balcony:?} is no URL, such as http://127.0.0.1:8080"));
            }
        }
        for (first, step) in file.step.iter().enumerate() {
            if let Some(circle) = self.circle(first) {
                let what = format!("a circle: {} would start itself for ever", circle.join(" → "));
                wrong.say(step.span().start, &step.get_ref().name, what);
            }
        }
    }

    /// A way from a step back to itself past no earlier step, so that each circle is found once.
    fn circle(&self, first: usize) -> Option<Vec<&str>> {
        let mut ways = vec![vec![first]];
        let mut visited = HashSet::new();
        while let Some(way) = ways.pop() {
            let last = &self.steps[*way.last()?];
            let starts = |topic: &String| topic == FINISH || Some(topic) == last.publish.as_ref();
            for (next, step) in self.steps.iter().enumerate().skip(first) {
                if !step.subscribe.iter().any(starts) {
                    continue;
                }
                if next == first {
                    return Some(way.iter().chain([&first]).map(|step| self.steps[*step].name.as_str()).collect());
                }
                if visited.insert(next) {
                    ways.push([&way[..], &[next]].concat());
                }
            }
        }
        None
    }
}

impl Step {
    fn check(&self, at: usize, topics: &[&str], wrong: &mut Wrong<'_>) {
        let name = &self.name;
        if self.subscribe.is_empty() {
            wrong.say(at, "subscribe", format!("{name} subscribes to nothing, so nothing starts it"));
        }
        for topic in &self.subscribe {
            if !topics.contains(&topic.as_str()) || [OUTPUT, HAUL].contains(&topic.as_str()) {
                wrong.say(at, topic, format!("nothing publishes to {topic:?}, to which {name} subscribes"));
            }
        }
        if self.command.first().is_none_or(String::is_empty) {
            wrong.say(at, "command", format!("{name} has no command"));
        }
        if !(Duration::from_secs(1)..=Duration::from_hours(24)).contains(&self.timeout) {
            wrong.say(at, "timeout", "a timeout is from 1s to 24h".to_owned());
        }
        if !(1..=256).contains(&self.concurrency) {
            wrong.say(at, "concurrency", "a concurrency is from 1 to 256".to_owned());
        }
        if self.host.is_some() && self.port.is_none() {
            wrong.say(at, "host", format!("{name} has a host and no port"));
        }
    }
}

impl Wrong<'_> {
    /// Notes what is wrong with `word`, which stands behind `at`.
    fn say(&mut self, at: usize, word: &str, what: String) {
        let behind = &self.text[at..];
        let quoted = (!word.is_empty()).then(|| format!("\"{word}\""));
        let found = quoted.and_then(|quoted| behind.find(&quoted)).or_else(|| behind.find(word)).unwrap_or(0);
        self.lines.push((self.line(at + found), what));
    }

    fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }
}

fn plain<T: Clone>(spanned: &[Spanned<T>]) -> Vec<T> {
    spanned.iter().map(|one| one.get_ref().clone()).collect()
}

fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= 24 && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(legal)
}

fn is_topic(topic: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=100).contains(&topic.len()) && topic.bytes().all(legal)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let seconds = match &value {
        toml::Value::Integer(seconds) => u64::try_from(*seconds).ok(),
        toml::Value::String(text) => [('s', 1), ('m', 60), ('h', 3_600)]
            .iter()
            .find_map(|(unit, seconds)| Some(u64::from(text.strip_suffix(*unit)?.parse::<u32>().ok()?) * seconds)),
        _ => None,
    };
    seconds.map(Duration::from_secs).ok_or_else(|| D::Error::custom("is no duration, such as 90s, 15m or 2h"))
}

fn ten_minutes() -> Duration {
    Duration::from_mins(10)
}

fn one() -> usize {
    1
}

fn id() -> String {
    "id".to_owned()
}

fn announced() -> String {
    "frontier-adw".to_owned()
}
