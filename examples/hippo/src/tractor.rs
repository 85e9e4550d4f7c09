//! The tractor: hauls messages that a step has had to it again, as new ones.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use balcony_event_log::{EventLog, Excerpt, Headers, Message, Record};
use balcony_projector::{Application, Deployment, Errands, Installation, IntakeError, Moment, Settings, Topics};
use balcony_store::Uuid;
use serde::{Deserialize, Serialize};

use crate::config::{Config, HAUL, Step};
use crate::frontier::outside;
use crate::step::{FOR_STEP, FROM, is_of_type, place};

/// What it is called.
pub(crate) const NAME: &str = "tractor";

/// What is to be hauled.
#[derive(Debug, Clone, clap::Args, Serialize, Deserialize)]
pub(crate) struct Options {
    /// The step.
    #[arg(long, value_name = "NAME")]
    step: String,
    /// From when on (2026-01-31T18:30:00Z), or from which offset on in each of its topics.
    #[arg(long, value_name = "TIME|OFFSET")]
    from: String,
    #[arg(skip = Uuid::now_v7())]
    id: Uuid,
}

/// How long it may take until the process has looked that alone may append to an embedded log.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hauls, or has it done by the process that alone may append to the log.
pub(crate) async fn run(
    options: &Options,
    config: &Config,
    hippo: &Application,
    settings: &Settings,
) -> anyhow::Result<()> {
    let step = config.step(&options.step)?;
    options.start()?;
    let hauled: u64 = match settings.deployment(hippo)? {
        Deployment::Distributed { .. } => {
            let installation = Installation::beside(hippo, settings).await?;
            haul(options, step, &*installation.log, &installation.topics).await?
        }
        Deployment::Embedded { data_dir } => Errands::new(&data_dir, NAME).ask(options, PATIENCE).await?,
    };
    println!("{hauled} messages are started again for {}", step.name);
    Ok(())
}

/// Does what is asked for by others, until something fails.
pub(crate) async fn serve(
    data_dir: PathBuf,
    config: Arc<Config>,
    log: Arc<dyn EventLog>,
    topics: Topics,
) -> Result<(), IntakeError> {
    let haul = async |options: Options| match config.step(&options.step) {
        Ok(step) => haul(&options, step, &*log, &topics).await.map_err(|error| outside(format!("{error:#}"))),
        // The configuration is another one by now.
        Err(_) => Ok(0),
    };
    Errands::new(&data_dir, NAME).serve(haul).await
}

/// Appends every message that the step would have had, and says how many. Doing it again appends the same ones.
async fn haul(options: &Options, step: &Step, log: &dyn EventLog, topics: &Topics) -> anyhow::Result<u64> {
    let names: Vec<Arc<str>> = step.subscribe.iter().map(|topic| topics.get(topic).clone()).collect();
    let (mut from, ends) = (log.starts(&names).await?, log.ends(&names).await?);
    let (offset, since) = options.start()?;
    for partition in ends.partitions() {
        from.advance(partition, offset);
    }
    let (mut messages, mut hauled) = (Excerpt::between(log, from, ends), 0);
    while let Some(records) = messages.next().await? {
        let is_meant = |record: &Record| record.timestamp >= since && is_of_type(record, &step.types);
        for record in records.into_iter().filter(is_meant) {
            let place = place(&record);
            let id = Uuid::new_v5(&options.id, place.as_bytes()).to_string();
            let marks = [("ce_id", &*id), ("ce_source", "/hippo/tractor"), (FOR_STEP, &step.name), (FROM, &place)];
            let mut headers = Headers::from_iter(marks);
            let others = record.headers.iter().filter(|(name, _)| !["ce_id", "ce_source", FROM].contains(name));
            others.for_each(|(name, value)| headers.push(name, value));
            log.append(topics.get(HAUL), Message { key: record.key, headers, payload: record.payload }).await?;
            hauled += 1;
        }
    }
    Ok(hauled)
}

impl Options {
    /// The first offset, and the earliest time in milliseconds since 1970.
    fn start(&self) -> anyhow::Result<(i64, i64)> {
        if let Ok(offset) = self.from.parse::<u32>() {
            return Ok((offset.into(), 0));
        }
        let since: Moment = self.from.parse().with_context(|| format!("--from: {:?}", self.from))?;
        Ok((0, since.milliseconds()))
    }
}
