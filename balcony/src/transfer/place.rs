//! Where a record stands, without the name that the installation gives its topics.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use balcony_domain::Topics;
use balcony_event_log::{Record, TopicPartition};

/// A topic, whatever the prefix of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Topic {
    Facts,
    Views,
}

/// Where a record stands in the log it was read from: `events/3/41` is offset 41 of partition 3 of the facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
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
    /// Its name without a prefix.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Facts => "events",
            Self::Views => "views",
        }
    }

    /// Its name in an installation.
    pub(super) fn in_installation(self, topics: &Topics) -> &Arc<str> {
        match self {
            Self::Facts => &topics.facts,
            Self::Views => &topics.views,
        }
    }
}

impl Place {
    /// Where `record` stands, in one of `topics`.
    pub(super) fn of(record: &Record, topics: &Topics) -> Self {
        let topic = if record.partition.topic == topics.facts { Topic::Facts } else { Topic::Views };
        Self { topic, partition: record.partition.partition, offset: record.offset }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic.name(), self.partition, self.offset)
    }
}

impl FromStr for Place {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parse = || {
            let mut parts = text.split('/');
            let topic = match parts.next()? {
                "events" => Topic::Facts,
                "views" => Topic::Views,
                _ => return None,
            };
            let place = Self { topic, partition: parts.next()?.parse().ok()?, offset: parts.next()?.parse().ok()? };
            (parts.next().is_none() && place.partition >= 0 && place.offset >= 0).then_some(place)
        };
        parse().with_context(|| format!("{text:?} is not a topic, partition and offset, such as events/3/41"))
    }
}

impl<T> Places<T> {
    pub(super) fn new() -> Self {
        Self { last: BTreeMap::new() }
    }

    /// Takes the next record, which has to stand behind those of its partition that were taken before.
    pub(super) fn take(&mut self, place: Place, remembered: T) -> anyhow::Result<()> {
        let before = self.last.insert((place.topic, place.partition), (place.offset, remembered));
        if let Some((before, _)) = before
            && before >= place.offset
        {
            bail!("stands at {place}, and a line before at {}", Place { offset: before, ..place });
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

    #[test]
    fn a_place_reads_as_it_is_written_and_nothing_else_does() {
        for text in ["events/0/0", "views/17/9000000000"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for text in ["", "events", "events/0", "events/0/1/2", "events/-1/0", "events/0/-1", "facts/0/1", "events/a/1"]
        {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_partition_only_moves_on() {
        let mut places = Places::new();
        for text in ["events/0/5", "views/0/5", "events/1/2", "events/0/9"] {
            places.take(text.parse().unwrap(), ()).unwrap();
        }
        for text in ["events/0/9", "events/0/8", "views/0/5"] {
            assert!(places.take(text.parse().unwrap(), ()).is_err(), "{text}");
        }
    }
}
