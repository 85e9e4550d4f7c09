//! Publishes a file line by line, each once however often it is stopped and started.
//!
//! Where it stands is nowhere but in the log: a line has an id that is made of its number and its text, and at the start
//! the ids that are in the log are read back. A line whose append was cut off is there or not. If it comes to the log after
//! it was looked for, it is there twice under one id, and counts once.

use std::collections::HashSet;
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use balcony_event_log::{EventLog, Excerpt, Lanes, LogError};
use balcony_files::{Lines, Numbered};
use balcony_projector::{Moment, cloud_event};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::action::{self, Action};
use crate::file::{Table, row};

/// How many lines are on their way to the log at a time. Those of one visitor go one after the other.
const AT_ONCE: usize = 64;
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

impl Publisher {
    /// Publishes what of `table` is not in the log yet. It may be dropped at any time, and begun again.
    ///
    /// # Errors
    /// What somebody has to look at. While the log is away it waits.
    pub(crate) async fn publish(&self, table: Table, options: &Options) -> anyhow::Result<()> {
        let known = loop {
            match self.known().await {
                Err(LogError::Unavailable(_)) => sleep(PAUSE).await,
                known => break known?,
            }
        };
        let Table { columns, lines, length } = table;
        let (lanes, bar) = (Lanes::new(&self.log, AT_ONCE), progress(length));
        let (mut read, mut began, mut published, mut set_aside) = (read_ahead(lines, options.limit), None, 0, 0);
        while let Some(line) = read.recv().await {
            let line = line.context("--file: cannot be read")?;
            bar.inc(line.length);
            let id = Uuid::new_v5(&self.ids, &[&line.number.to_be_bytes()[..], &line.text].concat());
            if known.contains(&id) {
                continue;
            }
            let row = row(&line, &columns);
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
            if !lanes.append(topic.clone(), message).await {
                break;
            }
        }
        lanes.finish().await?;
        bar.finish_and_clear();
        tracing::info!(published, set_aside, before = known.len(), "the file is published");
        Ok(())
    }

    /// The ids of what is in the log.
    async fn known(&self) -> Result<HashSet<Uuid>, LogError> {
        let topics = [self.actions.clone(), self.refused.clone()];
        let (mut all, mut known) = (Excerpt::whole(self.log.as_ref(), &topics).await?, HashSet::new());
        while let Some(records) = all.next().await? {
            known.extend(records.iter().filter_map(|record| cloud_event::id(record).ok()));
        }
        Ok(known)
    }
}

/// Reads rows on a thread, since files block.
fn read_ahead<R: BufRead + Send + 'static>(lines: Lines<R>, limit: Option<usize>) -> Receiver<io::Result<Numbered>> {
    let (sender, read) = mpsc::channel(AHEAD);
    spawn_blocking(move || {
        let rows = lines.filter(|line| line.as_ref().map_or(true, |line| !line.text.is_empty()));
        // It ends when nobody wants more.
        rows.take(limit.unwrap_or(usize::MAX)).try_for_each(|row| sender.blocking_send(row))
    });
    read
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
