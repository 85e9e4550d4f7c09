//! Where a record stands, without the name that the installation gives its topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use balcony_event_log::{Record, TopicPartition};

use crate::{InstalledTopic, Topics};

/// A declared topic, by its place among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Topic(usize);

/// Where a record stands in the log it was read from: `orders/3/41` is offset 41 of partition 3 of the topic that the
/// program calls `orders`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::operations) struct RecordPlace {
    pub(super) topic: Topic,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// How far each partition has come in a file of lines.
#[derive(Debug, Default)]
pub(super) struct Places<T> {
    /// The last offset of each partition, and what was remembered of its record.
    last: BTreeMap<(Topic, i32), (i64, T)>,
}

/// Partitions that a file may name. Kafka's topics have far fewer.
const PARTITIONS_LIMIT: usize = 100_000;

impl Topic {
    /// The first that is declared.
    pub(super) const FIRST: Self = Self(0);

    /// The topic with this short name.
    pub(super) fn called(short: &str, topics: &Topics) -> anyhow::Result<Self> {
        topics.iter().position(|topic| &*topic.short == short).map(Self).with_context(|| {
            let declared: Vec<&str> = topics.iter().map(|topic| &*topic.short).collect();
            format!("{short:?} is not a topic of this program; there are {}", declared.join(", "))
        })
    }

    fn of(self, topics: &Topics) -> &InstalledTopic {
        topics.iter().nth(self.0).expect("a topic stays among those it was found in")
    }

    /// Its name without a prefix.
    pub(super) fn name(self, topics: &Topics) -> &str {
        &self.of(topics).short
    }

    /// Its name in an installation.
    pub(super) fn in_installation(self, topics: &Topics) -> &Arc<str> {
        &self.of(topics).full
    }
}

/// Whether records of the topic called `full` leave the log in time.
pub(super) fn is_finite(full: &str, topics: &Topics) -> bool {
    topics.iter().any(|topic| &*topic.full == full && topic.retention.is_some())
}

impl RecordPlace {
    /// Where `record` stands, in one of `topics`.
    pub(in crate::operations) fn of(record: &Record, topics: &Topics) -> Self {
        let topic = topics.iter().position(|topic| topic.full == record.partition.topic);
        let topic = Topic(topic.expect("only declared topics are read"));
        Self { topic, partition: record.partition.partition, offset: record.offset }
    }

    /// Reads what [`RecordPlace::text`] writes.
    pub(super) fn parse(text: &str, topics: &Topics) -> anyhow::Result<Self> {
        let parse = || {
            let mut parts = text.split('/');
            let topic = parts.next()?;
            let (partition, offset) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            (parts.next().is_none() && partition >= 0 && offset >= 0).then_some((topic, partition, offset))
        };
        let (topic, partition, offset) = parse().with_context(|| {
            let example = topics.iter().next().map_or("events", |topic| &*topic.short);
            format!("{text:?} is not a topic, partition and offset, such as {example}/3/41")
        })?;
        Ok(Self { topic: Topic::called(topic, topics)?, partition, offset })
    }

    pub(super) fn text(self, topics: &Topics) -> String {
        format!("{}/{}/{}", self.topic.name(topics), self.partition, self.offset)
    }
}

impl<T> Places<T> {
    pub(super) fn new() -> Self {
        Self { last: BTreeMap::new() }
    }

    /// Takes the next record, which has to stand behind those of its partition that were taken before.
    pub(super) fn take(&mut self, place: RecordPlace, remembered: T, topics: &Topics) -> anyhow::Result<()> {
        let before = self.last.insert((place.topic, place.partition), (place.offset, remembered));
        if let Some((before, _)) = before
            && before >= place.offset
        {
            let before = RecordPlace { offset: before, ..place };
            bail!("stands at {}, and a line before at {}", place.text(topics), before.text(topics));
        }
        ensure!(self.last.len() <= PARTITIONS_LIMIT, "names one partition more than {PARTITIONS_LIMIT}");
        Ok(())
    }

    /// The last record of each partition, and where it stood.
    pub(super) fn last<'a>(&'a self, topics: &'a Topics) -> impl Iterator<Item = (TopicPartition, i64, &'a T)> {
        self.last.iter().map(|((topic, partition), (offset, remembered))| {
            let partition = TopicPartition::new(Arc::clone(topic.in_installation(topics)), *partition);
            (partition, *offset, remembered)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::TopicSpec;

    fn topics() -> Topics {
        Topics::with_prefix("t.", &["events", "views", "more"].map(TopicSpec::forever))
    }

    fn place(text: &str) -> anyhow::Result<RecordPlace> {
        RecordPlace::parse(text, &topics())
    }

    #[test]
    fn a_place_reads_as_it_is_written_and_nothing_else_does() {
        for text in ["events/0/0", "views/17/9000000000", "more/1/2"] {
            assert_eq!(place(text).unwrap().text(&topics()), text);
        }
        for text in ["", "events", "events/0", "events/0/1/2", "events/-1/0", "events/0/-1", "facts/0/1", "events/a/1"]
        {
            assert!(place(text).is_err(), "{text}");
        }
        let error = place("facts/0/1").unwrap_err().to_string();
        assert_eq!(error, "\"facts\" is not a topic of this program; there are events, views, more");
    }

    #[test]
    fn a_partition_only_moves_on() {
        let mut places = Places::new();
        for text in ["events/0/5", "views/0/5", "events/1/2", "events/0/9"] {
            places.take(place(text).unwrap(), (), &topics()).unwrap();
        }
        for text in ["events/0/9", "events/0/8", "views/0/5"] {
            assert!(places.take(place(text).unwrap(), (), &topics()).is_err(), "{text}");
        }
    }
}
