use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::{LogError, Positions, Record, TopicPartition};

/// What a [`Reader`] hands out.
#[derive(Debug)]
pub enum Incoming<R = Record> {
    /// These partitions are this member's from now on. Nothing of them comes before [`Reader::start`] says where
    /// to begin.
    Assigned(Vec<TopicPartition>),
    /// These partitions are this member's no more. What was delivered of them may still be worked on: whoever
    /// writes must fence by epoch.
    Revoked(Vec<TopicPartition>),
    /// Records, in order within each partition.
    Records(Batch<R>),
}

/// Records and how far the reader has come with them.
#[derive(Debug)]
pub struct Batch<R = Record> {
    /// The records, or what stands for them, in order within each partition. Empty when only a hole was passed.
    pub records: Vec<R>,
    /// Where reading goes on for every partition this batch has moved: everything below was delivered, holes
    /// included.
    pub reached: Positions,
}

impl<R> Batch<R> {
    /// Appends what was read after this batch.
    pub fn extend(&mut self, next: Self) {
        self.records.extend(next.records);
        self.reached.merge(&next.reached);
    }

    /// The same with what `of` gives for each record.
    pub fn map<S>(self, of: impl FnMut(R) -> S) -> Batch<S> {
        Batch { records: self.records.into_iter().map(of).collect(), reached: self.reached }
    }
}

impl<R> Default for Batch<R> {
    fn default() -> Self {
        Self { records: Vec::new(), reached: Positions::new() }
    }
}

/// A subscriber of the log. An adapter feeds it from a thread or task of its own through a bounded channel: whoever
/// reads slowly holds the adapter back and nobody else. Dropping it ends that thread or task.
#[derive(Debug)]
pub struct Reader {
    incoming: mpsc::Receiver<Result<Incoming, LogError>>,
    starts: mpsc::UnboundedSender<Positions>,
    put_back: VecDeque<Result<Incoming, LogError>>,
}

/// The adapter's end of a [`Reader`].
///
/// For [`EventLog::read`](crate::EventLog::read) it carries [`Incoming::Records`] alone. For
/// [`EventLog::join`](crate::EventLog::join) the adapter
/// 1. sends [`Incoming::Assigned`] with at least one partition,
/// 2. waits for [`Feed::started`] and sends records of these partitions from there on,
/// 3. sends [`Incoming::Revoked`] when the group takes partitions away, and no record of them after it.
///
/// Each `Assigned` that was sent gets one answer, in order, also when it was revoked meanwhile: only the answer to the
/// last one counts. A member that only wants to know what is its answers never, and gets no records.
/// [`LogError::Unavailable`] may come at any time, and the feed goes on after it; after any other error it is dropped.
/// Dropping it tells the reader that it is closed, and [`Reader::close`] that the member has left its group: so leave
/// the group first.
#[derive(Debug)]
pub struct Feed {
    incoming: mpsc::Sender<Result<Incoming, LogError>>,
    answers: mpsc::UnboundedReceiver<Positions>,
}

/// The reader of a [`Feed`] was dropped: nobody listens any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reader was dropped")]
pub struct ReaderGone;

/// Room for one delivery to a reader, taken by [`Feed::room`].
#[derive(Debug)]
pub struct Room(mpsc::OwnedPermit<Result<Incoming, LogError>>);

/// How many deliveries may wait between an adapter and its reader. Each holds up to [`Feed::BATCH_RECORDS`] records or
/// [`Feed::BATCH_BYTES`] bytes, so memory is bounded by the product.
const DELIVERIES_AHEAD: usize = 4;

impl Reader {
    /// A reader and the end that feeds it.
    pub fn channel() -> (Self, Feed) {
        let (incoming_sender, incoming) = mpsc::channel(DELIVERIES_AHEAD);
        // Unbounded in type only: one answer for each assignment.
        let (starts, answers) = mpsc::unbounded_channel();
        let reader = Self { incoming, starts, put_back: VecDeque::new() };
        (reader, Feed { incoming: incoming_sender, answers })
    }

    /// A reader that says `error` and then that it is closed.
    pub fn refused(error: LogError) -> Self {
        let (mut reader, _) = Self::channel();
        reader.put_back.push_back(Err(error));
        reader
    }

    /// Waits for what comes next. Cancelling the wait loses nothing.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] is a passing state: the reader goes on where it was when the log is back, and so
    /// may the caller. Every other error ends the reader.
    pub async fn next(&mut self) -> Result<Incoming, LogError> {
        match self.put_back.pop_front() {
            Some(incoming) => incoming,
            None => self.incoming.recv().await.unwrap_or(Err(LogError::Closed)),
        }
    }

    /// Adds to `batch` what is there already, without waiting, until it holds `most` records or something else
    /// than records comes, which [`Reader::next`] then hands out.
    pub fn fill(&mut self, batch: &mut Batch, most: usize) {
        while batch.records.len() < most && self.put_back.is_empty() {
            match self.incoming.try_recv() {
                Ok(Ok(Incoming::Records(next))) => batch.extend(next),
                Ok(other) => self.put_back.push_back(other),
                Err(_) => return,
            }
        }
    }

    /// Ends the reader and waits until it has left its group, so that the others take over at once.
    pub async fn close(self) {
        drop(self.incoming);
        self.starts.closed().await;
    }

    /// Answers [`Incoming::Assigned`]: reads the assigned partitions from these positions on, those that are not
    /// named from the beginning. Every assignment wants its answer, also when it was revoked meanwhile: answers
    /// are matched to assignments by counting. A member that answers none stays one and gets no records.
    pub fn start(&self, from: Positions) {
        // A feed that has ended says so through `next`.
        let _ = self.starts.send(from);
    }
}

impl Feed {
    /// Records that an adapter puts into one batch at the most.
    pub const BATCH_RECORDS: usize = 2_000;
    /// Bytes of keys and payloads after which an adapter closes a batch.
    pub const BATCH_BYTES: usize = 1 << 20;

    /// Delivers to the reader, once it leaves room.
    ///
    /// # Errors
    /// [`ReaderGone`], and nothing was delivered.
    pub async fn send(&self, incoming: Result<Incoming, LogError>) -> Result<(), ReaderGone> {
        self.incoming.send(incoming).await.map_err(|_| ReaderGone)
    }

    /// [`Feed::send`] for threads: blocks until the reader leaves room. Panics within an asynchronous runtime.
    ///
    /// # Errors
    /// [`ReaderGone`], and nothing was delivered.
    pub fn blocking_send(&self, incoming: Result<Incoming, LogError>) -> Result<(), ReaderGone> {
        self.incoming.blocking_send(incoming).map_err(|_| ReaderGone)
    }

    /// Waits until the reader leaves room for a delivery, which can then be put together. Cancelling the wait loses
    /// nothing.
    ///
    /// # Errors
    /// [`ReaderGone`].
    pub async fn room(&self) -> Result<Room, ReaderGone> {
        self.incoming.clone().reserve_owned().await.map(Room).map_err(|_| ReaderGone)
    }

    /// Waits for the reader's answer to an assignment: where to begin, where a partition that is not named stands at
    /// 0. `None` when the reader was dropped. Cancelling the wait loses nothing.
    pub async fn started(&mut self) -> Option<Positions> {
        tokio::select! {
            biased;
            answer = self.answers.recv() => answer,
            // A reader that is being closed keeps its end of the answers until this feed is dropped.
            () = self.incoming.closed() => None,
        }
    }

    /// Waits until the reader was dropped.
    pub async fn closed(&self) {
        self.incoming.closed().await;
    }

    /// Whether the reader was dropped.
    pub fn is_closed(&self) -> bool {
        self.incoming.is_closed()
    }
}

impl Room {
    /// Delivers to the reader.
    pub fn send(self, incoming: Result<Incoming, LogError>) {
        self.0.send(incoming);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(offset: i64) -> Result<Incoming, LogError> {
        let reached = [(TopicPartition::new("t", 0), offset)].into_iter().collect();
        Ok(Incoming::Records(Batch { records: Vec::new(), reached }))
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_holds_its_feed_back() {
        let (mut reader, feed) = Reader::channel();
        let mut sent = 0;
        let mut sending = Box::pin(async {
            loop {
                feed.send(batch(sent)).await.expect("the reader is there");
                sent += 1;
            }
        });
        tokio::select! {
            biased;
            () = &mut sending => unreachable!("it goes on for ever"),
            () = std::future::ready(()) => {}
        }
        drop(sending);
        assert_eq!(sent, 4);
        reader.next().await.expect("the first delivery");
        feed.room().await.expect("the reader is there").send(batch(sent));
    }

    #[tokio::test]
    async fn a_feed_knows_that_its_reader_is_gone() {
        let (reader, mut feed) = Reader::channel();
        assert!(!feed.is_closed());
        reader.start(Positions::new());
        drop(reader);
        feed.closed().await;
        assert!(feed.is_closed());
        assert_eq!(feed.send(batch(0)).await, Err(ReaderGone));
        assert_eq!(feed.room().await.map(drop), Err(ReaderGone));
        assert_eq!(feed.started().await, Some(Positions::new()), "what was answered before is not lost");
        assert_eq!(feed.started().await, None);
    }

    #[tokio::test]
    async fn a_reader_that_was_refused_says_why_and_is_closed() {
        let mut reader = Reader::refused(LogError::UnknownTopic { topic: "t".into() });
        assert!(matches!(reader.next().await, Err(LogError::UnknownTopic { topic }) if &*topic == "t"));
        assert!(matches!(reader.next().await, Err(LogError::Closed)));
        reader.close().await;
    }
}
