//! What `hippo.toml` says, and everything that is wrong with it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use balcony_files::configuration::{self, Faults, Placed, Unusable};
use balcony_projector::{Taken, TopicSpec, Topics, circle};
use serde::Deserialize;

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

/// A configuration that was checked whole.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// What messages start.
    #[serde(default, rename = "step")]
    pub(crate) steps: Vec<Placed<Step>>,
    /// What announces new data.
    #[serde(default, rename = "frontier")]
    pub(crate) frontiers: Vec<Placed<Frontier>>,
    /// Topics of other programs.
    #[serde(default, rename = "source")]
    pub(crate) sources: Vec<Placed<Source>>,
    /// What the gateway puts together.
    pub(crate) gateway: Option<Placed<Gateway>>,
    /// The file's folder, from which relative paths begin.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
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
    #[serde(default = "ten_minutes", deserialize_with = "configuration::duration")]
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

impl Config {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// When something is wrong with it: all of it is said on standard error, each on a line with the file and the line.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let loaded = configuration::load(path, Self::check);
        if let Err(Unusable::Faulty(faults)) = &loaded {
            faults.iter().for_each(|(line, what)| eprintln!("{shown}:{line}: {what}"));
            bail!("--config: {shown} cannot be used, for what is said above");
        }
        let folder = path.canonicalize().map(|path| path.parent().unwrap_or(&path).to_owned());
        let config = loaded.map_err(|error| anyhow!("--config: {shown} {error}"))?;
        Ok(Self { folder: folder.with_context(|| format!("--config: {shown}"))?, ..config })
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

    fn check(&self, wrong: &mut Faults<'_>) {
        if self.steps.is_empty() {
            wrong.say(0, "", "there is no step");
        }
        let (topics, mut names) = (self.topics(), HashSet::from(RESERVED));
        let steps = self.steps.iter().map(|step| (step.at(), &step.name));
        for (at, name) in steps.chain(self.frontiers.iter().map(|one| (one.at(), &one.name))) {
            if !configuration::is_name(name, 24) {
                let form = "up to 24 lower-case letters, digits and dashes, the first a letter";
                wrong.say(at, name, format!("{name:?} is no name: it takes {form}"));
            } else if !names.insert(name) {
                wrong.say(at, name, format!("the name {name:?} is taken"));
            }
        }
        let steps = self.steps.iter().filter_map(|step| Some((step.at(), step.publish.as_ref()?)));
        let filled = self.frontiers.iter().map(|one| (one.at(), &one.publish));
        for (at, topic) in steps.chain(filled).chain(self.sources.iter().map(|one| (one.at(), &one.topic))) {
            if !TopicSpec::is_name(topic) {
                let form = "up to 100 letters, digits, dots, dashes and underscores";
                wrong.say(at, topic, format!("{topic:?} is no topic: it takes {form}"));
            } else if OWN.contains(&topic.as_str()) {
                wrong.say(at, topic, format!("only hippo itself publishes to {topic:?}"));
            }
        }
        for step in &self.steps {
            step.check(step.at(), &topics, wrong);
        }
        for one in &self.frontiers {
            let Frontier { name, directory, table, database, .. } = &**one;
            if directory.is_some() == table.is_some() || table.is_some() != database.is_some() {
                let what = format!("{name} needs either a directory, or a table and its database");
                wrong.say(one.at(), name, what);
            }
        }
        if let Some(gateway) = &self.gateway {
            let Gateway { balcony, tags } = &**gateway;
            if !topics.contains(&tags.as_str()) {
                wrong.say(gateway.at(), tags, format!("nothing publishes to {tags:?}"));
            }
            if !balcony.starts_with("http://") {
                wrong.say(gateway.at(), balcony, format!("{balcony:?} is no URL, such as http://127.0.0.1:8080"));
            }
        }
        for (first, step) in self.steps.iter().enumerate() {
            if let Some(circle) = circle(first, self.steps.len(), |one, other| self.starts(one, other)) {
                let names: Vec<&str> = circle.into_iter().map(|step| &*self.steps[step].name).collect();
                let what = format!("a circle: {} would start itself for ever", names.join(" → "));
                wrong.say(step.at(), &step.name, what);
            }
        }
    }

    /// Whether a message that the step `one` publishes starts the step `other`.
    fn starts(&self, one: usize, other: usize) -> bool {
        let publishes = |topic: &String| topic == FINISH || Some(topic) == self.steps[one].publish.as_ref();
        self.steps[other].subscribe.iter().any(publishes)
    }
}

impl Step {
    fn check(&self, at: usize, topics: &[&str], wrong: &mut Faults<'_>) {
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
            wrong.say(at, "timeout", "a timeout is from 1s to 24h");
        }
        if !(1..=256).contains(&self.concurrency) {
            wrong.say(at, "concurrency", "a concurrency is from 1 to 256");
        }
        if self.host.is_some() && self.port.is_none() {
            wrong.say(at, "host", format!("{name} has a host and no port"));
        }
    }
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
