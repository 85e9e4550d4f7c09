//! Reads a part of the log that has an end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use balcony_domain::Topics;
use balcony_event_log::{Delivery, EventLog, LogError, Positions, Reader, Record, TopicPartition};
use tokio::time::{Instant, timeout_at};

/// How long nothing may come of a log that has more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the facts and the views end now.
pub(super) async fn ends(log: &dyn EventLog, topics: &Topics) -> anyhow::Result<Positions> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match log.ends(&[Arc::clone(&topics.facts), Arc::clone(&topics.views)]).await {
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
    // Page views whose time is over leave the log, also while it is read. 0 asks for those that are left.
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
                Ok(Delivery::Records(mut batch)) => {
                    batch.records.retain(|Record { partition, offset, .. }| {
                        (reached.next_offset(partition)..to.next_offset(partition)).contains(offset)
                    });
                    reached.merge(&batch.reached);
                    tokio::task::block_in_place(|| take(&batch.records, &reached))?;
                }
                Ok(Delivery::Assigned(_) | Delivery::Revoked(_)) => {}
                Err(LogError::OutOfRange { topic, partition, .. }) if topic == topics.views => {
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
async fn next(reader: &mut Reader) -> Result<Delivery, LogError> {
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

    #[tokio::test(flavor = "multi_thread")]
    async fn views_that_are_gone_are_passed_over_and_facts_that_are_gone_are_not() {
        let (folder, topics) = (tempfile::tempdir().unwrap(), Topics::with_prefix("t."));
        let path = folder.path().join("log.db");
        let topic = |name: &Arc<str>, retention| Topic { name: name.clone(), partitions: 1, replication: 1, retention };
        let forever = [topic(&topics.facts, None), topic(&topics.views, None)];
        {
            let log = EmbeddedLog::open(&path, &forever).unwrap();
            for _ in 0..50 {
                for topic in [&topics.views, &topics.facts] {
                    log.append(topic, Message::default()).await.unwrap();
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
        for (forgotten, left) in [(1, Some((40..100).filter(|offset| offset % 2 == 1).collect::<Vec<_>>())), (0, None)]
        {
            let mut forgetful = forever.clone();
            forgetful[forgotten].retention = Some(Duration::ZERO);
            let log = EmbeddedLog::open(&path, &forgetful).unwrap();
            // Opening removes them, beside whatever else is going on. The last record of all stays.
            while offsets(&log, &Positions::new()).await.unwrap().len() > if forgotten == 1 { 50 } else { 1 } {
                tokio::task::yield_now().await;
            }
            let of = |topic: &Arc<str>| TopicPartition::new(Arc::clone(topic), 0);
            let middle: Positions = [(of(&topics.facts), 40), (of(&topics.views), 40)].into_iter().collect();
            assert_eq!(offsets(&log, &middle).await.ok(), left);
        }
    }
}
