//! Reads a part of the log that has an end.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use balcony_event_log::{EventLog, Incoming, LogError, Positions, Reader, Record, TopicPartition};
use tokio::time::{Instant, timeout_at};

use super::place::is_finite;
use crate::Topics;

/// How long nothing may come of a log that has more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Records that were wanted and are not in the log any more, although their topic is kept for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) partition: TopicPartition,
    /// The first of their offsets.
    pub(super) from: i64,
    /// Where the log goes on.
    pub(super) to: i64,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition: TopicPartition { topic, partition }, from, to } = self;
        write!(f, "{topic}/{partition}: what stood from offset {from} up to {to} is not in the log any more")
    }
}

/// Where every topic ends now.
pub(super) async fn ends(log: &dyn EventLog, topics: &Topics) -> anyhow::Result<Positions> {
    let names = topics.names();
    patiently(async || log.ends(&names).await).await.context("the log does not say where it ends")
}

async fn starts(log: &dyn EventLog, topics: &Topics) -> anyhow::Result<Positions> {
    let names = topics.names();
    patiently(async || log.starts(&names).await).await.context("the log does not say where it begins")
}

/// Asks again while the log is away.
async fn patiently(ask: impl AsyncFn() -> Result<Positions, LogError>) -> Result<Positions, LogError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(error @ LogError::Unavailable(_)) if Instant::now() < deadline => {
                tracing::warn!(%error, "waiting for the log");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            answer => return answer,
        }
    }
}

/// Reads every record from `from` up to `to`, in order within each partition, and gives them to `take` with how far
/// reading has come. Partitions that `from` does not name are read from the beginning. What is gone is passed over; of
/// topics that are kept for ever it is given back.
pub(super) async fn read(
    log: &dyn EventLog,
    topics: &Topics,
    from: &Positions,
    to: &Positions,
    mut take: impl FnMut(&[Record], &Positions) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Gap>> {
    let mut reached: Positions = to.partitions().map(|of| (of.clone(), from.next_offset(of))).collect();
    let mut gaps = Vec::new();
    let mut out_of_range = None;
    while !reached.covers(to) {
        let before = reached.clone();
        for (partition, start) in &starts(log, topics).await? {
            let (from, to) = (reached.next_offset(partition), start.min(to.next_offset(partition)));
            if from < to {
                if !is_finite(&partition.topic, topics) {
                    gaps.push(Gap { partition: partition.clone(), from, to });
                }
                reached.set(partition.clone(), to);
            }
        }
        if let Some(error) = out_of_range.take().filter(|_| reached == before) {
            return Err(error).context("the log cannot be read");
        }
        let mut start = reached.clone();
        start.retain(|partition| reached.next_offset(partition) < to.next_offset(partition));
        let mut reader = log.read(start);
        while !reached.covers(to) {
            match next(&mut reader).await {
                Ok(Incoming::Records(mut batch)) => {
                    batch.records.retain(|Record { partition, offset, .. }| {
                        (reached.next_offset(partition)..to.next_offset(partition)).contains(offset)
                    });
                    reached.merge(&batch.reached);
                    tokio::task::block_in_place(|| take(&batch.records, &reached))?;
                }
                Ok(Incoming::Assigned(_) | Incoming::Revoked(_)) => {}
                // Something was removed meanwhile.
                Err(error @ LogError::OutOfRange { .. }) => {
                    out_of_range = Some(error);
                    break;
                }
                Err(error) => return Err(error).context("the log cannot be read"),
            }
        }
    }
    Ok(gaps)
}

/// The next delivery, waiting for a log that is away.
async fn next(reader: &mut Reader) -> Result<Incoming, LogError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match timeout_at(deadline, reader.next()).await {
            Ok(Err(error @ LogError::Unavailable(_))) => tracing::warn!(%error, "waiting for the log"),
            Ok(delivered) => return delivered,
            Err(_) => return Err(LogError::Unavailable(format!("nothing came for {} seconds", PATIENCE.as_secs()))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use balcony_event_log::embedded::EmbeddedLog;
    use balcony_event_log::{Message, Topic};

    use super::*;
    use crate::{InstalledTopic, TopicSpec};

    /// Opening removes what is over, beside whatever else is going on: waits until the topic called `forgotten` begins at
    /// its last record, the only one that may stay.
    async fn until_forgotten(log: &EmbeddedLog, topics: &Topics, forgotten: &str) {
        let partition = TopicPartition::new(topics.get(forgotten).clone(), 0);
        let first = async || {
            let mut reader = log.read([(partition.clone(), 0)].into_iter().collect());
            loop {
                if let Incoming::Records(batch) = reader.next().await.unwrap() {
                    return batch.records.first().map_or(batch.reached.next_offset(&partition), |first| first.offset);
                }
            }
        };
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        let gone = async {
            while first().await < 98 {
                looks.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("what is over leaves the log");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_gone_is_passed_over_and_said_of_topics_that_are_kept_for_ever() {
        let specs = |events, views| {
            [
                TopicSpec { name: "events".into(), retention: events },
                TopicSpec { name: "views".into(), retention: views },
            ]
        };
        // The program says that views are finite; the log may have been opened otherwise.
        let topics = Topics::with_prefix("t.", &specs(None, Some(Duration::from_secs(1))));
        let (folder, over) = (tempfile::tempdir().unwrap(), Some(Duration::ZERO));
        let path = folder.path().join("log.db");
        let open = |events, views| {
            let topic = |topic: &InstalledTopic| Topic {
                name: topic.full.clone(),
                partitions: 1,
                replication: 1,
                retention: topic.retention,
            };
            let topics: Vec<Topic> = Topics::with_prefix("t.", &specs(events, views)).iter().map(topic).collect();
            EmbeddedLog::open(&path, &topics).unwrap()
        };
        {
            let log = open(None, None);
            for _ in 0..50 {
                for topic in ["views", "events"] {
                    log.append(topics.get(topic), Message::default()).await.unwrap();
                }
            }
        }
        let offsets = async |log: &EmbeddedLog, from: &Positions| {
            let to = ends(log, &topics).await?;
            let mut offsets = Vec::new();
            let gaps = read(log, &topics, from, &to, |records, _| {
                offsets.extend(records.iter().map(|record| record.offset));
                Ok(())
            })
            .await?;
            anyhow::Ok((offsets, gaps))
        };
        let of = |topic: &str| TopicPartition::new(topics.get(topic).clone(), 0);
        let middle: Positions = [(of("events"), 40), (of("views"), 40)].into_iter().collect();
        let log = open(None, over);
        until_forgotten(&log, &topics, "views").await;
        let left: Vec<i64> = (40..100).filter(|offset| offset % 2 == 1).collect();
        assert_eq!(offsets(&log, &middle).await.unwrap(), (left, vec![]));
        drop(log);
        let log = open(over, None);
        until_forgotten(&log, &topics, "events").await;
        let gap = Gap { partition: of("events"), from: 40, to: 98 };
        let (left, gaps) = offsets(&log, &middle).await.unwrap();
        assert_eq!((left, gaps.as_slice()), (vec![99], [gap.clone()].as_slice()));
        assert!(gap.to_string().contains("from offset 40 up to 98"), "{gap}");
        let (_, gaps) = offsets(&log, &Positions::new()).await.unwrap();
        assert_eq!(gaps, [Gap { from: 0, ..gap }]);
    }
}
