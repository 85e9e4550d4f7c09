//! Publishes a file line by line, each once however often it is stopped and started.
//!
//! Where it stands is nowhere but in the log: a line has an id that is made of its number and its text, and at the start
//! the ids that are in the log are read back. A line whose append was cut off is there or not. If it comes to the log after
//! it was looked for, it is there twice under one id, and counts once.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::iter::from_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use balcony_event_log::{AppendError, EventLog, Excerpt, LogError, Message, append_patiently};
use balcony_projector::Moment;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::action::{self, Action};
use crate::file::{Line, Lines};

/// How many lines are on their way to the log at a time. Those of one visitor go one after the other.
const LANES: u64 = 64;
/// How many lines are read ahead.
const AHEAD: usize = 256;
/// The pause before the log is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// What is published, and how fast.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The shop's log, a CSV file. By default 200 rows of January 2020 that are in the program.
    #[arg(long, value_name = "CSV")]
    pub(crate) file: Option<PathBuf>,
    /// How many times as fast as it happened: 3600 is an hour in a second, 0 as fast as it goes.
    #[arg(long, default_value = "3600", value_name = "N", value_parser = speedup)]
    speedup: f64,
    /// Publish only so many rows, from the first of the file.
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
}

/// What publishes a file.
pub(crate) struct Publisher {
    pub(crate) log: Arc<dyn EventLog>,
    /// Where actions go.
    pub(crate) actions: Arc<str>,
    /// Where lines go that tell none.
    pub(crate) refused: Arc<str>,
    /// What ids are made in.
    pub(crate) ids: Uuid,
}

/// The way to the log of one line after the other.
type Lane = Sender<(Arc<str>, Message)>;

impl Publisher {
    /// Publishes what of `lines` is not in the log yet. It may be dropped at any time, and begun again.
    ///
    /// # Errors
    /// What somebody has to look at. While the log is away it waits.
    pub(crate) async fn publish(&self, lines: Lines, options: &Options) -> anyhow::Result<()> {
        let known = loop {
            match self.known().await {
                Err(LogError::Unavailable(_)) => sleep(PAUSE).await,
                known => break known?,
            }
        };
        let (columns, bar, mut under_way) = (lines.columns.clone(), progress(lines.length), JoinSet::new());
        let lanes: Vec<Lane> = (0..LANES).map(|_| self.lane(&mut under_way)).collect();
        let (mut read, mut began, mut published, mut set_aside) = (read_ahead(lines, options.limit), None, 0, 0);
        while let Some(line) = read.recv().await {
            let line = line.context("--file: cannot be read")?;
            bar.inc(line.length);
            let id = Uuid::new_v5(&self.ids, &[&line.number.to_be_bytes()[..], &line.text].concat());
            if known.contains(&id) {
                continue;
            }
            let row = line.row(&columns);
            let (topic, message) = match row.and_then(|row| Action::of(&row, id).map(|action| (action, row))) {
                Ok((action, row)) => {
                    let (begin, first) = *began.get_or_insert_with(|| (Instant::now(), action.time));
                    sleep_until(turn(begin, first, action.time, options.speedup)).await;
                    published += 1;
                    bar.set_message(format!("{published} published, {}", action.time));
                    (&self.actions, action.message(&row))
                }
                Err(reason) => {
                    set_aside += 1;
                    bar.suspend(|| tracing::warn!("line {} {reason}; it is set aside", line.number));
                    (&self.refused, action::refusal(id, &line, &reason))
                }
            };
            if lanes[lane_of(&message.key)].send((topic.clone(), message)).await.is_err() {
                // Why the lane has ended comes below.
                break;
            }
        }
        drop(lanes);
        while let Some(ended) = under_way.join_next().await {
            ended??;
        }
        bar.finish_and_clear();
        tracing::info!(published, set_aside, before = known.len(), "the file is published");
        Ok(())
    }

    /// The ids of what is in the log.
    async fn known(&self) -> Result<HashSet<Uuid>, LogError> {
        let topics = [self.actions.clone(), self.refused.clone()];
        let (mut all, mut known) = (Excerpt::whole(self.log.as_ref(), &topics).await?, HashSet::new());
        while let Some(records) = all.next().await? {
            known.extend(records.iter().filter_map(action::id));
        }
        Ok(known)
    }

    fn lane(&self, under_way: &mut JoinSet<Result<(), AppendError>>) -> Lane {
        let (lane, mut lines): (Lane, _) = mpsc::channel(1);
        let log = self.log.clone();
        under_way.spawn(async move {
            while let Some((topic, message)) = lines.recv().await {
                append_patiently(log.as_ref(), &topic, message).await?;
            }
            Ok(())
        });
        lane
    }
}

/// Reads rows on a thread, since files block.
fn read_ahead(mut lines: Lines, limit: Option<usize>) -> Receiver<std::io::Result<Line>> {
    let (sender, read) = mpsc::channel(AHEAD);
    spawn_blocking(move || {
        let rows = from_fn(|| lines.next().transpose());
        let rows = rows.filter(|line| line.as_ref().map_or(true, |line| !line.text.is_empty()));
        for row in rows.take(limit.unwrap_or(usize::MAX)) {
            let is_last = row.is_err();
            if sender.blocking_send(row).is_err() || is_last {
                break;
            }
        }
    });
    read
}

fn lane_of(key: &[u8]) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % LANES).expect("there are few lanes")
}

/// When it is the turn of what happened at `time`, if what happened at `first` had its turn at `began`. Nothing waits for
/// what happened before, and with a speedup of 0 nothing waits at all.
fn turn(began: Instant, first: Moment, time: Moment, speedup: f64) -> Instant {
    let happened_after = Duration::from_millis(u64::try_from(time.milliseconds() - first.milliseconds()).unwrap_or(0));
    let after = Duration::try_from_secs_f64(happened_after.as_secs_f64() / speedup);
    after.ok().and_then(|after| began.checked_add(after)).unwrap_or(began)
}

fn speedup(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "is not a number from 0".to_owned())
}

/// A bar on a terminal, and nothing elsewhere.
fn progress(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {percent}% {msg}");
    ProgressBar::new(bytes).with_style(style.expect("the template is well-formed"))
}
