//! Takes the lines of a file into the log, each once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use balcony_event_log::{AppendError, EventLog, Headers, Message};
use balcony_projector::{Installation, Process, Projection as _, Topics};
use balcony_store::Uuid;
use futures_util::future::join_all;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::collected::{self, Collected, standing};
use crate::order::Order;
use crate::tail::{Line, Tail};
use crate::{ORDERS, topics_of_orders};

/// Lines that are on their way into the log at the same time. As many more wait in memory; the others wait in the file.
const AT_ONCE: usize = 500;
/// How long it is waited until what is in the log is known, before it is said.
const PATIENCE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How a file is collected.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Sends the orders of each value of this field to a topic of their own: orders-cash, orders-credit, orders-debit.
    #[arg(long, value_name = "FIELD")]
    pub(crate) route: Option<Field>,
    /// The name of this host, by which its files are told from those of others. By default what the system says.
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
}

/// A field by which orders are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Field {
    #[value(name = "paymentMethod")]
    PaymentMethod,
}

/// Collects the lines of `file` until it fails, which it does not because the log is away.
pub(crate) async fn collect(installation: &Installation, file: &Path, options: &Options) -> anyhow::Result<()> {
    let host = options.host.clone().unwrap_or_else(|| Process::this().host);
    let path = std::path::absolute(file).with_context(|| file.display().to_string())?;
    let source = format!("/{host}{}", path.display());
    let standing = what_is_in_the_log(installation, &source).await?;
    if let Some(safe) = &standing.safe {
        tracing::info!(source, file = safe.file.number, line = safe.line, "collecting goes on");
    }
    let (sender, mut lines) = mpsc::channel(AT_ONCE);
    let (known, safe) = (standing.known, standing.safe.clone());
    let follow = move || Tail::new(path, known, safe.as_ref(), sender).follow();
    std::thread::Builder::new().name("tail".to_owned()).spawn(follow)?;

    let resumed = standing.safe.map(|safe| safe.file.number);
    let is_in = |line: &Line| Some(line.place.file.number) == resumed && standing.ahead.contains(&line.place.offset);
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, AT_ONCE).await > 0 {
        batch.retain(|line| !is_in(line));
        // All lines of a file are in the log before the first of the next.
        for lines in batch.chunk_by(|line, next| line.place.file.number == next.place.file.number) {
            let messages =
                lines.iter().map(|line| message(line, &lines[0], &source, &host, options.route, installation));
            append(&*installation.log, messages.collect::<anyhow::Result<_>>()?).await?;
        }
        batch.clear();
    }
    bail!("{}: nobody follows it any more", file.display())
}

/// Waits until everything that is in the log is known, and says what of `source` is.
async fn what_is_in_the_log(installation: &Installation, source: &str) -> anyhow::Result<collected::Standing> {
    let collected = Collected::new(topics_of_orders(&installation.topics));
    let model = collected.read_model();
    let (ends, reader) = (installation.log.ends(&model.topics).await?, installation.reader().await);
    while !reader.wait_for(model, &ends, Instant::now() + PATIENCE).await? {
        tracing::warn!("what is in the log is not known yet");
    }
    standing(&reader, source).await
}

/// The record of a line, and its topic. `first` is the first of the lines that go into the log at the same time, which are
/// written in no order.
fn message(
    line: &Line,
    first: &Line,
    source: &str,
    host: &str,
    route: Option<Field>,
    installation: &Installation,
) -> anyhow::Result<(Arc<str>, Message)> {
    let place = &line.place;
    let name = format!("{source}\0{}\0{}\0{}", place.file.number, place.offset, crc32fast::hash(&line.text));
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string();
    let time = OffsetDateTime::now_utc().format(&Rfc3339)?;
    let fixed = [
        ("ce_specversion", "1.0"),
        ("ce_id", &id),
        ("ce_type", "coffee.order.placed.v1"),
        ("ce_time", &time),
        ("ce_host", host),
        ("content-type", "application/json"),
    ];
    let mut headers: Headers = fixed.into_iter().collect();
    let stamped = collected::Line { source: source.to_owned(), place: place.clone(), safe: first.place.clone() };
    stamped.stamp(&mut headers);
    let order = Order::read(&line.text);
    if let Err(error) = &order {
        tracing::warn!(source, line = place.line, error, "a line is no order and is set aside");
    }
    let topic = topic(&installation.topics, order.ok().filter(|_| route.is_some()).as_ref());
    Ok((topic, Message { key: Vec::new(), headers, payload: line.text.clone() }))
}

/// Where an order goes that is routed, and everything else.
fn topic(topics: &Topics, routed: Option<&Order>) -> Arc<str> {
    let short = routed.map(|order| format!("{ORDERS}-{}", order.payment_method.to_ascii_lowercase()));
    topics.get(short.as_deref().unwrap_or(ORDERS)).clone()
}

/// Appends `messages`, and those again that the log did not take, as long as it is away: under the same ids.
async fn append(log: &dyn EventLog, mut messages: Vec<(Arc<str>, Message)>) -> anyhow::Result<()> {
    let mut pause = FIRST_PAUSE;
    while !messages.is_empty() {
        let appended = join_all(messages.iter().map(|(topic, message)| log.append(topic, message.clone()))).await;
        let (mut waiting, mut reason) = (Vec::new(), None);
        for (message, appended) in messages.into_iter().zip(appended) {
            match appended {
                Ok(_) => {}
                Err(error @ (AppendError::Unavailable(_) | AppendError::Unknown(_))) => {
                    waiting.push(message);
                    reason = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        messages = waiting;
        if let Some(reason) = reason {
            tracing::warn!(lines = messages.len(), %reason, "the log is away; lines wait");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    Ok(())
}
