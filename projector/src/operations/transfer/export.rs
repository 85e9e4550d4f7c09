//! `export`: the log out of an installation.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use balcony_event_log::{EventLog, Positions, Record};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::digest::{Digest, of_record};
use super::format::Format;
use super::line::encode;
use super::place::RecordPlace;
use super::reading::{Gap, ends, read};
use super::saved::Saved;
use crate::installation::log_beside;
use crate::operations::terminal::Terminal;
use crate::{Application, Settings};

/// Where an export goes.
#[derive(Debug, clap::Args)]
pub struct ExportOptions {
    /// Writes to FILE instead of standard output and goes on where FILE ends: an incomplete last line is removed, and
    /// what the log has beyond FILE is added. FILE is made when it is missing.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
}

/// How many bytes are collected before they are written.
const BUFFER: usize = 1 << 16;

/// Writes the log as it is now, a line for each record.
pub(in crate::operations) async fn export(
    application: &Application,
    settings: &Settings,
    options: &ExportOptions,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<()> {
    let log = log_beside(application, settings).await?;
    let format = Format::new(application, settings)?;
    let to = ends(log.as_ref(), &format.topics).await?;
    let (digest, gaps) = match &options.resume {
        None => {
            let mut out = BufWriter::with_capacity(BUFFER, &mut terminal.output);
            let written = write(log.as_ref(), &format, &Positions::new(), &to, Digest::default(), &mut out).await?;
            out.flush().context("standard output cannot be written")?;
            written
        }
        Some(path) => {
            let mut saved = tokio::task::block_in_place(|| Saved::open(path, &format))?;
            let from = saved.next(log.as_ref(), &format, &to).await?;
            saved.cut().with_context(|| path.display().to_string())?;
            let mut out = BufWriter::with_capacity(BUFFER, saved.file);
            let written = write(log.as_ref(), &format, &from, &to, saved.digest, &mut out).await?;
            let file: File = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.sync_all()?;
            written
        }
    };
    for gap in gaps {
        writeln!(terminal.messages, "missing: {gap}")?;
    }
    writeln!(terminal.messages, "{} events, SHA-256 {digest}", digest.events)?;
    Ok(())
}

/// Writes the records from `from` up to `to`; gives the digest of `before` and those, and what was not there any more.
async fn write(
    log: &dyn EventLog,
    format: &Format,
    from: &Positions,
    to: &Positions,
    before: Digest,
    out: &mut impl Write,
) -> anyhow::Result<(Digest, Vec<Gap>)> {
    let bar = progress(distance(from, to));
    let began = Instant::now();
    let mut digest = before;
    let gaps = read(log, &format.topics, from, to, |records, reached| {
        for record in records {
            write_line(record, format, &mut digest, out)?;
        }
        bar.set_position(distance(from, reached));
        let events = digest.events - before.events;
        bar.set_message(format!("{events} events, {:.0}/s", events as f64 / began.elapsed().as_secs_f64()));
        Ok(())
    })
    .await?;
    bar.finish_and_clear();
    Ok((digest, gaps))
}

fn write_line(record: &Record, format: &Format, digest: &mut Digest, out: &mut impl Write) -> anyhow::Result<()> {
    let topics = &format.topics;
    let place = RecordPlace::of(record, topics);
    let mut line = encode(place, record, format);
    line.push(b'\n');
    out.write_all(&line).context("the events cannot be written")?;
    digest.add(&of_record(place.topic.name(topics), &record.key, &record.headers, &record.payload));
    Ok(())
}

/// Offsets from `from` up to `to`, of which some may have no record.
fn distance(from: &Positions, to: &Positions) -> u64 {
    let offsets = to.into_iter().map(|(partition, to)| (to - from.next_offset(partition)).max(0));
    offsets.sum::<i64>().unsigned_abs()
}

fn progress(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {percent}% {eta} {msg}");
    ProgressBar::new(length).with_style(style.expect("the template is well-formed"))
}
