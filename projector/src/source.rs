use std::collections::VecDeque;
use std::sync::Arc;

use balcony_event_log::{Incoming, LogError, Positions, Reader, TopicPartition};

use crate::reading::{Left, Part, Reading, is_new};
use crate::taken::{self, Batch, Taken};

/// Where a follower's records come from: from the reading that all steps of the process share, while it stands at about the
/// same place, and otherwise from a reader of its own. Which partitions it reads, its group says, if it is in one; so that
/// sharing a reading changes nothing about who works on what.
pub(crate) struct Source {
    reading: Arc<Reading>,
    /// A member that is never told where to begin, and so reads nothing.
    member: Option<Reader>,
    /// Where it stands, in the partitions that it reads.
    at: Positions,
    records: Records,
    /// What came among records that were gathered.
    put_back: VecDeque<LogError>,
}

enum Records {
    /// It is not known yet from where.
    None,
    Shared(Part),
    Own(Reader),
}

/// What has records that are there without waiting.
pub(crate) trait Fill {
    /// Adds them to `batch`, until it holds `most`.
    fn fill(&mut self, batch: &mut Batch, most: usize);
}

impl Source {
    /// Reads what `member` is assigned.
    pub(crate) fn of_member(reading: Arc<Reading>, member: Reader) -> Self {
        Self::new(reading, Some(member))
    }

    /// Reads the partitions of `from`.
    pub(crate) fn of(reading: Arc<Reading>, from: Positions) -> Self {
        let mut source = Self::new(reading, None);
        source.start(from);
        source
    }

    fn new(reading: Arc<Reading>, member: Option<Reader>) -> Self {
        Self { reading, member, at: Positions::new(), records: Records::None, put_back: VecDeque::new() }
    }

    /// Reads the partitions of `from`, each from its offset, and no others.
    pub(crate) fn start(&mut self, from: Positions) {
        self.records = Records::None;
        self.put_back.clear();
        self.records = match self.reading.take_part(&from, false) {
            Some(part) => Records::Shared(part),
            None => Records::Own(self.reading.log().read(from.clone())),
        };
        self.at = from;
    }

    /// Waits for what comes next. Cancelling the wait loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Incoming<Taken>, LogError> {
        loop {
            if let Some(error) = self.put_back.pop_front() {
                return Err(error);
            }
            let has_begun = !matches!(self.records, Records::None);
            tokio::select! {
                biased;
                notice = next_of(&mut self.member) => match notice {
                    Ok(Incoming::Assigned(partitions)) => {
                        (self.records, self.at) = (Records::None, Positions::new());
                        return Ok(Incoming::Assigned(partitions));
                    }
                    Ok(Incoming::Revoked(partitions)) => {
                        self.forget(&partitions);
                        return Ok(Incoming::Revoked(partitions));
                    }
                    // Whether the log is there, whoever reads it knows better.
                    Ok(Incoming::Records(_)) | Err(LogError::Unavailable(_)) if has_begun => {}
                    other => return other.map(taken::own_of),
                },
                came = self.records.next(&mut self.at), if has_begun => match came {
                    Ok(Ok(Some(batch))) => {
                        self.join();
                        return Ok(Incoming::Records(batch));
                    }
                    Ok(Ok(None)) => {}
                    Ok(Err(error)) => return Err(error),
                    Err(Left) => self.leave(),
                },
            }
        }
    }

    /// Ends it, and leaves the group, so that others take over at once.
    pub(crate) async fn close(self) {
        drop(self.records);
        if let Some(member) = self.member {
            member.close().await;
        }
    }

    /// Reads no more of `partitions`.
    fn forget(&mut self, partitions: &[TopicPartition]) {
        let mut left = std::mem::take(&mut self.at);
        left.retain(|partition| !partitions.contains(partition));
        self.records = Records::None;
        if !left.is_empty() {
            self.start(left);
        }
    }

    /// Goes on by itself.
    fn leave(&mut self) {
        self.records = Records::None;
        self.records = Records::Own(self.reading.log().read(self.at.clone()));
    }

    /// Takes part in the reading of all, if it has caught up with that.
    fn join(&mut self) {
        if let Records::Own(_) = &self.records
            && let Some(part) = self.reading.take_part(&self.at, true)
        {
            self.records = Records::Shared(part);
        }
    }
}

impl Records {
    /// What comes next for who stands at `at`; `None` for what says nothing new.
    async fn next(&mut self, at: &mut Positions) -> Result<Result<Option<Batch>, LogError>, Left> {
        match self {
            Self::None => std::future::pending().await,
            Self::Shared(part) => Ok(part.next(at).await?.map(Some)),
            Self::Own(reader) => Ok(match reader.next().await {
                Ok(Incoming::Records(batch)) => Ok(own(batch, at)),
                Ok(Incoming::Assigned(_) | Incoming::Revoked(_)) => Ok(None),
                Err(error) => Err(error),
            }),
        }
    }
}

impl Fill for Source {
    fn fill(&mut self, batch: &mut Batch, most: usize) {
        match &mut self.records {
            Records::None => {}
            Records::Own(reader) => {
                let mut more = balcony_event_log::Batch::default();
                reader.fill(&mut more, most.saturating_sub(batch.records.len()));
                if let Some(more) = own(more, &mut self.at) {
                    batch.extend(more);
                }
            }
            Records::Shared(part) => {
                while batch.records.len() < most && self.put_back.is_empty() {
                    match part.try_next(&mut self.at) {
                        Ok(Some(Ok(more))) => batch.extend(more),
                        Ok(Some(Err(error))) => self.put_back.push_back(error),
                        Ok(None) => return,
                        Err(Left) => return self.leave(),
                    }
                }
            }
        }
    }
}

impl Fill for Reader {
    fn fill(&mut self, batch: &mut Batch, most: usize) {
        let mut more = balcony_event_log::Batch::default();
        Reader::fill(self, &mut more, most.saturating_sub(batch.records.len()));
        batch.extend(taken::own(more));
    }
}

/// What of a batch that was read for nobody else is new to who stands at `at`, which it moves.
fn own(mut batch: balcony_event_log::Batch, at: &mut Positions) -> Option<Batch> {
    let is_back = batch.reached.is_empty();
    batch.records.retain(|record| is_new(record, at));
    batch.reached.retain(|partition| at.names(partition));
    at.merge(&batch.reached);
    (is_back || !batch.reached.is_empty()).then(|| taken::own(batch))
}

/// What `reader` hands out next; nothing ever where there is none.
async fn next_of(reader: &mut Option<Reader>) -> Result<Incoming, LogError> {
    match reader {
        Some(reader) => reader.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, SystemTime};

    use balcony_event_log::memory::{Clock, MemoryLog};
    use balcony_event_log::{AppendError, BoxFuture, EventLog, Headers, Message, Position, Record, Topic};

    use super::*;

    const FACTS: &str = "facts";
    const VIEWS: &str = "views";
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A log that counts its readers.
    struct Counted {
        log: MemoryLog,
        readers: AtomicUsize,
    }

    impl Counted {
        fn new() -> Arc<Self> {
            let topic =
                |name: &str, partitions| Topic { name: name.into(), partitions, replication: 1, retention: None };
            let log = MemoryLog::new(&[topic(FACTS, 3), topic(VIEWS, 1)], Clock::at(SystemTime::UNIX_EPOCH));
            Arc::new(Self { log, readers: AtomicUsize::new(0) })
        }

        fn readers(&self) -> usize {
            self.readers.load(Ordering::Relaxed)
        }

        async fn append_to(&self, topic: &str, numbers: std::ops::Range<usize>) {
            for number in numbers {
                let key = (number % 16).to_string().into_bytes();
                let message = Message { key, headers: Headers::new(), payload: number.to_string().into_bytes() };
                self.log.append(topic, message).await.expect("the log takes it");
            }
        }

        async fn begin(&self, topics: &[&str]) -> Positions {
            let topics: Vec<Arc<str>> = topics.iter().map(|&topic| topic.into()).collect();
            self.log.starts(&topics).await.expect("the log is there")
        }
    }

    impl EventLog for Counted {
        fn topics(&self) -> &[Topic] {
            self.log.topics()
        }

        fn append<'a>(&'a self, topic: &'a str, message: Message) -> BoxFuture<'a, Result<Position, AppendError>> {
            self.log.append(topic, message)
        }

        fn starts<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
            self.log.starts(topics)
        }

        fn ends<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
            self.log.ends(topics)
        }

        fn read(&self, from: Positions) -> Reader {
            self.readers.fetch_add(1, Ordering::Relaxed);
            self.log.read(from)
        }

        fn join(&self, group: &str, topics: &[Arc<str>]) -> Reader {
            self.log.join(group, topics)
        }

        fn identity(&self) -> BoxFuture<'_, Result<String, LogError>> {
            self.log.identity()
        }
    }

    /// A source and what came from it.
    struct Taker {
        source: Source,
        came: Vec<Record>,
    }

    impl Taker {
        fn at(reading: &Arc<Reading>, from: Positions) -> Self {
            Self { source: Source::of(reading.clone(), from), came: Vec::new() }
        }

        async fn take(&mut self) {
            let next = tokio::time::timeout(PATIENCE, self.source.next()).await.expect("something comes");
            let Ok(Incoming::Records(mut batch)) = next else { panic!("records come: {next:?}") };
            self.source.fill(&mut batch, 10_000);
            self.came.extend(batch.records.iter().map(|taken| Record::clone(taken)));
        }

        async fn take_to(&mut self, count: usize) {
            while self.came.len() < count {
                self.take().await;
            }
        }

        fn shares(&self) -> bool {
            matches!(self.source.records, Records::Shared(_))
        }

        /// Every record of each partition once, in order.
        fn check(&self, log: &Counted, begun: &Positions) {
            let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
            for record in &self.came {
                let next = next.entry(record.partition.clone()).or_insert_with(|| begun.next_offset(&record.partition));
                assert_eq!(record.offset, *next, "of {:?} with {} readers", record.partition, log.readers());
                *next += 1;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_log_is_read_once_for_all_who_stand_at_about_the_same_place() {
        let log = Counted::new();
        let reading = Reading::new(log.clone());
        let begin = log.begin(&[FACTS]).await;
        let mut takers: Vec<Taker> = (0..5).map(|_| Taker::at(&reading, begin.clone())).collect();
        for round in 1..=20 {
            log.append_to(FACTS, (round - 1) * 50..round * 50).await;
            for taker in &mut takers {
                taker.take_to(round * 50).await;
            }
        }
        assert_eq!(log.readers(), 1);
        for taker in &takers {
            assert_eq!(taker.came.len(), 1_000);
            taker.check(&log, &begin);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_all_have_taken_is_let_go_but_for_who_comes_a_little_later() {
        let log = Counted::new();
        let reading = Reading::new(log.clone());
        let begin = log.begin(&[FACTS]).await;
        let mut takers = [0; 3].map(|_| Taker::at(&reading, begin.clone()));
        for round in 1..=10 {
            log.append_to(FACTS, (round - 1) * 1_500..round * 1_500).await;
            for taker in &mut takers {
                taker.take_to(round * 1_500).await;
            }
        }
        assert!((1_000..=10_000).contains(&reading.kept()), "{} are kept", reading.kept());
        // What one of them has not taken is kept.
        log.append_to(FACTS, 15_000..27_000).await;
        let [quick, other, slow] = &mut takers;
        quick.take_to(27_000).await;
        other.take_to(27_000).await;
        assert!(reading.kept() >= 12_000, "{} are kept", reading.kept());
        slow.take_to(27_000).await;
        assert!(reading.kept() <= 10_000, "{} are kept", reading.kept());
        let mut late = Taker::at(&reading, log.ends(&[FACTS.into()]).await.expect("the log is there"));
        log.append_to(FACTS, 27_000..27_010).await;
        late.take_to(10).await;
        takers[0].take_to(27_010).await;
        assert!(late.shares() && takers.iter().all(Taker::shares) && log.readers() == 1);
        takers.iter().for_each(|taker| taker.check(&log, &begin));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_stands_still_holds_nobody_and_goes_on_by_itself_until_it_has_caught_up() {
        let log = Counted::new();
        let reading = Reading::new(log.clone());
        let begin = log.begin(&[FACTS]).await;
        let (mut quick, mut slow) = (Taker::at(&reading, begin.clone()), Taker::at(&reading, begin.clone()));
        log.append_to(FACTS, 0..10).await;
        slow.take().await;
        // More than is kept.
        log.append_to(FACTS, 10..50_000).await;
        quick.take_to(50_000).await;
        assert!(quick.shares() && log.readers() == 1);
        slow.take_to(20_000).await;
        assert_eq!(log.readers(), 2, "what is not kept any more is read again");
        slow.take_to(50_000).await;
        log.append_to(FACTS, 50_000..50_100).await;
        slow.take_to(50_100).await;
        quick.take_to(50_100).await;
        assert!(slow.shares() && quick.shares());
        let readers = log.readers();
        log.append_to(FACTS, 50_100..50_200).await;
        slow.take_to(50_200).await;
        quick.take_to(50_200).await;
        assert_eq!(log.readers(), readers, "it takes part again");
        slow.check(&log, &begin);
        quick.check(&log, &begin);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_comes_far_behind_is_not_waited_for() {
        let log = Counted::new();
        let reading = Reading::new(log.clone());
        let begin = log.begin(&[FACTS]).await;
        log.append_to(FACTS, 0..60_000).await;
        let end = log.ends(&[FACTS.into()]).await.expect("the log is there");
        // The one that begins the reading is the one behind.
        let (mut late, mut live) = (Taker::at(&reading, begin.clone()), Taker::at(&reading, end.clone()));
        log.append_to(FACTS, 60_000..60_010).await;
        live.take_to(10).await;
        assert!(live.shares());
        late.take_to(60_010).await;
        log.append_to(FACTS, 60_010..60_020).await;
        late.take_to(60_020).await;
        live.take_to(20).await;
        assert!(late.shares() && live.shares());
        late.check(&log, &begin);
        live.check(&log, &end);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_gets_what_it_reads_and_who_reads_more_is_read_for_too() {
        let log = Counted::new();
        let reading = Reading::new(log.clone());
        let (facts, all) = (log.begin(&[FACTS]).await, log.begin(&[FACTS, VIEWS]).await);
        let (mut few, mut many) = (Taker::at(&reading, facts.clone()), Taker::at(&reading, all.clone()));
        log.append_to(FACTS, 0..100).await;
        log.append_to(VIEWS, 0..100).await;
        few.take_to(100).await;
        many.take_to(200).await;
        assert!(few.shares() && many.shares());
        let readers = log.readers();
        for round in 1..10 {
            log.append_to(FACTS, 0..10).await;
            log.append_to(VIEWS, 0..10).await;
            few.take_to(100 + round * 10).await;
            many.take_to(200 + round * 20).await;
        }
        assert_eq!(log.readers(), readers, "one reading is enough");
        assert!(few.came.iter().all(|record| &*record.partition.topic == FACTS));
        few.check(&log, &facts);
        many.check(&log, &all);

        // What nobody wants any more is not read any more, and the others go on.
        drop(many);
        log.append_to(VIEWS, 0..10).await;
        log.append_to(FACTS, 0..10).await;
        few.take_to(200).await;
        few.check(&log, &facts);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_asks_for_what_is_not_there_ends_alone() {
        let log = Counted::new();
        let reading = Reading::new(log.clone());
        let begin = log.begin(&[FACTS]).await;
        let mut sound = Taker::at(&reading, begin.clone());
        let beyond = [(TopicPartition::new(VIEWS, 0), 7)].into_iter().collect();
        let mut wrong = Source::of(reading.clone(), beyond);
        let error = tokio::time::timeout(PATIENCE, wrong.next()).await.expect("it ends");
        assert!(matches!(error, Err(LogError::OutOfRange { .. })), "{error:?}");
        log.append_to(FACTS, 0..10).await;
        sound.take_to(10).await;
        assert!(sound.shares() && log.readers() == 2);
        sound.check(&log, &begin);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn members_read_what_their_groups_give_them_and_nothing_that_was_taken_away() {
        let log = Counted::new();
        let reading = Reading::new(log.clone());
        let topics = [Arc::<str>::from(FACTS)];
        let member = |group: &str| Source::of_member(reading.clone(), log.join(group, &topics));
        let mut members = [member("one"), member("two")];
        for member in &mut members {
            let Ok(Incoming::Assigned(partitions)) = member.next().await else { panic!("an assignment comes first") };
            assert_eq!(partitions.len(), 3);
            member.start(partitions.into_iter().map(|partition| (partition, 0)).collect());
        }
        let other = log.join("two", &topics);
        let Ok(Incoming::Revoked(revoked)) = members[1].next().await else { panic!("it is revoked") };
        assert_eq!(revoked.len(), 3);
        let Ok(Incoming::Assigned(left)) = members[1].next().await else { panic!("it is assigned anew") };
        assert!(left.len() < 3);
        members[1].start(left.iter().map(|partition| (partition.clone(), 0)).collect());
        log.append_to(FACTS, 0..200).await;
        let begin = log.begin(&[FACTS]).await;
        let ends = log.ends(&topics).await.expect("the log is there");
        let [whole, part] = members;
        let mut takers = [Taker { source: whole, came: Vec::new() }, Taker { source: part, came: Vec::new() }];
        takers[0].take_to(200).await;
        let count: i64 = left.iter().map(|partition| ends.next_offset(partition)).sum();
        takers[1].take_to(usize::try_from(count).expect("it is small")).await;
        assert!(takers[1].came.iter().all(|record| left.contains(&record.partition)));
        takers.iter().for_each(|taker| taker.check(&log, &begin));
        assert_eq!(log.readers(), 1);
        drop(other);
        let [_, Taker { source, .. }] = takers;
        tokio::time::timeout(PATIENCE, source.close()).await.expect("it leaves its group");
    }

    /// Takers come, take, stand still, go and come again where they were, while the log grows. Whatever they do, each gets
    /// every record once.
    #[tokio::test(flavor = "multi_thread")]
    async fn whatever_others_do_each_gets_every_record_once() {
        for seed in 0..30 {
            let mut random = fastrand::Rng::with_seed(seed);
            let log = Counted::new();
            let reading = Reading::new(log.clone());
            let begins = [log.begin(&[FACTS]).await, log.begin(&[FACTS, VIEWS]).await];
            let mut takers: Vec<Taker> = (0..4).map(|number| Taker::at(&reading, begins[number % 2].clone())).collect();
            let mut appended = [0, 0];
            let reads = |number: usize, appended: [usize; 2]| appended[..=number % 2].iter().sum::<usize>();
            for _ in 0..60 {
                let number = random.usize(..takers.len());
                let wanted = reads(number, appended);
                match random.usize(..10) {
                    0..4 => {
                        let topic = random.usize(..2);
                        let more = if random.usize(..12) == 0 { 25_000 } else { random.usize(1..40) };
                        log.append_to([FACTS, VIEWS][topic], 0..more).await;
                        appended[topic] += more;
                    }
                    4..8 if takers[number].came.len() < wanted => takers[number].take().await,
                    4..8 => {}
                    8 => {
                        // As after a failure: from where it was.
                        let at = takers[number].source.at.clone();
                        takers[number].source = Source::of(reading.clone(), at);
                    }
                    _ => takers[number].take_to(wanted).await,
                }
            }
            for (number, taker) in takers.iter_mut().enumerate() {
                let wanted = reads(number, appended);
                taker.take_to(wanted).await;
                assert_eq!(taker.came.len(), wanted, "seed {seed}");
                taker.check(&log, &begins[number % 2]);
            }
        }
    }
}
