//! The tractor: hauls messages that a step has had to it again, as new ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use balcony_event_log::{EventLog, Excerpt, Headers, Message, Record};
use balcony_projector::{Application, Deployment, Installation, IntakeError, Moment, Settings, Topics};
use balcony_store::Uuid;
use serde::{Deserialize, Serialize};
use tokio::fs;
use tokio::time::{sleep, timeout};

use crate::config::{Config, HAUL, Step};
use crate::step::{FOR_STEP, FROM, is_of_type, place};

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

/// How often the one who runs hippo is asked by the one who wants a haul, and looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long it may take until it has looked.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hauls, or has the process haul that alone may append to the log: by a file that wishes for it.
pub(crate) async fn run(
    options: &Options,
    config: &Config,
    hippo: &Application,
    settings: &Settings,
) -> anyhow::Result<()> {
    let step = find(options, config)?;
    options.start()?;
    let hauled = match settings.deployment(hippo)? {
        Deployment::Distributed { .. } => {
            let installation = Installation::beside(hippo, settings).await?;
            haul(options, step, installation.log.as_ref(), &installation.topics).await?.to_string()
        }
        Deployment::Embedded { data_dir } => {
            let wish = wishes(&data_dir).join(options.id.to_string());
            fs::create_dir_all(wishes(&data_dir)).await?;
            fs::write(wish.with_extension("new"), serde_json::to_vec(options)?).await?;
            fs::rename(wish.with_extension("new"), wish.with_extension("json")).await?;
            let granted = async {
                while !fs::try_exists(wish.with_extension("done")).await? {
                    sleep(LOOK_EVERY).await;
                }
                fs::read_to_string(wish.with_extension("done")).await
            };
            let granted = timeout(PATIENCE, granted).await.context("hippo does not run; it hauls once it does")??;
            fs::remove_file(wish.with_extension("done")).await?;
            granted
        }
    };
    println!("{hauled} messages are started again for {}", step.name);
    Ok(())
}

/// Does what is wished for by others, until something fails.
pub(crate) async fn serve(
    data_dir: PathBuf,
    config: Arc<Config>,
    log: Arc<dyn EventLog>,
    topics: Topics,
) -> Result<(), IntakeError> {
    loop {
        sleep(LOOK_EVERY).await;
        let look = async {
            let mut entries = fs::read_dir(wishes(&data_dir)).await?;
            while let Some(wish) = entries.next_entry().await?.map(|entry| entry.path()) {
                if wish.extension().is_some_and(|kind| kind == "json") {
                    let options: Options = serde_json::from_slice(&fs::read(&wish).await?)?;
                    let hauled = match find(&options, &config) {
                        Ok(step) => haul(&options, step, log.as_ref(), &topics).await?,
                        // The configuration is another one by now.
                        Err(_) => 0,
                    };
                    fs::write(wish.with_extension("done"), hauled.to_string()).await?;
                    fs::remove_file(&wish).await?;
                }
            }
            anyhow::Ok(())
        };
        look.await.map_err(|error| IntakeError::Outside(format!("{error:#}")))?;
    }
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
            let mut headers = Headers::new();
            for (name, value) in
                [("ce_id", &*id), ("ce_source", "/hippo/tractor"), (FOR_STEP, &step.name), (FROM, &place)]
            {
                headers.push(name, value.as_bytes());
            }
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

fn find<'c>(options: &Options, config: &'c Config) -> anyhow::Result<&'c Step> {
    let found = config.steps.iter().find(|step| step.name == options.step);
    found.with_context(|| format!("--step: there is no step called {:?}", options.step))
}

/// The folder of wishes.
pub(crate) fn wishes(data_dir: &Path) -> PathBuf {
    data_dir.join("tractor")
}
