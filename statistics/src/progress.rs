//! How far each partition has come.

use std::collections::BTreeMap;

use balcony_event_log::TopicPartition;
use balcony_projector::Received;
use balcony_store::{StoreError, Tx, Value};

use crate::Occurrence;

/// How far the partitions of a batch had come before it, and come with it.
pub(crate) struct Progress<'e> {
    sources: BTreeMap<&'e TopicPartition, Source>,
    /// No time after this is believed, in milliseconds since 1970. It decides what goes and is not written: two that read
    /// the same write the same.
    latest: i64,
}

/// A partition.
pub(crate) struct Source {
    /// What it is called in the tables.
    pub(crate) name: String,
    pub(crate) before: Option<Mark>,
    /// The latest time of its events; see [`Progress::pass`].
    pub(crate) at: i64,
    /// The offset of its last event.
    pub(crate) offset: i64,
}

/// How far a partition has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) at: i64,
    pub(crate) offset: i64,
}

impl<'e> Progress<'e> {
    pub(crate) async fn of<E>(events: &'e [Received<E>], latest: i64, tx: &mut Tx) -> Result<Self, StoreError> {
        let mut sources: BTreeMap<&TopicPartition, Source> = BTreeMap::new();
        for event in events {
            let source = sources.entry(&event.partition).or_insert_with(|| Source {
                name: source_name(&event.partition),
                before: None,
                at: i64::MIN,
                offset: event.offset,
            });
            source.offset = event.offset;
        }
        let names: Vec<[Value<'_>; 1]> = sources.values().map(|source| [source.name.as_str().into()]).collect();
        let sql = "SELECT source, at, record_offset FROM counted_to WHERE source IN (VALUES $rows)";
        let marks: Vec<(String, i64, i64)> = tx.fetch_rows(sql, &names).await?;
        for (name, at, offset) in marks {
            for source in sources.values_mut().filter(|source| source.name == name) {
                (source.before, source.at) = (Some(Mark { at, offset }), at);
            }
        }
        Ok(Self { sources, latest })
    }

    /// Notes the time of an event. One that claims to be of a time after its record was appended brings nothing
    /// forward: a clock that runs ahead must not make windows go.
    pub(crate) fn pass<E: Occurrence>(&mut self, event: &Received<E>) {
        let at = event.value.at();
        let at = if event.appended_at > 0 { at.min(event.appended_at) } else { at };
        let source = self.sources.get_mut(&event.partition).expect("every event has its source");
        source.at = source.at.max(at);
    }

    pub(crate) fn get(&self, partition: &TopicPartition) -> &Source {
        self.sources.get(partition).expect("every event has its source")
    }

    /// The time from which it is counted back what is kept of `source`.
    pub(crate) fn newest(&self, source: &Source) -> i64 {
        source.at.min(self.latest)
    }

    /// What the partition is called in the tables.
    pub(crate) fn source(&self, partition: &TopicPartition) -> &str {
        &self.get(partition).name
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.sources.values()
    }

    pub(crate) async fn write(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let rows: Vec<[Value<'_>; 3]> = self
            .sources()
            .map(|source| [source.name.as_str().into(), source.at.into(), source.offset.into()])
            .collect();
        let sql = "INSERT INTO counted_to (source, at, record_offset) VALUES $rows
                   ON CONFLICT (source) DO UPDATE SET at = excluded.at, record_offset = excluded.record_offset";
        tx.execute_rows(sql, &rows).await.map(drop)
    }
}

/// What a partition is called in the tables.
pub(crate) fn source_name(partition: &TopicPartition) -> String {
    format!("{}/{}", partition.topic, partition.partition)
}
