//! Appends the lines of an import, many at a time, and leaves a log that can be gone on with, however it ends.
//!
//! Of each key one record is under way at a time. So one that is tried again, or was not confirmed, is not overtaken by
//! the next of its key. And no line is begun [`WINDOW`] lines or more behind the first that is not in the log, so that
//! an import that goes on has to look for few ([`present`](super::present)).

use std::collections::{BTreeMap, HashSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context as _;
use balcony_event_log::{AppendError, EventLog, Message};
use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, unconstrained};
use tokio::time::Instant;

use super::line::Line;
use super::place::Topic;
use super::present::{Present, WINDOW};
use super::spool::Spool;
use crate::Topics;

/// Bytes that are under way before the next line waits.
const BYTES: usize = 16 << 20;
/// Lines that are read ahead.
const LINES_AHEAD: usize = 16;
/// How long a log that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// A record's key, if it has one that has to keep its order.
type Key = Option<(Topic, Vec<u8>)>;
type Ended = (u64, Result<(), AppendError>);

/// Records on their way.
#[derive(Default)]
struct UnderWay {
    appends: JoinSet<Ended>,
    /// Key and bytes of each, by its line.
    lines: BTreeMap<u64, (Key, usize)>,
    keys: HashSet<(Topic, Vec<u8>)>,
    bytes: usize,
    /// What went wrong first. Nothing is begun after it.
    failed: Option<anyhow::Error>,
}

/// Appends every line of `spool` that is not `present`.
pub(super) async fn append(
    log: Arc<dyn EventLog>,
    topics: &Topics,
    spool: Spool,
    present: &Present,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut lines = read_ahead(spool);
    let mut under_way = UnderWay::default();
    let mut index = 0;
    while let Some(line) = lines.recv().await {
        if !present.has(index) {
            under_way.begin(&log, topics, index, line?, bar).await?;
        }
        if under_way.failed.is_some() {
            break;
        }
        index += 1;
    }
    under_way.settle(|_| false, bar).await?;
    under_way.failed.map_or(Ok(()), Err)
}

/// Reads and decodes on a thread of its own.
fn read_ahead(spool: Spool) -> mpsc::Receiver<anyhow::Result<Line>> {
    let (sender, lines) = mpsc::channel(LINES_AHEAD);
    tokio::task::spawn_blocking(move || {
        for line in spool.into_lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl UnderWay {
    /// Waits until the line may be begun, and begins it.
    async fn begin(
        &mut self,
        log: &Arc<dyn EventLog>,
        topics: &Topics,
        index: u64,
        line: Line,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let Message { key, payload, headers } = &line.message;
        let bytes =
            key.len() + payload.len() + headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let key = (!key.is_empty()).then(|| (line.topic, key.clone()));
        self.settle(|under_way| under_way.has_room(index, &key), bar).await?;
        if self.failed.is_some() {
            return Ok(());
        }
        self.keys.extend(key.clone());
        self.bytes += bytes;
        self.lines.insert(index, (key, bytes));

        let topic = Arc::clone(line.topic.in_installation(topics));
        // The first poll hands the record to the log: in this order, and not in one that a scheduler chooses. Without a
        // budget, since at the end of this task's own the log would be asked later, out of turn.
        let mut append = Box::pin(unconstrained(append_one(Arc::clone(log), topic, line.message)));
        match poll_fn(|context| Poll::Ready(append.as_mut().poll(context))).await {
            Poll::Ready(result) => self.end((index, result), bar),
            Poll::Pending => drop(self.appends.spawn(async move { (index, append.await) })),
        }
        Ok(())
    }

    fn has_room(&self, index: u64, key: &Key) -> bool {
        let in_window = self.lines.first_key_value().is_none_or(|(first, _)| index < first + WINDOW);
        in_window && self.bytes < BYTES && !key.as_ref().is_some_and(|key| self.keys.contains(key))
    }

    /// Waits for what is under way until `enough`, or until nothing is.
    async fn settle(&mut self, enough: impl Fn(&Self) -> bool, bar: &ProgressBar) -> anyhow::Result<()> {
        while !enough(self) {
            let Some(ended) = self.appends.join_next().await else { break };
            self.end(ended.context("an append ended in a panic")?, bar);
        }
        Ok(())
    }

    fn end(&mut self, (index, result): Ended, bar: &ProgressBar) {
        let (key, bytes) = self.lines.remove(&index).expect("what ends was begun");
        self.bytes -= bytes;
        if let Some(key) = key {
            self.keys.remove(&key);
        }
        match result {
            Ok(()) => bar.inc(1),
            Err(error) => {
                self.failed.get_or_insert_with(|| anyhow::Error::new(error).context(format!("line {}", index + 1)));
            }
        }
    }
}

/// Appends a record, again for as long as the log says that it did not take it.
async fn append_one(log: Arc<dyn EventLog>, topic: Arc<str>, message: Message) -> Result<(), AppendError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match log.append(&topic, message.clone()).await {
            Err(AppendError::Unavailable(reason)) if Instant::now() < deadline => {
                tracing::warn!(reason, "waiting for the log");
                tokio::time::sleep(PAUSE).await;
            }
            appended => return appended.map(drop),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use balcony_event_log::embedded::EmbeddedLog;
    use balcony_event_log::{BoxFuture, LogError, Position, Positions, Reader, Topic};
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};

    use tokio::sync::watch;

    use super::super::format::Format;
    use super::super::format::tests::format_of;
    use super::super::line::decode;
    use super::super::reading::{ends, read};
    use super::*;
    use crate::{Application, Catalogue, InstalledTopic, TopicSpec};

    /// A log that now and then does not confirm what it took, or did not take, or is away.
    struct Unreliable {
        log: EmbeddedLog,
        random: Mutex<SmallRng>,
        /// Of so many appends one is not confirmed.
        one_of: u32,
        /// Whether the payload 100 is neither taken nor answered.
        stuck: AtomicBool,
        begun: AtomicU64,
        /// How many records it has taken.
        taken: watch::Sender<u64>,
    }

    impl Unreliable {
        fn new(log: EmbeddedLog, seed: u64, one_of: u32, stuck: bool) -> Self {
            Self {
                log,
                random: Mutex::new(SmallRng::seed_from_u64(seed)),
                one_of,
                stuck: AtomicBool::new(stuck),
                begun: AtomicU64::new(0),
                taken: watch::Sender::new(0),
            }
        }

        async fn take(&self, topic: &str, message: Message) -> Result<Position, AppendError> {
            let appended = self.log.append(topic, message).await?;
            self.taken.send_modify(|taken| *taken += 1);
            Ok(appended)
        }
    }

    /// A program that takes every event for one of `events`, and its topics.
    fn format() -> Arc<Format> {
        let application = Application::new("orders", ["events", "views"].map(TopicSpec::forever), |_| Catalogue::new());
        Arc::new(format_of(&application.with_import_check(|_| Ok("events".into()))))
    }

    impl EventLog for Unreliable {
        fn topics(&self) -> &[Topic] {
            self.log.topics()
        }

        fn append<'a>(&'a self, topic: &'a str, message: Message) -> BoxFuture<'a, Result<Position, AppendError>> {
            Box::pin(async move {
                self.begun.fetch_add(1, Ordering::Relaxed);
                if self.stuck.load(Ordering::Relaxed) && message.payload == b"100" {
                    return std::future::pending().await;
                }
                let drawn = self.random.lock().unwrap().random_range(0..self.one_of.saturating_mul(2));
                match drawn {
                    0 => Err(AppendError::Unknown("it was not taken".into())),
                    1 => {
                        self.take(topic, message).await?;
                        Err(AppendError::Unknown("it was taken".into()))
                    }
                    2 => Err(AppendError::Unavailable("it is away".into())),
                    _ => self.take(topic, message).await,
                }
            })
        }

        fn starts<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
            self.log.starts(topics)
        }

        fn ends<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Positions, LogError>> {
            self.log.ends(topics)
        }

        fn read(&self, from: Positions) -> Reader {
            self.log.read(from)
        }

        fn join(&self, group: &str, topics: &[Arc<str>]) -> Reader {
            self.log.join(group, topics)
        }

        fn identity(&self) -> BoxFuture<'_, Result<String, LogError>> {
            self.log.identity()
        }
    }

    /// A line of an unknown event type.
    fn event(key: &str, number: u64) -> String {
        let key = if key.is_empty() { String::new() } else { format!(r#""partitionkey":"{key}","#) };
        let id = "00000000-0000-0000-0000-000000000063";
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/x","type":"x",{key}"time":"2026-01-31T18:30:00Z","data":{number}}}"#
        )
    }

    /// One of many lines, of which some are the same as others.
    fn line(number: usize) -> String {
        let key = if number.is_multiple_of(37) { String::new() } else { (number % 37).to_string() };
        event(&key, if number.is_multiple_of(10) { 0 } else { number as u64 })
    }

    fn spool(lines: usize) -> Spool {
        let text: String = (0..lines).map(|number| line(number) + "\n").collect();
        Spool::fill(&format(), &mut text.as_bytes(), None, &ProgressBar::hidden()).unwrap()
    }

    fn open(folder: &std::path::Path, topics: &Topics) -> EmbeddedLog {
        let topic =
            |topic: &InstalledTopic| Topic { name: topic.full.clone(), partitions: 1, replication: 1, retention: None };
        EmbeddedLog::open(&folder.join("log.db"), &topics.iter().map(topic).collect::<Vec<_>>()).unwrap()
    }

    async fn payloads_by_key(log: &dyn EventLog, topics: &Topics) -> BTreeMap<Vec<u8>, Vec<String>> {
        let mut by_key: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
        let to = ends(log, topics).await.unwrap();
        read(log, topics, &Positions::new(), &to, |records, _| {
            for record in records {
                let payload = String::from_utf8(record.payload.clone())?;
                by_key.entry(record.key.clone()).or_default().push(payload);
            }
            Ok(())
        })
        .await
        .unwrap();
        by_key
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_import_that_stops_again_and_again_ends_with_every_record_once_and_in_order() {
        const LINES: usize = 3_000;
        let topics = format().topics.clone();
        for (seed, one_of) in [(1, 50), (2, 200), (3, 400), (4, 1_000)] {
            let folder = tempfile::tempdir().unwrap();
            let log = Arc::new(Unreliable::new(open(folder.path(), &topics), seed, one_of, false));
            let mut stops = 0;
            loop {
                let spool = spool(LINES);
                let present = Present::find(log.as_ref(), &topics, &spool).await.unwrap();
                let log: Arc<dyn EventLog> = log.clone();
                if append(log, &topics, spool, &present, &ProgressBar::hidden()).await.is_ok() {
                    break;
                }
                stops += 1;
                assert!(stops < LINES, "it goes on");
            }
            assert!(stops > 0, "something went wrong on the way");

            let mut expected: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
            for number in 0..LINES {
                let Message { key, payload, .. } = decode(line(number).as_bytes(), &format()).unwrap().message;
                expected.entry(key).or_default().push(String::from_utf8(payload).unwrap());
            }
            let mut found = payloads_by_key(log.as_ref(), &topics).await;
            // Records without a key have no order to keep.
            for by_key in [&mut expected, &mut found] {
                by_key.get_mut(&b""[..]).unwrap().sort();
            }
            assert_eq!(found, expected, "seed {seed}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_import_that_is_killed_leaves_no_line_a_window_behind_a_missing_one() {
        const LINES: u64 = 2_000;
        let (folder, topics) = (tempfile::tempdir().unwrap(), format().topics.clone());
        let text: String = (0..LINES).map(|number| event(&number.to_string(), number) + "\n").collect();
        let spool = || Spool::fill(&format(), &mut text.as_bytes(), None, &ProgressBar::hidden()).unwrap();
        let log = Arc::new(Unreliable::new(open(folder.path(), &topics), 0, u32::MAX, true));
        let mut taken = log.taken.subscribe();
        let (present, bar) = (Present::default(), ProgressBar::hidden());
        tokio::select! {
            ended = append(log.clone(), &topics, spool(), &present, &bar) => panic!("it ends with {ended:?}"),
            enough = taken.wait_for(|taken| *taken >= 100 + WINDOW - 1) => drop(enough.unwrap()),
        }
        assert_eq!(log.begun.load(Ordering::Relaxed), 100 + WINDOW);

        let present = Present::find(log.as_ref(), &topics, &spool()).await.unwrap();
        assert!(!present.has(100) && present.count() == 100 + WINDOW - 1);
        log.stuck.store(false, Ordering::Relaxed);
        append(log.clone(), &topics, spool(), &present, &bar).await.unwrap();
        let expected = (0..LINES).map(|number| (number.to_string().into_bytes(), vec![number.to_string()]));
        assert_eq!(payloads_by_key(log.as_ref(), &topics).await, expected.collect());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_that_is_well_gets_the_lines_in_their_order() {
        let (folder, topics) = (tempfile::tempdir().unwrap(), format().topics.clone());
        let log: Arc<dyn EventLog> = Arc::new(open(folder.path(), &topics));
        append(log.clone(), &topics, spool(2_000), &Present::default(), &ProgressBar::hidden()).await.unwrap();
        let to = ends(log.as_ref(), &topics).await.unwrap();
        let mut numbers = Vec::new();
        read(log.as_ref(), &topics, &Positions::new(), &to, |records, _| {
            for record in records {
                numbers.push(String::from_utf8(record.payload.clone())?.parse::<usize>()?);
            }
            Ok(())
        })
        .await
        .unwrap();
        let expected = (0..2_000).map(|number: usize| if number.is_multiple_of(10) { 0 } else { number });
        assert_eq!(numbers, expected.collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_of_something_else_is_not_gone_on_with() {
        let (folder, topics) = (tempfile::tempdir().unwrap(), format().topics.clone());
        let log: Arc<dyn EventLog> = Arc::new(open(folder.path(), &topics));
        append(log.clone(), &topics, spool(1_500), &Present::default(), &ProgressBar::hidden()).await.unwrap();
        let same = Present::find(log.as_ref(), &topics, &spool(1_500)).await.unwrap();
        assert_eq!(same.count(), 1_500);
        assert!(Present::find(log.as_ref(), &topics, &spool(1_400)).await.is_err(), "it holds more");
        log.append(topics.get("views"), Message::default()).await.unwrap();
        assert!(Present::find(log.as_ref(), &topics, &spool(1_500)).await.is_err(), "it holds another");
        assert!(Present::find(log.as_ref(), &topics, &spool(3_000)).await.is_err());
    }
}
