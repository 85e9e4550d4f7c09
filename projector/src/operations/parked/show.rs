use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::bail;
use balcony_store::{Generation, GenerationTx, ParkedRecord};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::finding::find_any;
use crate::Installation;
use crate::kept::read;
use crate::moment::Moment;
use crate::operations::terminal::{Terminal, shown};

/// How many of those that wait behind a record are named.
const NAMED: u32 = 20;

pub(super) async fn show(installation: &Installation, id: Uuid, terminal: &mut Terminal<'_>) -> anyhow::Result<()> {
    let Some((generation, record)) = find_any(installation, id).await? else { bail!("no record {id} is parked") };
    let mut tx = installation.database.look_at(&generation).await?;
    let text = text(&generation, &record, &mut tx).await?;
    terminal.output.write_all(text.as_bytes())?;
    Ok(())
}

async fn text(generation: &Generation, record: &ParkedRecord, tx: &mut GenerationTx) -> anyhow::Result<String> {
    let key = record.key.as_slice();
    let mut text = String::new();
    writeln!(text, "id          {}", record.id)?;
    writeln!(text, "projection  {}, generation {}", generation.projection, generation.number)?;
    let partition = &record.partition;
    writeln!(text, "position    {}, partition {}, offset {}", partition.topic, partition.partition, record.offset)?;
    writeln!(
        text,
        "key         {}",
        if key.is_empty() { "none".into() } else { shown(&String::from_utf8_lossy(key)) }
    )?;
    let (headers, appended_at) = read(&record.headers);
    if appended_at > 0 {
        writeln!(text, "appended at {}", Moment::from_milliseconds(appended_at))?;
    }
    writeln!(text, "parked at   {}", Moment::from_milliseconds(record.parked_at))?;
    if let Some(discarded_at) = record.discarded_at {
        writeln!(text, "discarded   {}", Moment::from_milliseconds(discarded_at))?;
    }
    writeln!(text, "error       {}", shown(&record.error))?;
    writeln!(text, "headers")?;
    for (name, value) in headers.iter() {
        match std::str::from_utf8(value) {
            Ok(value) => writeln!(text, "  {}: {}", shown(name), shown(value))?,
            Err(_) => writeln!(text, "  {}, in base64: {}", shown(name), STANDARD.encode(value))?,
        }
    }
    match std::str::from_utf8(&record.payload) {
        Ok(payload) => writeln!(text, "payload, {} bytes\n{}", payload.len(), shown(payload))?,
        Err(_) => {
            writeln!(text, "payload, {} bytes, in base64\n{}", record.payload.len(), STANDARD.encode(&record.payload))?;
        }
    }
    if !key.is_empty() && record.discarded_at.is_none() {
        around(&mut text, record, tx).await?;
    }
    Ok(text)
}

/// What the record waits behind, and what waits behind it.
async fn around(text: &mut String, record: &ParkedRecord, tx: &mut GenerationTx) -> anyhow::Result<()> {
    let first = tx.parked_of_key(&record.partition, &record.key, 0, 1).await?.pop();
    if let Some(first) = first.filter(|first| first.offset < record.offset) {
        writeln!(text, "it waits behind\n  {} offset {}", first.id, first.offset)?;
    }
    let from = record.offset + 1;
    let behind = tx.parked_count_of_key(&record.partition, &record.key, from).await?;
    if behind > 0 {
        writeln!(text, "{behind} wait behind it")?;
        for waiting in tx.parked_of_key(&record.partition, &record.key, from, NAMED).await? {
            writeln!(text, "  {} offset {}", waiting.id, waiting.offset)?;
        }
        if behind > i64::from(NAMED) {
            writeln!(text, "  and {} more", behind - i64::from(NAMED))?;
        }
    }
    Ok(())
}
