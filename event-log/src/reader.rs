use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::{LogError, Positions, Record, TopicPartition};

/// What a [`Reader`] hands out.
#[derive(Debug)]
pub enum Delivery {
    /// These partitions are this member's from now on. Nothing of them comes before [`Reader::start`] says where
    /// to begin.
    Assigned(Vec<TopicPartition>),
    /// These partitions are this member's no more. What was delivered of them may still be worked on: whoever
    /// writes must fence by epoch.
    Revoked(Vec<TopicPartition>),
    /// Records, in order within each partition.
    Records(Batch),
}

/// Records and how far the reader has come with them.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records, in order within each partition. Empty when only a hole was passed.
    pub records: Vec<Record>,
    /// Where reading goes on for every partition this batch has moved: everything below was delivered, holes
    /// included.
    pub reached: Positions,
}

impl Batch {
    /// Appends what was read after this batch.
    pub fn extend(&mut self, next: Self) {
        self.records.extend(next.records);
        self.reached.merge(&next.reached);
    }
}

/// A subscriber of the log. An adapter feeds it from a thread of its own through a bounded channel: whoever reads
/// slowly holds the adapter back and nobody else. Dropping it ends that thread.
#[derive(Debug)]
pub struct Reader {
    deliveries: mpsc::Receiver<Result<Delivery, LogError>>,
    starts: mpsc::UnboundedSender<Positions>,
    put_back: VecDeque<Result<Delivery, LogError>>,
}

/// The adapter's end of a [`Reader`].
pub(crate) struct Feed {
    pub(crate) deliveries: mpsc::Sender<Result<Delivery, LogError>>,
    /// Each answer to an assignment.
    pub(crate) starts: mpsc::UnboundedReceiver<Positions>,
}

/// How many deliveries may wait between an adapter and its reader. Each holds up to
/// [`BATCH_RECORDS`] records or [`BATCH_BYTES`] bytes, so memory is bounded by the product.
const DELIVERIES_AHEAD: usize = 4;
/// Records an adapter puts into one delivery at the most.
pub(crate) const BATCH_RECORDS: usize = 2_000;
/// Bytes after which an adapter closes a delivery.
pub(crate) const BATCH_BYTES: usize = 1 << 20;

impl Reader {
    /// A reader and the end that feeds it.
    pub(crate) fn channel() -> (Self, Feed) {
        let (delivery_sender, deliveries) = mpsc::channel(DELIVERIES_AHEAD);
        // Unbounded in type only: one answer for each assignment.
        let (starts, start_receiver) = mpsc::unbounded_channel();
        let reader = Self { deliveries, starts, put_back: VecDeque::new() };
        (reader, Feed { deliveries: delivery_sender, starts: start_receiver })
    }

    /// Waits for the next delivery. Cancelling the wait loses nothing.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] is a passing state: the reader goes on where it was when the log is back, and so
    /// may the caller. Every other error ends the reader.
    pub async fn next(&mut self) -> Result<Delivery, LogError> {
        match self.put_back.pop_front() {
            Some(delivery) => delivery,
            None => self.deliveries.recv().await.unwrap_or(Err(LogError::Closed)),
        }
    }

    /// Adds to `batch` what is there already, without waiting, until it holds `most` records or something else
    /// than records comes, which [`Reader::next`] then hands out.
    pub fn fill(&mut self, batch: &mut Batch, most: usize) {
        while batch.records.len() < most && self.put_back.is_empty() {
            match self.deliveries.try_recv() {
                Ok(Ok(Delivery::Records(next))) => batch.extend(next),
                Ok(other) => self.put_back.push_back(other),
                Err(_) => return,
            }
        }
    }

    /// Ends the reader and waits until it has left its group, so that the others take over at once.
    pub async fn close(self) {
        drop(self.deliveries);
        self.starts.closed().await;
    }

    /// Answers [`Delivery::Assigned`]: reads the assigned partitions from these positions on, those that are not
    /// named from the beginning. Every assignment wants its answer, also when it was revoked meanwhile: answers
    /// are matched to assignments by counting.
    pub fn start(&self, from: Positions) {
        // A feed that has ended says so through `next`.
        let _ = self.starts.send(from);
    }
}
