use std::collections::BTreeMap;
use std::sync::Arc;

use balcony_event_log::TopicPartition;
use balcony_projector::{Decode, Projection, Received};
use balcony_store::{ReadModel, StoreError, Tx, Value};

use crate::clock::{latest, now};
use crate::memory::Memory;
use crate::progress::{Progress, source_name};
use crate::stream::{Series, Shapes, Stream, stored};
use crate::tally::Tally;
use crate::window::{EVER, Windows};
use crate::{Occurrence, inheritance};

/// A projection that counts the events of streams in windows of time.
///
/// Every window is written at once, the longer ones too: an event that comes late is one more row of the same statement, no
/// window has to be closed, and whoever reads hours reads no minutes. What it costs is a row for each length and value
/// in a batch, not for each event.
pub struct Statistics<E> {
    model: ReadModel,
    streams: Vec<Stream<E>>,
    windows: Windows,
    memory: Memory,
    clock: Clock,
}

/// Says what time it is, in milliseconds since 1970.
type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How far back repeated records are told unless set, in offsets of a partition.
const REACH: i64 = 100_000;

/// What is counted, by series, length of window, beginning, value and source.
type Counts<'a> = BTreeMap<(&'a str, i64, i64, String, &'a str), Tally>;

const ADD: &str =
    "INSERT INTO window_counts (series, span, window_start, value, source, counted, sum, least, most) VALUES $rows
     ON CONFLICT (series, span, window_start, value, source) DO UPDATE SET
         counted = window_counts.counted + excluded.counted,
         sum = COALESCE(window_counts.sum + excluded.sum, window_counts.sum, excluded.sum),
         least = CASE WHEN window_counts.least IS NULL OR excluded.least < window_counts.least
                 THEN excluded.least ELSE window_counts.least END,
         most = CASE WHEN window_counts.most IS NULL OR excluded.most > window_counts.most
                THEN excluded.most ELSE window_counts.most END";

impl<E: Decode + Occurrence> Statistics<E> {
    /// A projection of `topics` called `name`, in the author's `version`, that counts `streams`.
    ///
    /// # Panics
    /// When two streams have one name.
    pub fn new(
        name: &str,
        version: u32,
        topics: impl IntoIterator<Item = impl Into<Arc<str>>>,
        streams: impl IntoIterator<Item = Stream<E>>,
    ) -> Self {
        let streams: Vec<Stream<E>> = streams.into_iter().collect();
        for (index, stream) in streams.iter().enumerate() {
            let is_new = streams[..index].iter().all(|other| other.name != stream.name);
            assert!(is_new, "the stream {} is declared twice", stream.name);
        }
        let model = ReadModel::new(name, version, topics, include_str!("tables.sql"));
        let memory = Memory { reach: REACH };
        Self { model, streams, windows: Windows::default(), memory, clock: Arc::new(now) }
    }

    /// By this clock, in milliseconds since 1970; the system's unless set. No window is let go for an event of a time that is
    /// still to come.
    #[must_use]
    pub fn by_clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Counts in these windows, each kept for its time; in minutes, hours and days unless set. With others, what is written
    /// is another, so the version is to be.
    #[must_use]
    pub fn in_windows(mut self, windows: Windows) -> Self {
        self.windows = windows;
        self
    }

    /// Tells a record that repeats the id of another from a new one when it is at most `offsets` after it in its
    /// partition; 100,000 unless set. What is remembered for that is a row for each of so many events, however long the
    /// log is. 0 remembers nothing, and counts a record as often as it stands in the log.
    #[must_use]
    pub fn remembering(mut self, offsets: u32) -> Self {
        self.memory.reach = offsets.into();
        self
    }

    /// What can be read.
    pub fn shapes(&self) -> Shapes {
        Shapes::of(&self.streams, self.windows.clone())
    }

    /// Adds to the counts of all time what was counted before there was this projection, for one that inherits from
    /// another's tables.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn add_to_all_time(
        &self,
        partition: &TopicPartition,
        series: &Series,
        tallies: &[(String, Tally)],
        tx: &mut Tx,
    ) -> Result<(), StoreError> {
        let source = source_name(partition);
        let mut counts = Counts::new();
        for (value, tally) in tallies {
            let key = (&*series.key, EVER, 0, stored(value).into_owned(), source.as_str());
            counts.entry(key).or_default().add(*tally);
        }
        add(counts, tx).await
    }

    fn count<'a>(
        &'a self,
        event: &Received<E>,
        progress: &'a Progress<'_>,
        counts: &mut Counts<'a>,
    ) -> Result<(), StoreError> {
        let source = progress.get(&event.partition);
        let newest = progress.newest(source);
        let mut values = Vec::new();
        for stream in &self.streams {
            let mut tally = None;
            for dimension in &stream.dimensions {
                (dimension.values)(&event.value, &mut |value| values.push(value));
                for value in values.drain(..) {
                    let tally = match tally {
                        Some(tally) => tally,
                        None => {
                            let measure = stream.measure.as_ref().and_then(|measure| measure(&event.value));
                            *tally.insert(Tally::of_one(measure)?)
                        }
                    };
                    let value = stored(&value).into_owned();
                    let mut add = |span, start, value| {
                        let key = (&*dimension.series, span, start, value, source.name.as_str());
                        counts.entry(key).or_default().add(tally);
                    };
                    for window in self.windows.lengths() {
                        let start = window.start(event.value.at());
                        if start >= self.windows.kept_since(window, newest) {
                            add(window.milliseconds(), start, value.clone());
                        }
                    }
                    add(EVER, 0, value);
                }
            }
        }
        Ok(())
    }

    /// Lets go of windows that are not kept any more.
    async fn forget(&self, progress: &Progress<'_>, tx: &mut Tx) -> Result<(), StoreError> {
        let series = self.streams.iter().flat_map(|stream| &stream.dimensions).map(|dimension| &*dimension.series);
        let series: Vec<&str> = series.collect();
        let names: Vec<String> = (4..4 + series.len()).map(|number| format!("${number}")).collect();
        let sql = format!(
            "DELETE FROM window_counts WHERE series IN ({}) AND span = $1 AND window_start < $2 AND source = $3",
            names.join(", ")
        );
        for source in progress.sources() {
            let Some(before) = source.before else { continue };
            let newest = progress.newest(source);
            // Where the newest is not believed, it is the clock that goes on.
            let goes_by_clock = newest < source.at;
            for window in self.windows.lengths() {
                let since = self.windows.kept_since(window, newest);
                let has_moved = self.windows.kept_since(window, before.at) < since || goes_by_clock;
                if has_moved && !series.is_empty() {
                    let mut params: Vec<Value<'_>> =
                        vec![window.milliseconds().into(), since.into(), source.name.as_str().into()];
                    params.extend(series.iter().map(|series| Value::from(*series)));
                    tx.execute(sql.clone(), &params).await?;
                }
            }
        }
        Ok(())
    }
}

impl<E: Decode + Occurrence> Projection for Statistics<E> {
    type Event = E;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    /// Keys of different partitions are different, so that no worker ever waits for another.
    async fn apply(&self, events: &[Received<E>], tx: &mut Tx) -> Result<(), StoreError> {
        let mut progress = Progress::of(events, latest((self.clock)()), tx).await?;
        let is_new = self.memory.tell_new(events, &progress, tx).await?;
        let new = || events.iter().zip(&is_new).filter(|(_, is_new)| **is_new).map(|(event, _)| event);
        for event in new() {
            progress.pass(event);
        }
        let mut counts = Counts::new();
        for event in new() {
            self.count(event, &progress, &mut counts)?;
        }
        add(counts, tx).await?;
        self.forget(&progress, tx).await?;
        progress.write(tx).await
    }

    fn inherits(&self, _topic: &str, _version: u32) -> bool {
        true
    }

    /// Counts of what the log has forgotten are taken over, as far as they are of series and windows that are still counted.
    /// One that is new counts from where the generation before has come.
    async fn inherit(
        &self,
        partition: &TopicPartition,
        _version: u32,
        before: &mut Tx,
        tx: &mut Tx,
    ) -> Result<(), StoreError> {
        let is_counted = |series: &str, span: i64| {
            let is_kept = span == EVER || self.windows.lengths().any(|window| window.milliseconds() == span);
            let mut dimensions = self.streams.iter().flat_map(|stream| &stream.dimensions);
            is_kept && dimensions.any(|dimension| *dimension.series == *series)
        };
        inheritance::copy(&source_name(partition), is_counted, before, tx).await
    }
}

async fn add(counts: Counts<'_>, tx: &mut Tx) -> Result<(), StoreError> {
    let rows: Vec<[Value<'_>; 9]> = counts
        .into_iter()
        .map(|((series, span, start, value, source), tally)| {
            [
                series.into(),
                span.into(),
                start.into(),
                value.into(),
                source.into(),
                tally.count.into(),
                tally.sum.into(),
                tally.least.into(),
                tally.most.into(),
            ]
        })
        .collect();
    tx.execute_rows(ADD, &rows).await.map(drop)
}
