//! What operators do about records that were set aside.

mod list;
mod show;

use std::collections::HashMap;
use std::io::Write as _;

use anyhow::{Context as _, bail, ensure};
use balcony_domain::Timestamp;
use balcony_event_log::TopicPartition;
use balcony_projector::{AnyProjection, Outcome, RetryError, projections};
use balcony_store::{Database, Generation, GenerationState, ParkedRecord};
use uuid::Uuid;

use crate::beside::Beside;
use crate::serve::projection_called;
use crate::settings::Settings;

/// What is to be done.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Lists what is parked in the live generations.
    List(list::Options),
    /// Shows everything that is known of one record.
    Show {
        /// As `list` shows it.
        #[arg(value_name = "ID")]
        id: Uuid,
    },
    /// Applies records after all, each with what waits behind it. Exit status 1 when one is still parked afterwards.
    Retry(Which),
    /// Gives records up, so that they are never applied, and applies what waited behind them.
    Discard(Which),
}

/// Records that something is done about.
#[derive(clap::Args)]
struct Which {
    /// As `list` shows them.
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<Uuid>,
    /// Everything that is parked.
    #[arg(long)]
    all: bool,
    /// With --all: only what is parked in this projection.
    #[arg(long, value_name = "NAME", requires = "all")]
    projection: Option<String>,
}

/// How many records are read together.
const PAGE: u32 = 100;

/// Does what was asked for.
pub(crate) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let beside = Beside::open(settings).await?;
    match &options.action {
        Action::List(options) => list::list(&beside, options).await,
        Action::Show { id } => show::show(&beside, *id).await,
        Action::Retry(which) if which.all => retry_all(&beside, which).await,
        Action::Retry(which) => retry(&beside, &which.ids).await,
        Action::Discard(which) if which.all => discard_all(&beside, which).await,
        Action::Discard(which) => discard(&beside, &which.ids).await,
    }
}

async fn retry(beside: &Beside, ids: &[Uuid]) -> anyhow::Result<()> {
    let asked = owners(beside, ids).await?;
    let mut outcome = Outcome::default();
    for (projection, id) in &asked {
        match balcony_projector::retry(projection, &beside.database, *id).await {
            Ok(more) => add(&mut outcome, more),
            // It waited behind one that was asked for before it.
            Err(RetryError::Unknown { .. }) => {}
            Err(error) => {
                say(&outcome)?;
                return Err(error.into());
            }
        }
    }
    say(&outcome)?;
    let mut still_parked = Vec::new();
    for id in ids {
        if find(&beside.database, *id).await?.is_some() {
            still_parked.push(id.to_string());
        }
    }
    ensure!(still_parked.is_empty(), "still parked: {}", still_parked.join(", "));
    Ok(())
}

/// Tries the first parked record of every key, and everything without a key.
async fn retry_all(beside: &Beside, which: &Which) -> anyhow::Result<()> {
    let mut outcome = Outcome::default();
    for (projection, live) in which.projections(beside).await? {
        let mut last = None;
        loop {
            let mut tx = beside.database.look_at(&live).await?;
            let page = tx.parked_after(last.as_ref(), false, PAGE).await?;
            let firsts = Firsts::of(tx.parked_keys().await?);
            drop(tx);
            for record in page.iter().filter(|record| !firsts.waits(record)) {
                match balcony_projector::retry(&projection, &beside.database, record.id).await {
                    Ok(more) => add(&mut outcome, more),
                    Err(RetryError::Unknown { .. } | RetryError::Discarded(_)) => {}
                    Err(error) => {
                        say(&outcome)?;
                        return Err(error.into());
                    }
                }
            }
            match page.into_iter().next_back() {
                Some(record) => last = Some(record),
                None => break,
            }
        }
    }
    say(&outcome)?;
    let still_parked = still_parked(&outcome);
    ensure!(still_parked == 0, "{still_parked} still parked");
    Ok(())
}

async fn discard(beside: &Beside, ids: &[Uuid]) -> anyhow::Result<()> {
    let asked = owners(beside, ids).await?;
    let mut outcome = Outcome::default();
    for projection in projections::known(&beside.topics) {
        let of = |(owner, id): &(AnyProjection, Uuid)| (owner.name() == projection.name()).then_some(*id);
        let ids: Vec<Uuid> = asked.iter().filter_map(of).collect();
        if ids.is_empty() {
            continue;
        }
        match balcony_projector::discard(&projection, &beside.database, &ids).await {
            Ok(more) => add(&mut outcome, more),
            Err(error) => {
                say(&outcome)?;
                return Err(error.into());
            }
        }
    }
    say(&outcome)
}

async fn discard_all(beside: &Beside, which: &Which) -> anyhow::Result<()> {
    let mut outcome = Outcome::default();
    for (projection, live) in which.projections(beside).await? {
        if beside.database.look_at(&live).await?.parked_count().await? == 0 {
            continue;
        }
        match balcony_projector::discard_all(&projection, &beside.database).await {
            Ok(discarded) => outcome.discarded += discarded,
            Err(error) => {
                say(&outcome)?;
                return Err(error.into());
            }
        }
    }
    say(&outcome)
}

impl Which {
    /// The projections that are meant, of those that have a live generation.
    async fn projections(&self, beside: &Beside) -> anyhow::Result<Vec<(AnyProjection, Generation)>> {
        let all = projections::known(&beside.topics);
        let all = match &self.projection {
            Some(name) => vec![projection_called(name, &all).context("--projection")?],
            None => all,
        };
        let live = live(&beside.database).await?;
        let of = |projection: AnyProjection| {
            let live = live.iter().find(|live| live.projection == projection.name())?;
            Some((projection, live.clone()))
        };
        Ok(all.into_iter().filter_map(of).collect())
    }
}

/// The projection of each of these records, which must all be parked.
async fn owners(beside: &Beside, ids: &[Uuid]) -> anyhow::Result<Vec<(AnyProjection, Uuid)>> {
    let all = projections::known(&beside.topics);
    let mut owners = Vec::with_capacity(ids.len());
    for &id in ids {
        let Some((generation, _)) = find_any(&beside.database, id).await? else { bail!("no record {id} is parked") };
        owners.push((projection_called(&generation.projection, &all)?, id));
    }
    Ok(owners)
}

/// Every live generation.
async fn live(database: &Database) -> anyhow::Result<Vec<Generation>> {
    let mut listed = database.generations(None).await?;
    listed.retain(|listed| listed.state == GenerationState::Live);
    Ok(listed.into_iter().map(|listed| listed.generation).collect())
}

/// The record called `id`, parked or discarded, and its live generation.
async fn find_any(database: &Database, id: Uuid) -> anyhow::Result<Option<(Generation, ParkedRecord)>> {
    for generation in live(database).await? {
        if let Some(record) = database.look_at(&generation).await?.parked_record(id).await? {
            return Ok(Some((generation, record)));
        }
    }
    Ok(None)
}

/// The record called `id` if it is parked and not discarded.
async fn find(database: &Database, id: Uuid) -> anyhow::Result<Option<ParkedRecord>> {
    let found = find_any(database, id).await?;
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

fn say(outcome: &Outcome) -> anyhow::Result<()> {
    let still_parked = still_parked(outcome);
    let mut parts = Vec::new();
    if outcome.discarded > 0 {
        parts.push(format!("{} discarded", outcome.discarded));
    }
    parts.push(format!("{} applied", outcome.applied));
    if still_parked > 0 {
        parts.push(format!("{still_parked} still parked"));
    }
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", parts.join(", "))?;
    for refused in &outcome.refused {
        let behind = match refused.waiting {
            0 => String::new(),
            waiting => format!(" ({waiting} more wait behind it)"),
        };
        writeln!(stdout, "{} failed again: {}{behind}", refused.id, shown(&refused.error))?;
    }
    Ok(())
}

/// The first parked offset of each key.
struct Firsts(HashMap<(TopicPartition, Vec<u8>), i64>);

impl Firsts {
    fn of(keys: Vec<(TopicPartition, Vec<u8>, i64)>) -> Self {
        Self(keys.into_iter().map(|(partition, key, first)| ((partition, key), first)).collect())
    }

    /// Whether the record waits behind an earlier one of its key.
    fn waits(&self, record: &ParkedRecord) -> bool {
        let first = self.0.get(&(record.partition.clone(), record.key.clone()));
        record.discarded_at.is_none() && first.is_some_and(|first| *first < record.offset)
    }
}

/// A text from a record as a terminal may show it.
fn shown(text: &str) -> String {
    let shown =
        |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { c.escape_default().to_string() } else { c.into() };
    text.chars().map(shown).collect()
}

fn time(milliseconds: i64) -> Timestamp {
    // Only a clock far off writes another.
    Timestamp::from_milliseconds(milliseconds)
        .unwrap_or_else(|_| Timestamp::from_milliseconds(0).expect("1970 is a time"))
}
