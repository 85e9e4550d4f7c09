use std::sync::Arc;

use crate::{EventLog, Incoming, LogError, Positions, Reader, Record};

/// A part of the log that has an end. It is read like the log, and is over once all of it was given.
pub struct Excerpt {
    reader: Reader,
    reached: Positions,
    to: Positions,
}

impl Excerpt {
    /// Everything that is in `topics` now.
    ///
    /// # Errors
    /// As [`EventLog::ends`].
    pub async fn whole(log: &dyn EventLog, topics: &[Arc<str>]) -> Result<Self, LogError> {
        let (from, to) = (log.starts(topics).await?, log.ends(topics).await?);
        Ok(Self::between(log, from, to))
    }

    /// What stands in the partitions of `to` from `from` up to it.
    pub fn between(log: &dyn EventLog, from: Positions, to: Positions) -> Self {
        Self { reader: log.read(from.behind(&to)), reached: from, to }
    }

    /// The next records, in order within each partition; `None` when there are no more. Waits for a log that is slow.
    ///
    /// # Errors
    /// As [`Reader::next`]. What was not given yet can be asked for again where that may pass.
    pub async fn next(&mut self) -> Result<Option<Vec<Record>>, LogError> {
        while !self.reached.covers(&self.to) {
            let Incoming::Records(mut batch) = self.reader.next().await? else { continue };
            self.reached.merge(&batch.reached);
            // A batch may go further.
            batch.records.retain(|record| record.offset < self.to.next_offset(&record.partition));
            if !batch.records.is_empty() {
                return Ok(Some(batch.records));
            }
        }
        Ok(None)
    }

    /// All that is left, at once: for little.
    ///
    /// # Errors
    /// As [`Excerpt::next`].
    pub async fn rest(mut self) -> Result<Vec<Record>, LogError> {
        let mut all = Vec::new();
        while let Some(records) = self.next().await? {
            all.extend(records);
        }
        Ok(all)
    }
}
