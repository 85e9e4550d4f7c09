//! Takes the lines of a file into the log, each once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use balcony_event_log::{Message, append_all_patiently};
use balcony_files::{Line, follow};
use balcony_projector::{Installation, Moment, Process, Projection as _, Topics, cloud_event};
use balcony_store::Uuid;
use tokio::time::Instant;

use crate::collected::{self, Collected, Standing, standing};
use crate::order::{ORDERS, Order, topic_of};

/// Lines that are on their way into the log at the same time. As many more wait in memory; the others wait in the file.
const AT_ONCE: usize = 500;
/// How long it is waited until what is in the log is known, before it is said.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// What makes a record of each line of a file.
struct Collector<'c> {
    topics: &'c Topics,
    source: String,
    host: String,
    route: Option<Field>,
}

/// Collects the lines of `file` until it fails, which it does not because the log is away.
pub(crate) async fn collect(installation: &Installation, file: &Path, options: &Options) -> anyhow::Result<()> {
    let host = options.host.clone().unwrap_or_else(|| Process::this().host);
    let path = std::path::absolute(file).with_context(|| file.display().to_string())?;
    let source = format!("/{host}{}", path.display());
    let Standing { known, safe, ahead } = what_is_in_the_log(installation, &source).await?;
    if let Some(safe) = &safe {
        tracing::info!(source, file = safe.file.number, line = safe.line, "collecting goes on");
    }
    let resumed = safe.as_ref().map(|safe| safe.file.number);
    let mut lines = follow(path, known, safe, AT_ONCE)?;
    let collector = Collector { topics: &installation.topics, source, host, route: options.route };
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, AT_ONCE).await > 0 {
        batch.retain(|Line { place, .. }| Some(place.file.number) != resumed || !ahead.contains(&place.offset));
        // All lines of a file are in the log before the first of the next.
        for lines in batch.chunk_by(|line, next| line.place.file.number == next.place.file.number) {
            let records = lines.iter().map(|line| collector.record(line, &lines[0])).collect();
            append_all_patiently(&*installation.log, records).await?;
        }
        batch.clear();
    }
    bail!("{}: nobody follows it any more", file.display())
}

/// Waits until everything that is in the log is known, and says what of `source` is.
async fn what_is_in_the_log(installation: &Installation, source: &str) -> anyhow::Result<Standing> {
    let collected = Collected::new(installation.topics.names());
    let model = collected.read_model();
    let (ends, reader) = (installation.log.ends(&model.topics).await?, installation.reader().await);
    let read = || async {
        while !reader.wait_for(model, &ends, Instant::now() + PATIENCE).await? {
            tracing::warn!("what is in the log is not known yet");
        }
        standing(&reader, source).await
    };
    reader.undisturbed(read).await
}

impl Collector<'_> {
    /// The record of a line, and its topic. `first` is the first of the lines that go into the log at the same time, which are
    /// written in no order.
    fn record(&self, line: &Line, first: &Line) -> (Arc<str>, Message) {
        let (place, source) = (&line.place, &self.source);
        let name = format!("{source}\0{}\0{}\0{}", place.file.number, place.offset, crc32fast::hash(&line.text));
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes());
        let mut headers = cloud_event::headers(id, source, "coffee.order.placed.v1", Moment::now());
        headers.push("ce_host", self.host.as_bytes());
        headers.push("content-type", b"application/json");
        collected::stamp(&mut headers, place, &first.place);
        let order = Order::read(&line.text);
        if let Err(error) = &order {
            tracing::warn!(source, line = place.line, error, "a line is no order and is set aside");
        }
        let topic = match (self.route, order) {
            (Some(Field::PaymentMethod), Ok(order)) => topic_of(&order.payment_method),
            _ => ORDERS.to_owned(),
        };
        let message = Message { key: Vec::new(), headers, payload: line.text.clone() };
        (self.topics.get(&topic).clone(), message)
    }
}
