//! Which events are repeats.

use std::collections::HashMap;

use balcony_projector::Received;
use balcony_store::{StoreError, Tx, Uuid, Value};

use crate::Occurrence;
use crate::progress::Progress;
use crate::window::floor;

/// Remembers the ids of the newest records of each partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// A record repeats another that is at most so many offsets before it.
    pub(crate) reach: i64,
}

impl Memory {
    /// Says of each event whether it counts, and remembers those that do.
    ///
    /// What is remembered depends on offsets alone: a record that was remembered and is out of reach is as good as
    /// forgotten, whether it is gone already or not.
    pub(crate) async fn tell_new<E: Occurrence>(
        self,
        events: &[Received<E>],
        progress: &Progress<'_>,
        tx: &mut Tx,
    ) -> Result<Vec<bool>, StoreError> {
        if self.reach == 0 {
            return Ok(vec![true; events.len()]);
        }
        let known: Vec<(usize, Uuid)> =
            events.iter().enumerate().filter_map(|(index, event)| Some((index, event.value.id()?))).collect();
        let rows: Vec<[Value<'_>; 3]> = known
            .iter()
            .map(|&(index, id)| {
                let event = &events[index];
                [id.into(), progress.source(&event.partition).into(), event.offset.into()]
            })
            .collect();
        let columns = ["id", "source", "record_offset"];
        let inserted = tx.insert_new("counted_ids", &["id", "source"], columns, &rows).await?;

        let mut counts = vec![true; events.len()];
        let met_before: Vec<usize> = (0..known.len()).filter(|&at| !inserted[at]).collect();
        if !met_before.is_empty() {
            self.weigh(events, progress, &known, &met_before, &mut counts, tx).await?;
        }
        self.forget(progress, tx).await?;
        Ok(counts)
    }

    /// Decides on the events of `known` at `met_before`, whose ids are remembered from before.
    async fn weigh<E: Occurrence>(
        self,
        events: &[Received<E>],
        progress: &Progress<'_>,
        known: &[(usize, Uuid)],
        met_before: &[usize],
        counts: &mut [bool],
        tx: &mut Tx,
    ) -> Result<(), StoreError> {
        let keys: Vec<[Value<'_>; 2]> = met_before
            .iter()
            .map(|&at| {
                let (index, id) = known[at];
                [id.into(), progress.source(&events[index].partition).into()]
            })
            .collect();
        let sql = "SELECT id, source, record_offset FROM counted_ids WHERE (id, source) IN (VALUES $rows)";
        let found: Vec<(Uuid, String, i64)> = tx.fetch_rows(sql, &keys).await?;
        let mut first: HashMap<(Uuid, &str), i64> =
            found.iter().map(|(id, source, offset)| ((*id, source.as_str()), *offset)).collect();

        let mut again: HashMap<(Uuid, &str), i64> = HashMap::new();
        for &at in met_before {
            let (index, id) = known[at];
            let event = &events[index];
            let key = (id, progress.source(&event.partition));
            let first = first.get_mut(&key).expect("what was not inserted is there");
            if event.offset - *first <= self.reach {
                counts[index] = false;
            } else {
                *first = event.offset;
                again.insert(key, event.offset);
            }
        }
        let mut rows: Vec<_> = again.into_iter().collect();
        rows.sort_unstable();
        let rows: Vec<[Value<'_>; 3]> =
            rows.into_iter().map(|((id, source), offset)| [id.into(), source.into(), offset.into()]).collect();
        let sql = "WITH again (id, source, record_offset) AS (VALUES $rows)
                   UPDATE counted_ids SET record_offset = again.record_offset
                   FROM again WHERE counted_ids.id = again.id AND counted_ids.source = again.source";
        tx.execute_rows(sql, &rows).await.map(drop)
    }

    /// Lets go of what is out of reach, a tenth of the reach at a time.
    async fn forget(self, progress: &Progress<'_>, tx: &mut Tx) -> Result<(), StoreError> {
        let step = (self.reach / 10).max(1);
        let in_reach = |offset: i64| floor(offset - self.reach, step);
        for source in progress.sources() {
            if source.before.is_none_or(|before| in_reach(before.offset) < in_reach(source.offset)) {
                let sql = "DELETE FROM counted_ids WHERE source = $1 AND record_offset < $2";
                tx.execute(sql, &[source.name.as_str().into(), in_reach(source.offset).into()]).await?;
            }
        }
        Ok(())
    }
}
