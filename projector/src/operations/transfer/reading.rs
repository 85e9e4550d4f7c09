//! Reads a part of the log that has an end.

use std::time::Duration;

use anyhow::Context as _;
use balcony_event_log::{EventLog, Incoming, LogError, Positions, Reader, Record, TopicPartition};
use tokio::time::{Instant, timeout_at};

use super::place::is_finite;
use crate::Topics;

/// How long nothing may come of a log that has more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where every topic ends now.
pub(super) async fn ends(log: &dyn EventLog, topics: &Topics) -> anyhow::Result<Positions> {
    let (names, deadline) = (topics.names(), Instant::now() + PATIENCE);
    loop {
        match log.ends(&names).await {
            Err(error @ LogError::Unavailable(_)) if Instant::now() < deadline => {
                tracing::warn!(%error, "waiting for the log");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            ends => return ends.context("the log does not say where it ends"),
        }
    }
}

/// Reads every record from `from` up to `to`, in order within each partition, and gives them to `take` with how far
/// reading has come. Partitions that `from` does not name are read from the beginning.
pub(super) async fn read(
    log: &dyn EventLog,
    topics: &Topics,
    from: &Positions,
    to: &Positions,
    mut take: impl FnMut(&[Record], &Positions) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut reached: Positions = to.partitions().map(|of| (of.clone(), from.next_offset(of))).collect();
    // Records whose time is over leave a finite topic, also while it is read. 0 asks for those that are left.
    let mut forgetful = Vec::new();
    while !reached.covers(to) {
        let mut start = reached.clone();
        start.retain(|partition| reached.next_offset(partition) < to.next_offset(partition));
        for partition in forgetful.iter().filter(|of| reached.next_offset(of) < to.next_offset(of)) {
            start.set(TopicPartition::clone(partition), 0);
        }
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
                Err(LogError::OutOfRange { topic, partition, .. }) if is_finite(&topic, topics) => {
                    forgetful.push(TopicPartition::new(topic, partition));
                    break;
                }
                Err(error) => return Err(error).context("the log cannot be read"),
            }
        }
    }
    Ok(())
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
    async fn what_left_a_finite_topic_is_passed_over_and_what_left_another_is_not() {
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
            read(log, &topics, from, &to, |records, _| {
                offsets.extend(records.iter().map(|record| record.offset));
                Ok(())
            })
            .await?;
            anyhow::Ok(offsets)
        };
        let of = |topic: &str| TopicPartition::new(topics.get(topic).clone(), 0);
        let middle: Positions = [(of("events"), 40), (of("views"), 40)].into_iter().collect();
        let log = open(None, over);
        until_forgotten(&log, &topics, "views").await;
        let left: Vec<i64> = (40..100).filter(|offset| offset % 2 == 1).collect();
        assert_eq!(offsets(&log, &middle).await.unwrap(), left);
        drop(log);
        let log = open(over, None);
        until_forgotten(&log, &topics, "events").await;
        assert!(offsets(&log, &middle).await.is_err());
    }
}
