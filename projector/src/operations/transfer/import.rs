//! `import`: the lines of an export into an installation that is new.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use balcony_event_log::{AppendError, EventLog, Positions};
use balcony_store::Database;
use indicatif::{ProgressBar, ProgressStyle};

use super::appending::append;
use super::format::Format;
use super::present::Present;
use super::reading::ends;
use super::spool::Spool;
use crate::installation::{LOG_FILE, Parts, READ_MODELS};
use crate::operations::terminal::Terminal;
use crate::{Application, Catalogue, Deployment, Settings, Step, Topics};

/// What an import expects.
#[derive(Debug, clap::Args)]
pub struct ImportOptions {
    /// Goes on with an import that was cut short, given the same events again: what the log has is passed over.
    #[arg(long)]
    resume: bool,
    /// Appends nothing unless the events have this SHA-256, as the export said it.
    #[arg(long, value_name = "SHA256")]
    expect: Option<String>,
}

/// A log that is this process's alone, as far as that can be.
struct Target {
    log: Arc<dyn EventLog>,
    database: Database,
    catalogue: Catalogue,
    /// Where there is room for as much as goes into the log.
    folder: Option<PathBuf>,
    _lock: Option<File>,
}

/// Appends what comes from standard input, once all of it was found right.
pub(in crate::operations) async fn import(
    application: &Application,
    settings: &Settings,
    options: &ImportOptions,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<()> {
    let name = application.name();
    ensure!(!terminal.is_typed, "import reads events from standard input, such as: {name} import < events.ndjson");
    let expected = options.expect.as_deref().map(digest_text).transpose()?;
    let format = Arc::new(Format::new(application, settings)?);
    let target = Target::open(application, settings).await?;
    let (log, topics) = (&target.log, &format.topics);
    if !options.resume {
        ensure_empty(log.as_ref(), topics, name).await?;
        ensure_no_reactor_has_begun(&target).await?;
    }

    let bar = checking();
    let folder = target.folder.as_deref();
    let spool = tokio::task::block_in_place(|| Spool::fill(&format, &mut terminal.input, folder, &bar))?;
    bar.finish_and_clear();
    let digest = spool.digest;
    if let Some(expected) = expected {
        let found = digest.to_string();
        ensure!(found == expected, "--expect: the events have the SHA-256 {found}; nothing was appended");
    }
    let present = if options.resume {
        Present::find(log.as_ref(), topics, &spool).await?
    } else {
        // Once more: reading may have taken long.
        ensure_empty(log.as_ref(), topics, name).await?;
        Present::default()
    };

    if present.count() < digest.events {
        ensure_no_reactor_has_begun(&target).await?;
    }

    let bar = appending(digest.events);
    bar.inc(present.count());
    let appended = append(Arc::clone(log), topics, spool, &present, &bar).await;
    bar.finish_and_clear();
    appended.map_err(|error| match error.downcast_ref() {
        Some(AppendError::TooLarge) => error,
        _ => error.context(format!("the import stopped; `{name} import --resume` goes on, given the same events")),
    })?;
    writeln!(terminal.messages, "{} events, SHA-256 {digest}", digest.events)?;
    Ok(())
}

impl Target {
    async fn open(application: &Application, settings: &Settings) -> anyhow::Result<Self> {
        let mut folder = None;
        if let Deployment::Embedded { data_dir } = settings.deployment(application)? {
            if !data_dir.join(LOG_FILE).exists() && data_dir.join(READ_MODELS).exists() {
                bail!(
                    "DATA_DIR: {} has read models of a log that is not there any more; remove its {READ_MODELS}",
                    data_dir.display()
                );
            }
            folder = Some(data_dir);
        }
        let Parts { log, database, held } = Parts::open(application, settings).await?;
        let catalogue = application.catalogue(&settings.topics(application)?);
        Ok(Self { log, database, catalogue, folder, _lock: held })
    }
}

async fn ensure_empty(log: &dyn EventLog, topics: &Topics, name: &str) -> anyhow::Result<()> {
    let ends = ends(log, topics).await?;
    ensure!(
        Positions::new().covers(&ends),
        "the log is not empty; import into a new installation (another DATA_DIR or KAFKA_TOPIC_PREFIX), or go on with \
         an import that was cut short by `{name} import --resume`"
    );
    Ok(())
}

/// A reactor that starts at the log's end and has begun here takes all that comes for news: it would deliver the whole
/// history. What is read is what it has noted itself, since it may be off as this process is set; one that is off may be any.
async fn ensure_no_reactor_has_begun(target: &Target) -> anyhow::Result<()> {
    let Target { database, catalogue, .. } = target;
    let starts_now = catalogue.steps().iter().filter_map(|step| match step {
        Step::Reactor(reactor) if reactor.starts_now() => Some(&**reactor.name()),
        _ => None,
    });
    for reactor in starts_now.chain(catalogue.off().map(|(name, _)| name)) {
        for listed in database.generations(Some(reactor)).await? {
            let has_begun = database.is_there(&listed.generation).await?
                && !database.look_at(&listed.generation).await?.checkpoints().await?.is_empty();
            ensure!(
                !has_begun,
                "{reactor} has begun in this installation and would deliver all that is imported as news; nothing was \
                 appended; import into a new installation (another DATA_DIR, or another KAFKA_TOPIC_PREFIX and an empty \
                 database) before it is first started with {reactor}"
            );
        }
    }
    Ok(())
}

fn digest_text(text: &str) -> anyhow::Result<String> {
    let legal = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(legal, "--expect: {text:?} is not a SHA-256 of 64 hexadecimal digits");
    Ok(text.to_ascii_lowercase())
}

fn checking() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {pos} events checked, {per_sec}");
    let bar = ProgressBar::new_spinner().with_style(style.expect("the template is well-formed"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn appending(events: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {eta}");
    ProgressBar::new(events).with_style(style.expect("the template is well-formed"))
}
