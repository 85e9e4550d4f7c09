use std::io::Write;

use anyhow::ensure;
use balcony_store::ParkedRecord;
use serde::Serialize;

use super::finding::{Firsts, PAGE, whole_and_lost};
use crate::Installation;
use crate::moment::Moment;
use crate::operations::desk::ParkedItem;
use crate::operations::table::{Table, cut};
use crate::operations::terminal::Terminal;

/// What is listed, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// As a JSON array.
    #[arg(long)]
    json: bool,
    /// What was discarded, too.
    #[arg(long)]
    discarded: bool,
    /// Only what is parked in this projection or reactor.
    #[arg(long, value_name = "NAME")]
    projection: Option<String>,
}

#[derive(Serialize)]
struct Item {
    #[serde(flatten)]
    item: ParkedItem,
    #[serde(skip_serializing_if = "Option::is_none")]
    discarded_at: Option<Moment>,
}

/// Characters of a key and of an error in the table.
const KEY: usize = 36;
const ERROR: usize = 80;

pub(super) async fn list(
    installation: &Installation,
    options: &Options,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<()> {
    let (mut live, mut lost) = whole_and_lost(installation).await?;
    if let Some(name) = &options.projection {
        let names: Vec<_> = live.iter().chain(&lost).map(|live| live.projection.clone()).collect();
        ensure!(names.contains(name), "--projection: {name:?} has no live generation; there are {}", names.join(", "));
        live.retain(|live| live.projection == *name);
        lost.retain(|lost| lost.projection == *name);
    }
    let mut lines = Lines::new(options.json);
    for generation in live {
        let firsts = Firsts::of(installation.database.look_at(&generation).await?.parked_keys().await?);
        let mut last: Option<ParkedRecord> = None;
        loop {
            // A look of its own for each page: whoever reads the list may take their time.
            let mut tx = installation.database.look_at(&generation).await?;
            let page = tx.parked_after(last.as_ref(), options.discarded, PAGE).await?;
            drop(tx);
            let items = page.iter().map(|record| item(&generation.projection, record, firsts.waits(record)));
            lines.write(items, &mut terminal.output)?;
            match page.into_iter().next_back() {
                Some(record) => last = Some(record),
                None => break,
            }
        }
    }
    lines.end(&mut terminal.output)?;
    let names: Vec<&str> = lost.iter().map(|lost| lost.projection.as_str()).collect();
    ensure!(lost.is_empty(), "not listed is what was parked in {}: the tables are lost; rebuild it", names.join(", "));
    Ok(())
}

fn item(projection: &str, record: &ParkedRecord, waits: bool) -> Item {
    Item {
        item: ParkedItem::of(projection, record, waits),
        discarded_at: record.discarded_at.map(Moment::from_milliseconds),
    }
}

/// The list as it is written, page by page.
struct Lines {
    table: Option<Table>,
    written: u64,
}

impl Lines {
    fn new(json: bool) -> Self {
        let table = Table::new(&["ID", "PROJECTION", "POSITION", "PARKED AT", "KEY", "ERROR"]);
        Self { table: (!json).then_some(table), written: 0 }
    }

    fn write(&mut self, items: impl Iterator<Item = Item>, output: &mut impl Write) -> anyhow::Result<()> {
        let items: Vec<_> = items.collect();
        match &mut self.table {
            _ if items.is_empty() => {}
            Some(table) => write!(output, "{}", table.lines(items.iter().map(Item::row)))?,
            None => {
                for (number, item) in (self.written..).zip(&items) {
                    let before = if number == 0 { "[" } else { ",\n " };
                    write!(output, "{before}{}", serde_json::to_string(item)?)?;
                }
            }
        }
        self.written += items.len() as u64;
        Ok(())
    }

    fn end(self, output: &mut impl Write) -> anyhow::Result<()> {
        match (self.table, self.written) {
            (Some(_), 0) => writeln!(output, "nothing is parked")?,
            (Some(_), _) => {}
            (None, 0) => writeln!(output, "[]")?,
            (None, _) => writeln!(output, "]")?,
        }
        Ok(())
    }
}

impl Item {
    fn row(&self) -> Vec<String> {
        let Self { item, discarded_at } = self;
        let error = if discarded_at.is_some() { format!("discarded; {}", item.error) } else { item.error.clone() };
        vec![
            item.id.to_string(),
            item.projection.clone(),
            format!("{}/{} {}", item.topic, item.partition, item.offset),
            item.parked_at.to_string(),
            cut(&item.key, KEY),
            cut(&error, ERROR),
        ]
    }
}
