use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::sink::{Due, Sink};
use crate::source::Fill;
use crate::supervise::told_to;
use crate::taken::Batch;

/// The most records in one batch. Batches grow to it with the backlog: a follower takes whatever has come while it
/// applied the last one.
const MOST_RECORDS: usize = 10_000;
/// From how many records in one batch on the next does not begin before [`Sink::PACE`] has passed: many small
/// transactions cost much more than few large ones, and nobody waits long.
const PACED_FROM: usize = 32;
/// Fewer records than these wait for more to come, while nobody waits for them and [`Sink::rest`] has not passed since the
/// last batch.
const FEW: usize = 256;
/// A rest is one of [`Sink::rest`] longer for each of so many records in the batch before, up to so many times as long: after
/// a single event the next is applied soon, while a client that sends one after the other has them applied together. Whoever
/// comes to wait for them waits until all that rest are applied, so they are not many.
const RECORDS_OF_A_REST: usize = 4;
const LONGEST_REST: u32 = 2;

/// When the next batch of a follower begins.
pub(crate) struct Pace {
    pause_until: Instant,
    rest_until: Instant,
}

impl Pace {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { pause_until: now, rest_until: now }
    }

    /// Waits until it is time to apply `batch`, and adds to it what has come meanwhile.
    pub(crate) async fn gather(
        &mut self,
        batch: &mut Batch,
        source: &mut impl Fill,
        sink: &impl Sink,
        stop: &mut watch::Receiver<bool>,
    ) {
        sleep_until(self.pause_until).await;
        source.fill(batch, MOST_RECORDS);
        if batch.records.len() < FEW {
            tokio::select! {
                () = sleep_until(self.rest_until) => {}
                () = sink.is_wanted() => {}
                () = told_to(stop) => {}
            }
            source.fill(batch, MOST_RECORDS);
        }
        self.begin(batch.records.len(), sink);
    }

    /// Notes that a batch of so many records begins.
    fn begin<S: Sink>(&mut self, records: usize, sink: &S) {
        let now = Instant::now();
        self.pause_until = now + if records >= PACED_FROM { S::PACE } else { Duration::ZERO };
        self.rest_until = now + sink.rest() * rests(records);
    }
}

/// How many times as long as after none a batch rests that comes after one of so many records.
fn rests(records: usize) -> u32 {
    u32::try_from(1 + records / RECORDS_OF_A_REST).unwrap_or(LONGEST_REST).min(LONGEST_REST)
}

/// Waits until it is time for a commit; for ever where none is due.
pub(crate) async fn comes(due: Option<Due>, sink: &impl Sink) {
    let Some(Due { wanted, latest }) = due else { return std::future::pending().await };
    sleep_until(wanted).await;
    tokio::select! {
        () = sleep_until(latest) => {}
        () = sink.is_wanted() => {}
    }
}

#[cfg(test)]
mod tests {
    use balcony_event_log::{Feed, Incoming, Positions, Reader, Record, TopicPartition};
    use balcony_store::StoreError;

    use super::*;
    use crate::batch::Decoded;
    use crate::parking::ParkedKeys;
    use crate::sink::{Claimed, NotWritten};
    use crate::taken;

    /// Writes nothing, rests as long as the test says, and is wanted when it says so.
    struct Nowhere {
        rest: Duration,
        wanted: watch::Sender<bool>,
    }

    impl Sink for Nowhere {
        const PACE: Duration = Duration::from_millis(5);

        fn rest(&self) -> Duration {
            self.rest
        }

        async fn is_wanted(&self) {
            let _ = self.wanted.subscribe().wait_for(|wanted| *wanted).await;
        }

        fn positions(&self) -> Positions {
            Positions::new()
        }

        fn holds(&self, _: &TopicPartition) -> bool {
            true
        }

        async fn claim(&mut self, _: &[TopicPartition]) -> Result<Claimed, StoreError> {
            Ok(Claimed { parked_keys: ParkedKeys::new(), parked: 0 })
        }

        fn release(&mut self, _: &[TopicPartition]) {}

        async fn write(&mut self, _: &Decoded, _: &ParkedKeys) -> Result<(), NotWritten> {
            Ok(())
        }

        async fn has_written(&mut self, _: &Positions) -> bool {
            true
        }

        fn written(&mut self, _: &Positions) {}
    }

    fn batch(records: usize) -> balcony_event_log::Batch {
        let record = |offset| Record {
            partition: TopicPartition::new("events", 0),
            offset,
            timestamp: 0,
            key: Vec::new(),
            headers: Default::default(),
            payload: Vec::new(),
        };
        balcony_event_log::Batch { records: (0..).map(record).take(records).collect(), reached: Positions::new() }
    }

    struct Case {
        pace: Pace,
        reader: Reader,
        feed: Feed,
        sink: Nowhere,
        stop: watch::Sender<bool>,
    }

    /// Nobody waits so long: what is done in spite of it is done without.
    const FOR_EVER: Duration = Duration::from_secs(1_000_000);

    impl Case {
        fn resting(rest: Duration) -> Self {
            let (reader, feed) = Reader::channel();
            let sink = Nowhere { rest, wanted: watch::Sender::new(false) };
            Self { pace: Pace::new(), reader, feed, sink, stop: watch::Sender::new(false) }
        }

        /// How many records begin with `records`.
        async fn gather(&mut self, records: usize) -> usize {
            let mut batch = taken::own(batch(records));
            self.pace.gather(&mut batch, &mut self.reader, &self.sink, &mut self.stop.subscribe()).await;
            batch.records.len()
        }

        async fn comes(&self, records: usize) {
            self.feed.send(Ok(Incoming::Records(batch(records)))).await.expect("the reader is there");
        }
    }

    #[tokio::test]
    async fn few_records_are_applied_together_when_somebody_waits_for_them() {
        let mut case = Case::resting(FOR_EVER);
        assert_eq!(case.gather(1).await, 1, "the first after a silence does not rest");
        case.comes(2).await;
        let wanted = case.sink.wanted.clone();
        let mut resting = Box::pin(case.gather(1));
        tokio::select! {
            biased;
            _ = &mut resting => panic!("nobody waits"),
            () = std::future::ready(()) => {}
        }
        wanted.send_replace(true);
        assert_eq!(resting.await, 3);
        assert_eq!(case.gather(1).await, 1, "somebody waits already");
    }

    #[tokio::test]
    async fn few_records_that_nobody_waits_for_rest_and_are_applied() {
        let mut case = Case::resting(Duration::from_millis(10));
        let begun = Instant::now();
        case.gather(1).await;
        case.comes(1).await;
        assert_eq!(case.gather(1).await, 2);
        assert!(begun.elapsed() >= case.sink.rest);
    }

    #[test]
    fn the_more_come_the_longer_they_rest() {
        assert_eq!(
            [0, 1, 4, 11, 16, FEW, usize::MAX].map(rests),
            [1, 1, 2, LONGEST_REST, LONGEST_REST, LONGEST_REST, LONGEST_REST]
        );
    }

    #[tokio::test]
    async fn who_is_to_stop_does_not_rest_first() {
        let mut case = Case::resting(FOR_EVER);
        case.gather(1).await;
        case.stop.send_replace(true);
        assert_eq!(case.gather(1).await, 1);
    }

    #[tokio::test]
    async fn many_records_do_not_rest_but_keep_their_pace() {
        let mut case = Case::resting(FOR_EVER);
        let begun = Instant::now();
        assert_eq!(case.gather(FEW).await, FEW);
        assert_eq!(case.gather(FEW).await, FEW);
        assert!(begun.elapsed() >= Nowhere::PACE);
    }

    #[tokio::test]
    async fn a_commit_comes_when_it_is_wanted_or_at_the_latest() {
        let case = Case::resting(FOR_EVER);
        let now = Instant::now();
        comes(Some(Due { wanted: now, latest: now }), &case.sink).await;
        let mut coming = Box::pin(comes(Some(Due { wanted: now, latest: now + FOR_EVER }), &case.sink));
        tokio::select! {
            biased;
            () = &mut coming => panic!("nobody waits"),
            () = std::future::ready(()) => {}
        }
        case.sink.wanted.send_replace(true);
        coming.await;
    }
}
