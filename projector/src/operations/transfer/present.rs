//! Which lines of an import the log holds already, after one that was killed.
//!
//! Of the lines that were appended none stands [`WINDOW`] or more behind the first that was not (see
//! [`appending`](super::appending)). So when the log holds `count` records, every line below `count - WINDOW` is there
//! and none from `count + WINDOW` on; what is between is looked for in the log. That needs memory for a window, however
//! long the log is.

use std::collections::{BTreeSet, HashMap};

use anyhow::ensure;
use balcony_event_log::{EventLog, Positions, Record};

use super::digest::{Digest, RecordDigest, of_record};
use super::place::RecordPlace;
use super::reading::{ends, read};
use super::spool::Spool;
use crate::Topics;

/// Lines between the first that is not in the log and the last that is begun. An import of another version of this
/// program may go on with this one's, so it only ever grows.
pub(super) const WINDOW: u64 = 512;

/// Lines that need not be appended any more, counted from 0.
#[derive(Debug, Default)]
pub(super) struct Present {
    below: u64,
    beyond: BTreeSet<u64>,
}

impl Present {
    /// Finds the lines of `spool` in `log`.
    ///
    /// # Errors
    /// When the log holds anything else.
    pub(super) async fn find(log: &dyn EventLog, topics: &Topics, spool: &Spool) -> anyhow::Result<Self> {
        let to = ends(log, topics).await?;
        let mut held = Digest::default();
        read_digests(log, topics, &to, |record| held.add(&record)).await?;

        let uncertain = held.events.saturating_sub(WINDOW)..held.events.saturating_add(WINDOW);
        let mut between = Vec::new();
        spool.each_digest(|index, record| {
            if uncertain.contains(&index) {
                between.push((index, *record));
            }
        })?;
        // How often each stands in the log, beyond where it stands among the lines that are certainly there.
        let mut times: HashMap<RecordDigest, i64> = between.iter().map(|(_, record)| (*record, 0)).collect();
        let mut found = Digest::default();
        spool.each_digest(|index, record| {
            if index < uncertain.start {
                found.add(record);
                times.entry(*record).and_modify(|times| *times -= 1);
            }
        })?;
        read_digests(log, topics, &to, |record| {
            times.entry(record).and_modify(|times| *times += 1);
        })
        .await?;

        let mut present = Self { below: uncertain.start, beyond: BTreeSet::new() };
        for (index, record) in between {
            if let Some(times) = times.get_mut(&record).filter(|times| **times > 0) {
                *times -= 1;
                found.add(&record);
                present.beyond.insert(index);
            }
        }
        ensure!(
            found == held,
            "the log holds something else than the beginning of these events; an import wants a new installation, or \
             one that the same events were being imported into"
        );
        Ok(present)
    }

    /// How many lines need not be appended.
    pub(super) fn count(&self) -> u64 {
        self.below + self.beyond.len() as u64
    }

    pub(super) fn has(&self, index: u64) -> bool {
        index < self.below || self.beyond.contains(&index)
    }
}

async fn read_digests(
    log: &dyn EventLog,
    topics: &Topics,
    to: &Positions,
    mut take: impl FnMut(RecordDigest),
) -> anyhow::Result<()> {
    read(log, topics, &Positions::new(), to, |records, _| {
        for record in records {
            let Record { key, headers, payload, .. } = record;
            take(of_record(RecordPlace::of(record, topics).topic.name(topics), key, headers, payload));
        }
        Ok(())
    })
    .await
    .map(drop)
}
