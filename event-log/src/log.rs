use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::{AppendError, LogError, Message, Position, Positions, Reader, Topic};

/// A future on the heap: what the methods of a trait return that is used as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An append-only log of records, ordered within a partition. The [crate](crate) says how to implement one.
pub trait EventLog: Send + Sync + 'static {
    /// The topics that the log was opened with, in that order. No other topic can be used through it.
    fn topics(&self) -> &[Topic];

    /// Appends one record and returns where it stands, once it is as durable as the adapter promises (every
    /// in-sync replica; `fsync`). Records of one key keep the order in which their appends were first polled. Where a record goes
    /// that has no key, [`Message::key`] says.
    ///
    /// # Errors
    /// See [`AppendError`]: only [`AppendError::Unknown`] leaves open whether the record was written.
    fn append<'a>(&'a self, topic: &'a str, message: Message) -> BoxFuture<'a, Result<Position, AppendError>>;

    /// The starts of `topics` now: for every partition the first offset that is still there. It is above 0 when
    /// records were removed because their time was over.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], or [`LogError::Unavailable`] when the log does not answer within some seconds.
    fn starts<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>>;

    /// The ends of `topics` now: for every partition the offset the next record will have at the earliest. A
    /// reader whose [`Batch::reached`](crate::Batch::reached) covers them has seen every record acknowledged
    /// before this call.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], or [`LogError::Unavailable`] when the log does not answer within some seconds.
    fn ends<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>>;

    /// Reads the partitions of `from`, each from its offset, to the end and then on as records come. Offset 0 is
    /// the beginning: whatever is left there. Every call is a subscriber of its own.
    fn read(&self, from: Positions) -> Reader;

    /// Joins the group that shares out the partitions of `topics` among its members. The log only assigns:
    /// positions come from the caller, who answers each [`Incoming::Assigned`](crate::Incoming::Assigned) with
    /// [`Reader::start`].
    fn join(&self, group: &str, topics: &[Arc<str>]) -> Reader;

    /// A text that is the same for every process on this log and different for every other log.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the log does not answer within some seconds.
    fn identity(&self) -> BoxFuture<'_, Result<String, LogError>>;

    /// Uses only the first so many partitions of each topic from now on: a key goes to the one of them where it went when
    /// there were no more, [`EventLog::starts`] and [`EventLog::ends`] name no others, and a group shares out no
    /// others. What was said first counts. A log whose topics get no more partitions has nothing to do.
    fn keep_to(&self, partitions: &BTreeMap<Arc<str>, i32>) {
        let _ = partitions;
    }

    /// Whether all topics share their offsets: whoever reads one then comes further than where it ends, past the records of
    /// others.
    fn shares_offsets(&self) -> bool {
        false
    }

    /// How many records each of `topics` holds, in their order; `None` while they are still being counted. Where records were
    /// removed one by one, or offsets have holes for other reasons, a log may count those as well.
    ///
    /// # Errors
    /// As [`EventLog::ends`].
    fn counts<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Vec<Option<i64>>, LogError>> {
        Box::pin(async move {
            let (starts, ends) = tokio::try_join!(self.starts(topics), self.ends(topics))?;
            let of = |topic: &Arc<str>| {
                let own = ends.into_iter().filter(|(partition, _)| partition.topic == *topic);
                Some(own.map(|(partition, end)| end - starts.next_offset(partition)).sum())
            };
            Ok(topics.iter().map(of).collect())
        })
    }

    /// What is wrong with how the log keeps its topics now, each with what to do: that it would lose facts, say.
    ///
    /// # Errors
    /// As [`EventLog::ends`].
    fn ailments(&self) -> BoxFuture<'_, Result<Vec<String>, LogError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// The ends of the partitions that are not used.
    ///
    /// # Errors
    /// As [`EventLog::ends`].
    fn unused(&self) -> BoxFuture<'_, Result<Positions, LogError>> {
        Box::pin(std::future::ready(Ok(Positions::new())))
    }
}

/// The pause before an append is tried again, and the longest of them when many are.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Appends `message`, and again while the log is away or leaves open whether it has it. The message may then stand in the
/// log twice, so it has an id by which its readers tell that.
///
/// # Errors
/// [`AppendError`] when trying again is of no use.
pub async fn append_patiently(log: &dyn EventLog, topic: &str, message: Message) -> Result<Position, AppendError> {
    loop {
        match log.append(topic, message.clone()).await {
            Err(error @ (AppendError::Unavailable(_) | AppendError::Unknown(_))) => {
                tracing::warn!(topic, %error, "it is appended again");
                sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Appends `messages`, all at the same time and in no order, each as [`append_patiently`] does; those that the log did not take
/// are tried again together.
///
/// # Errors
/// [`AppendError`] when trying again is of no use. The others are in the log or not.
pub async fn append_all_patiently(
    log: &dyn EventLog,
    mut messages: Vec<(Arc<str>, Message)>,
) -> Result<(), AppendError> {
    let mut pause = PAUSE;
    loop {
        let appended = join_all(messages.iter().map(|(topic, message)| log.append(topic, message.clone()))).await;
        let (mut waiting, mut reason) = (Vec::new(), None);
        for (message, appended) in messages.into_iter().zip(appended) {
            match appended {
                Ok(_) => {}
                Err(error @ (AppendError::Unavailable(_) | AppendError::Unknown(_))) => {
                    waiting.push(message);
                    reason = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let Some(reason) = reason else { return Ok(()) };
        messages = waiting;
        tracing::warn!(messages = messages.len(), %reason, "the log is away; messages wait");
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
