//! What operators do about records that were set aside.

mod accept;
pub(super) mod finding;
mod list;
mod show;

use std::fs::File;
use std::io::Write;

use anyhow::{Context as _, bail, ensure};
use balcony_store::{Generation, ParkedRecord};
use uuid::Uuid;

use self::finding::{Firsts, PAGE, find_any, live};
use super::remedy::Remedy;
use super::retry::{Outcome, RetryError};
use super::terminal::{Terminal, shown};
use crate::application::Application;
use crate::catalogue::Step;
use crate::installation::{Installation, log_topics, open_embedded_log, try_hold};
use crate::settings::{Deployment, Settings};

/// What is to be done.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists what is parked in the live generations.
    List(list::Options),
    /// Shows everything that is known of one record.
    Show {
        /// As `list` shows it.
        #[arg(value_name = "ID")]
        id: Uuid,
    },
    /// Lets a projection go on that stopped because too much failed: parks whatever fails up to the log's end, and says
    /// how much that was.
    Accept {
        /// The projection.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Applies or delivers records after all, each with what waits behind it. Exit status 1 when one is still parked
    /// afterwards.
    Retry(Which),
    /// Gives records up, so that they are never applied or delivered, and retries what waited behind them.
    Discard(Which),
}

/// Records that something is done about.
#[derive(Debug, clap::Args)]
struct Which {
    /// As `list` shows them.
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<Uuid>,
    /// Everything that is parked.
    #[arg(long)]
    all: bool,
    /// With --all: only what is parked in this projection or reactor.
    #[arg(long, value_name = "NAME", requires = "all")]
    projection: Option<String>,
}

/// Does what was asked for.
pub(super) async fn run(
    application: &Application,
    settings: &Settings,
    options: &Options,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<()> {
    let installation = Installation::beside(application, settings).await?;
    let which = match &options.action {
        Action::List(options) => return list::list(&installation, options, terminal).await,
        Action::Show { id } => return show::show(&installation, *id, terminal).await,
        Action::Accept { name } => return accept::run(&installation, name, terminal).await,
        Action::Retry(which) | Action::Discard(which) => which,
    };
    let operator = Operator::open(application, settings, installation).await?;
    let mut outcome = Outcome::default();
    let is_retry = matches!(options.action, Action::Retry(_));
    let done = match (is_retry, which.all) {
        (true, true) => operator.retry_all(which, &mut outcome).await,
        (true, false) => operator.retry(&which.ids, &mut outcome).await,
        (false, true) => operator.discard_all(which, &mut outcome).await,
        (false, false) => operator.discard(&which.ids, &mut outcome).await,
    };
    if done.is_ok() || outcome != Outcome::default() {
        say(&outcome, &mut terminal.output)?;
    }
    done?;
    if is_retry {
        operator.ensure_done(which, &outcome).await?;
    }
    Ok(())
}

/// Whoever retries and discards.
struct Operator {
    installation: Installation,
    remedy: Remedy,
    /// Keeps the embedded installation from being started meanwhile.
    _held: Option<File>,
}

impl Operator {
    /// Where nothing runs, an embedded log is opened so that reactors can publish to it.
    async fn open(application: &Application, settings: &Settings, installation: Installation) -> anyhow::Result<Self> {
        let has_reactors = installation.catalogue.steps().iter().any(|step| matches!(step, Step::Reactor(_)));
        let (database, log) = (installation.database.clone(), installation.log.clone());
        let remedy = Remedy { database, log, may_publish: true };
        let mut operator = Self { installation, remedy, _held: None };
        if let Deployment::Embedded { data_dir } = settings.deployment(application)?
            && has_reactors
        {
            operator._held = try_hold(&data_dir)?;
            operator.remedy.may_publish = operator._held.is_some();
            if operator.remedy.may_publish {
                operator.remedy.log = open_embedded_log(&data_dir, &log_topics(application, settings)?)?;
            }
        }
        Ok(operator)
    }

    async fn retry(&self, ids: &[Uuid], outcome: &mut Outcome) -> anyhow::Result<()> {
        for (step, id) in self.owners(ids).await? {
            match self.remedy.retry(step, id).await {
                Ok(more) => add(outcome, more),
                // It waited behind one that was asked for before it.
                Err(RetryError::Unknown { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Tries the first parked record of every key, and everything without a key.
    async fn retry_all(&self, which: &Which, outcome: &mut Outcome) -> anyhow::Result<()> {
        for (step, live) in self.steps(which).await? {
            let mut last = None;
            loop {
                let mut tx = self.remedy.database.look_at(&live).await?;
                let page = tx.parked_after(last.as_ref(), false, PAGE).await?;
                let firsts = Firsts::of(tx.parked_keys().await?);
                drop(tx);
                for record in page.iter().filter(|record| !firsts.waits(record)) {
                    match self.remedy.retry(step, record.id).await {
                        Ok(more) => add(outcome, more),
                        Err(RetryError::Unknown { .. } | RetryError::Discarded(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                match page.into_iter().next_back() {
                    Some(record) => last = Some(record),
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// An error when something that was asked for is still parked.
    async fn ensure_done(&self, which: &Which, outcome: &Outcome) -> anyhow::Result<()> {
        if which.all {
            let still_parked = still_parked(outcome);
            ensure!(still_parked == 0, "{still_parked} still parked");
        }
        let mut still_parked = Vec::new();
        for id in &which.ids {
            if find(&self.installation, *id).await?.is_some() {
                still_parked.push(id.to_string());
            }
        }
        ensure!(still_parked.is_empty(), "still parked: {}", still_parked.join(", "));
        Ok(())
    }

    async fn discard(&self, ids: &[Uuid], outcome: &mut Outcome) -> anyhow::Result<()> {
        let asked = self.owners(ids).await?;
        for step in self.installation.catalogue.steps() {
            let of = |(owner, id): &(&Step, Uuid)| (owner.name() == step.name()).then_some(*id);
            let ids: Vec<Uuid> = asked.iter().filter_map(of).collect();
            if !ids.is_empty() {
                add(outcome, self.remedy.discard(step, &ids).await?);
            }
        }
        Ok(())
    }

    async fn discard_all(&self, which: &Which, outcome: &mut Outcome) -> anyhow::Result<()> {
        for (step, live) in self.steps(which).await? {
            if self.remedy.database.look_at(&live).await?.parked_count().await? > 0 {
                outcome.discarded += self.remedy.discard_all(step).await?;
            }
        }
        Ok(())
    }

    /// The steps that are meant, of those that have a live generation.
    async fn steps(&self, which: &Which) -> anyhow::Result<Vec<(&Step, Generation)>> {
        let catalogue = &self.installation.catalogue;
        let steps = match &which.projection {
            Some(name) => vec![catalogue.find(name).context("--projection")?],
            None => catalogue.steps().iter().collect(),
        };
        let live = live(&self.installation).await?;
        let of = |step: &Step| live.iter().find(|live| live.projection == **step.name()).cloned();
        Ok(steps.into_iter().filter_map(|step| Some((step, of(step)?))).collect())
    }

    /// The step of each of these records, which must all be parked.
    async fn owners(&self, ids: &[Uuid]) -> anyhow::Result<Vec<(&Step, Uuid)>> {
        let mut owners = Vec::with_capacity(ids.len());
        for &id in ids {
            let Some((generation, _)) = find_any(&self.installation, id).await? else {
                bail!("no record {id} is parked")
            };
            owners.push((self.installation.catalogue.find(&generation.projection)?, id));
        }
        Ok(owners)
    }
}

/// The record called `id` if it is parked and not discarded.
async fn find(installation: &Installation, id: Uuid) -> anyhow::Result<Option<ParkedRecord>> {
    let found = find_any(installation, id).await?;
    Ok(found.map(|(_, record)| record).filter(|record| record.discarded_at.is_none()))
}

fn add(outcome: &mut Outcome, more: Outcome) {
    outcome.applied += more.applied;
    outcome.discarded += more.discarded;
    // Of one key the first may have been tried before.
    outcome.refused.retain(|before| !more.refused.iter().any(|again| again.id == before.id));
    outcome.refused.extend(more.refused);
}

fn still_parked(outcome: &Outcome) -> i64 {
    outcome.refused.iter().map(|refused| 1 + refused.waiting).sum()
}

fn say(outcome: &Outcome, output: &mut impl Write) -> anyhow::Result<()> {
    let still_parked = still_parked(outcome);
    let mut parts = Vec::new();
    if outcome.discarded > 0 {
        parts.push(format!("{} discarded", outcome.discarded));
    }
    parts.push(format!("{} applied", outcome.applied));
    if still_parked > 0 {
        parts.push(format!("{still_parked} still parked"));
    }
    writeln!(output, "{}", parts.join(", "))?;
    for refused in &outcome.refused {
        let behind = match refused.waiting {
            0 => String::new(),
            waiting => format!(" ({waiting} more wait behind it)"),
        };
        writeln!(output, "{} failed again: {}{behind}", refused.id, shown(&refused.error))?;
    }
    Ok(())
}
