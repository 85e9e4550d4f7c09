//! Hauls what a reactor has had to it again, on demand, as new deliveries.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use balcony_event_log::{EventLog, Excerpt, Headers, Message, Record};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::application::Application;
use crate::catalogue::{Catalogue, Step};
use crate::errands::Errands;
use crate::installation::Installation;
use crate::intake::IntakeError;
use crate::moment::Moment;
use crate::reactor::AnyReactor;
use crate::settings::{Deployment, Settings};

/// What is to be hauled: options of a command.
#[derive(Debug, Clone, clap::Args, Serialize, Deserialize)]
#[group(skip)]
pub struct Haul {
    /// The step.
    #[arg(long, value_name = "NAME")]
    step: String,
    /// From when on (2026-01-31T18:30:00Z), or from which offset on in each of its topics.
    #[arg(long, value_name = "TIME|OFFSET")]
    from: String,
    #[arg(skip = Uuid::now_v7())]
    id: Uuid,
}

/// A topic of hauled records, and how they are marked: each is a copy of one that a reactor has had, under an id of its own,
/// and says for which reactor it is and where it stood first. Reactors that may be hauled to read the topic beside
/// their own, and want of it what [is for](Self::is_for) them. Cheap to clone.
#[derive(Clone)]
pub struct Tractor {
    topic: Arc<str>,
    /// The headers with the reactor's name and the first place.
    marks: [Arc<str>; 2],
    source: Arc<str>,
}

/// What it is called.
const NAME: &str = "tractor";
/// How long it may take until the process has looked that alone may append to an embedded log.
const PATIENCE: Duration = Duration::from_secs(60);

impl Tractor {
    /// Hauls to `topic`, a topic's full name, what reactors of `program` have had.
    pub fn new(program: &str, topic: Arc<str>) -> Self {
        let mark = |what: &str| format!("ce_{}{what}", program.replace('-', "")).into();
        Self { topic, marks: [mark("step"), mark("from")], source: format!("/{program}/{NAME}").into() }
    }

    /// Where hauled records are.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Whether the reactor called `name` may have the record: it is hauled to this one, or was not hauled at all.
    pub fn is_for(&self, record: &Record, name: &str) -> bool {
        record.headers.get(&self.marks[0]).is_none_or(|reactor| reactor == name.as_bytes())
    }

    /// Where the record stood first, as `topic/partition/offset`.
    pub fn place(&self, record: &Record) -> String {
        let here = || format!("{}/{}/{}", record.partition.topic, record.partition.partition, record.offset);
        record.headers.get(&self.marks[1]).map_or_else(here, |from| String::from_utf8_lossy(from).into_owned())
    }

    /// Hauls what `haul` names, or has it done by the process that alone may append to an embedded log and
    /// [serves](Self::serve). Says how many records are delivered again.
    ///
    /// # Errors
    /// Names the option that is wrong, or says what kept it from being done.
    pub async fn run(&self, haul: &Haul, application: &Application, settings: &Settings) -> anyhow::Result<u64> {
        haul.start()?;
        haul.reactor(&application.catalogue(&settings.topics(application)?))?;
        match settings.deployment(application)? {
            Deployment::Embedded { data_dir } => Ok(Errands::new(&data_dir, NAME).ask(haul, PATIENCE).await?),
            Deployment::Distributed { .. } => {
                let installation = Installation::beside(application, settings).await?;
                self.haul(haul, &installation.catalogue, &*installation.log).await
            }
        }
    }

    /// Does what is asked for by other processes of this installation, until something fails: an
    /// [intake](crate::Projector::start_intake).
    ///
    /// # Errors
    /// See [`IntakeError`].
    pub async fn serve(self, installation: Arc<Installation>) -> Result<(), IntakeError> {
        let (catalogue, log) = (&installation.catalogue, &*installation.log);
        let haul = async |haul: Haul| match haul.reactor(catalogue) {
            Ok(_) => {
                let hauled = self.haul(&haul, catalogue, log).await;
                hauled.map_err(|error| IntakeError::Outside(format!("{error:#}")))
            }
            // The program has other steps by now.
            Err(_) => Ok(0),
        };
        Errands::new(installation.data_dir(), NAME).serve(haul).await
    }

    /// Appends every record that the reactor would have had. Doing it again appends the same ones, under the same ids.
    async fn haul(&self, haul: &Haul, catalogue: &Catalogue, log: &dyn EventLog) -> anyhow::Result<u64> {
        let reactor = haul.reactor(catalogue)?;
        let topics: Vec<Arc<str>> = reactor.topics().iter().filter(|topic| **topic != self.topic).cloned().collect();
        let (mut from, ends) = (log.starts(&topics).await?, log.ends(&topics).await?);
        let (offset, since) = haul.start()?;
        for partition in ends.partitions() {
            from.advance(partition, offset);
        }
        let (mut excerpt, mut hauled) = (Excerpt::between(log, from, ends), 0);
        let [for_reactor, first_place] = &self.marks;
        while let Some(records) = excerpt.next().await? {
            for record in records.into_iter().filter(|record| record.timestamp >= since && reactor.wants(record)) {
                let place = self.place(&record);
                let id = Uuid::new_v5(&haul.id, place.as_bytes()).to_string();
                let own =
                    [("ce_id", &*id), ("ce_source", &self.source), (for_reactor, &haul.step), (first_place, &place)];
                let others = record.headers.iter().filter(|(name, _)| own.iter().all(|(own, _)| own != name));
                let mut headers = Headers::from_iter(own);
                others.for_each(|(name, value)| headers.push(name, value));
                log.append(&self.topic, Message { key: record.key, headers, payload: record.payload }).await?;
                hauled += 1;
            }
        }
        Ok(hauled)
    }
}

impl Haul {
    /// The name of the reactor.
    pub fn step(&self) -> &str {
        &self.step
    }

    fn reactor<'c>(&self, catalogue: &'c Catalogue) -> anyhow::Result<&'c AnyReactor> {
        match catalogue.find(&self.step).context("--step")? {
            Step::Reactor(reactor) => Ok(reactor),
            Step::Projection(_) | Step::Replica { .. } => bail!("--step: {} has nothing delivered to it", self.step),
        }
    }

    /// The first offset, and the earliest time in milliseconds since 1970.
    fn start(&self) -> anyhow::Result<(i64, i64)> {
        if let Ok(offset) = self.from.parse::<u32>() {
            return Ok((offset.into(), 0));
        }
        let since: Moment = self.from.parse().with_context(|| format!("--from: {:?}", self.from))?;
        Ok((0, since.milliseconds()))
    }
}
