use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{EventLog, Incoming, LogError, Positions, Record, TopicPartition};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::{Desk, DeskError};
use crate::application::InstalledTopic;
use crate::operations::transfer::{RecordPlace, encode};

/// A topic and where its partitions begin and end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TopicExtent {
    /// Its name in the program.
    pub name: Arc<str>,
    /// Its name in the log.
    pub full_name: Arc<str>,
    /// How many seconds its records are kept; null is for ever.
    pub retention_seconds: Option<u64>,
    /// How many records it holds; null while they are being counted. On Kafka they are the offsets between the start and the end
    /// of all partitions, those of transactions' marks included.
    pub records: Option<i64>,
    /// Its partitions.
    pub partitions: Vec<PartitionExtent>,
}

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PartitionExtent {
    /// Its number.
    pub partition: i32,
    /// The first offset that is still there.
    pub start: i64,
    /// The offset that the next record will have at the earliest.
    pub end: i64,
}

/// Which records of a topic are wanted.
#[derive(Debug, Clone, Default)]
pub struct RecordsWanted {
    /// Only those of this partition.
    pub partition: Option<i32>,
    /// Only those with this key.
    pub key: Option<Vec<u8>>,
    /// Only those appended at this time or later, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Begins at this offset in each partition. Without this, a key and a time, the newest come first.
    pub offset: Option<i64>,
    /// Goes on where an answer before has ended, whatever else says where to begin: at these offsets, or below them where the
    /// newest come first.
    pub from: Option<Positions>,
    /// How many at the most.
    pub most: usize,
}

/// Records that were found.
#[derive(Debug)]
pub struct RecordsFound {
    /// Each as a CloudEvent in JSON, as an export has it.
    pub records: Vec<Box<RawValue>>,
    /// Where looking goes on; `None` when everything was looked at.
    pub next: Option<Positions>,
}

/// How many records are looked at for one answer.
const LOOKED_AT: usize = 200_000;
/// How long looking may take.
const PATIENCE: Duration = Duration::from_secs(3);

impl Desk {
    /// Every topic with its extent.
    ///
    /// # Errors
    /// [`DeskError::Log`].
    pub async fn topics(&self) -> Result<Vec<TopicExtent>, DeskError> {
        let (log, topics) = (&self.installation.log, &self.installation.topics);
        let names = topics.names();
        let (starts, ends, counts) = tokio::try_join!(log.starts(&names), log.ends(&names), log.counts(&names))?;
        let counted = topics.iter().zip(counts);
        Ok(counted.map(|(topic, records)| TopicExtent::of(topic, records, &starts, &ends)).collect())
    }

    /// Records of the topic called `topic`, by its name in the program or in the log: from an offset, a time or for a
    /// key on in the order of the log (of several partitions by time within what was read together), or the newest.
    ///
    /// # Errors
    /// [`DeskError::Log`], [`DeskError::UnknownTopic`], and [`DeskError::UnknownPartition`].
    pub async fn records(&self, topic: &str, wanted: &RecordsWanted) -> Result<RecordsFound, DeskError> {
        let log = self.installation.log.as_ref();
        let topic = self.topic(topic)?.full.clone();
        let names = std::slice::from_ref(&topic);
        let (starts, ends) = tokio::try_join!(log.starts(names), log.ends(names))?;
        let mut partitions: Vec<TopicPartition> = ends.partitions().cloned().collect();
        if let Some(number) = wanted.partition {
            partitions.retain(|partition| partition.partition == number);
            if partitions.is_empty() {
                return Err(DeskError::UnknownPartition { topic: topic.to_string(), partitions: ends.len() });
            }
        }
        let ends = ends.among(&partitions);
        let starts: Positions =
            partitions.iter().map(|partition| (partition.clone(), starts.next_offset(partition))).collect();
        if wanted.offset.is_none() && wanted.since.is_none() && wanted.key.is_none() {
            let below = wanted.from.as_ref().map_or(ends.clone(), |given| given.among(&partitions).up_to(&ends));
            return self.newest(&starts, &below, wanted.most).await;
        }
        let mut from = starts;
        if let Some(given) = &wanted.from {
            from.merge(&given.among(&partitions));
        } else if let Some(offset) = wanted.offset {
            from.merge(&partitions.iter().map(|partition| (partition.clone(), offset)).collect());
        } else if let Some(since) = wanted.since {
            from = self.since(&from, &ends, since).await?;
        }
        self.forward(from, &ends, wanted).await
    }

    fn topic(&self, name: &str) -> Result<&InstalledTopic, DeskError> {
        let topics = &self.installation.topics;
        let found = topics.iter().find(|topic| &*topic.short == name || &*topic.full == name);
        found.ok_or_else(|| DeskError::UnknownTopic {
            name: name.to_owned(),
            known: topics.iter().map(|topic| topic.short.to_string()).collect(),
        })
    }

    /// Where each partition begins to have records that were appended at `since` or later.
    async fn since(&self, starts: &Positions, ends: &Positions, since: i64) -> Result<Positions, DeskError> {
        let mut looking = JoinSet::new();
        for (partition, end) in ends {
            let (log, partition, start) =
                (self.installation.log.clone(), partition.clone(), starts.next_offset(partition));
            looking.spawn(async move {
                let first = first_since(log.as_ref(), &partition, start, end, since).await?;
                Ok::<_, LogError>((partition, first))
            });
        }
        let mut first = Positions::new();
        while let Some(found) = looking.join_next().await {
            let (partition, offset) = found.expect("looking does not panic")?;
            first.set(partition, offset);
        }
        Ok(first)
    }

    /// The last records below `ends`, the newest first.
    async fn newest(&self, starts: &Positions, ends: &Positions, most: usize) -> Result<RecordsFound, DeskError> {
        let mut back = i64::try_from(most).unwrap_or(i64::MAX);
        let mut found = Vec::new();
        loop {
            let begin = |(partition, end): (&TopicPartition, i64)| {
                let start = starts.next_offset(partition);
                (partition.clone(), start.max(end.saturating_sub(back)))
            };
            let from: Positions = ends.into_iter().map(begin).collect();
            found.clear();
            look(self.installation.log.as_ref(), from.clone(), ends, |record| {
                found.push(record);
                found.len() < LOOKED_AT
            })
            .await?;
            if found.len() >= most || starts.covers(&from) || found.len() >= LOOKED_AT {
                break;
            }
            // Offsets have holes.
            back = back.saturating_mul(4);
        }
        let found = newest_first(found, most);
        // Where an answer ends in a partition, the next one goes on.
        let mut next = ends.clone();
        for record in &found {
            next.set(record.partition.clone(), record.offset);
        }
        let is_all = found.len() < most || starts.covers(&next);
        Ok(RecordsFound {
            records: found.iter().map(|record| self.shown(record)).collect(),
            next: (!is_all).then_some(next),
        })
    }

    async fn forward(
        &self,
        from: Positions,
        ends: &Positions,
        wanted: &RecordsWanted,
    ) -> Result<RecordsFound, DeskError> {
        let (mut found, mut looked_at) = (Vec::new(), 0);
        let is_wanted = |record: &Record| {
            wanted.key.as_ref().is_none_or(|key| record.key == *key)
                && wanted.since.is_none_or(|since| record.timestamp >= since)
        };
        let reached = look(self.installation.log.as_ref(), from, ends, |record| {
            looked_at += 1;
            if is_wanted(&record) {
                found.push(record);
            }
            found.len() < wanted.most && looked_at < LOOKED_AT
        })
        .await?;
        let is_done = reached.covers(ends);
        found.sort_by_key(|record| (record.timestamp, record.partition.partition, record.offset));
        Ok(RecordsFound {
            records: found.iter().map(|record| self.shown(record)).collect(),
            next: (!is_done).then_some(reached),
        })
    }

    fn shown(&self, record: &Record) -> Box<RawValue> {
        let place = RecordPlace::of(record, &self.installation.topics);
        let line = String::from_utf8(encode(place, record, &self.format)).expect("JSON is UTF-8");
        RawValue::from_string(line).expect("a line is JSON")
    }
}

/// The last `most` of these records: of each partition in the order of its offsets backwards, of several by time.
fn newest_first(found: Vec<Record>, most: usize) -> Vec<Record> {
    let mut of_partitions: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
    for record in found {
        of_partitions.entry(record.partition.partition).or_default().push(record);
    }
    let mut newest = Vec::new();
    while newest.len() < most {
        let last_of_each = of_partitions.values_mut().filter(|records| !records.is_empty());
        let latest = last_of_each.max_by_key(|records| records.last().map(|record| (record.timestamp, record.offset)));
        let Some(record) = latest.and_then(Vec::pop) else { break };
        newest.push(record);
    }
    newest
}

/// Reads from `from` up to `ends`, until `take` says that it is enough or time is up; gives how far it came.
async fn look(
    log: &dyn EventLog,
    from: Positions,
    ends: &Positions,
    mut take: impl FnMut(Record) -> bool,
) -> Result<Positions, DeskError> {
    let deadline = Instant::now() + PATIENCE;
    let mut reached = from.clone();
    let from = from.behind(ends);
    if from.is_empty() {
        return Ok(reached);
    }
    let mut reader = log.read(from);
    while !reached.covers(ends) {
        let batch = match timeout_at(deadline, reader.next()).await {
            Err(_) => break,
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(Incoming::Records(batch))) => batch,
            Ok(Ok(Incoming::Assigned(_) | Incoming::Revoked(_))) => continue,
        };
        for record in batch.records {
            if record.offset >= ends.next_offset(&record.partition) {
                continue;
            }
            reached.set(record.partition.clone(), record.offset + 1);
            if !take(record) {
                return Ok(reached);
            }
        }
        reached.merge(&batch.reached);
    }
    Ok(reached)
}

/// The first offset of `partition` whose record was appended at `since` or later, or nearly: appends at the same moment
/// may stand in another order than their times. Found by halving.
async fn first_since(
    log: &dyn EventLog,
    partition: &TopicPartition,
    mut start: i64,
    mut end: i64,
    since: i64,
) -> Result<i64, LogError> {
    while start < end {
        let middle = start + (end - start) / 2;
        match record_at(log, partition, middle).await? {
            Some(record) if record.timestamp < since => start = record.offset + 1,
            // Nothing stands between the middle and the end, or it is late enough.
            _ => end = middle,
        }
    }
    Ok(start)
}

/// The first record at `offset` or behind it, if it comes in time.
async fn record_at(log: &dyn EventLog, partition: &TopicPartition, offset: i64) -> Result<Option<Record>, LogError> {
    let deadline = Instant::now() + PATIENCE;
    let mut reader = log.read([(partition.clone(), offset)].into_iter().collect());
    loop {
        match timeout_at(deadline, reader.next()).await {
            Err(_) => return Ok(None),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(Incoming::Records(batch))) => {
                if let Some(record) = batch.records.into_iter().next() {
                    return Ok(Some(record));
                }
            }
            Ok(Ok(Incoming::Assigned(_) | Incoming::Revoked(_))) => {}
        }
    }
}

impl TopicExtent {
    fn of(topic: &InstalledTopic, records: Option<i64>, starts: &Positions, ends: &Positions) -> Self {
        let extent = |(partition, end): (&TopicPartition, i64)| PartitionExtent {
            partition: partition.partition,
            start: starts.next_offset(partition),
            end,
        };
        let of_topic = ends.into_iter().filter(|(partition, _)| partition.topic == topic.full);
        let mut partitions: Vec<PartitionExtent> = of_topic.map(extent).collect();
        partitions.sort_by_key(|partition| partition.partition);
        Self {
            name: topic.short.clone(),
            full_name: topic.full.clone(),
            retention_seconds: topic.retention.map(|retention| retention.as_secs()),
            records,
            partitions,
        }
    }
}
