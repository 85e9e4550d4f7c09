//! One reading of the log for all steps of a process that stand at about the same place.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use balcony_event_log::{EventLog, Incoming, LogError, Positions, Reader, Record, TopicPartition};
use tokio::sync::watch;

use crate::taken::{Batch, Taken};

/// The most records that are kept for who has not taken them yet, and about their bytes in memory; their events take about as
/// much again. Who is further behind reads by itself.
const MOST_RECORDS: usize = 20_000;
const MOST_BYTES: usize = 16 << 20;
/// The most of what all have taken, for who comes a little later.
const TAKEN_RECORDS: usize = 10_000;
const TAKEN_BYTES: usize = 4 << 20;
/// What a record takes beside its key, its payload and its headers.
const RECORD_BYTES: usize = 256;
/// The most records of one piece.
const PIECE_RECORDS: usize = 4_000;
/// How far ahead of the reading somebody may join it and pass over what lies between; from there on the reading moves to
/// where that one is, so that who is slow is not followed by all others.
const AHEAD: i64 = 20_000;
/// How many offsets of others are passed over before it is said, where topics share theirs.
const UNTOLD: i64 = 10_000;

/// Reads the log once for all who take part. Nobody waits for anybody: whoever wants more than was read reads it for all, and
/// what was read is kept for a while. Whoever is further behind than that reads by itself, and takes part again once it has
/// caught up ([`Source`](crate::source::Source)).
pub(crate) struct Reading {
    log: Arc<dyn EventLog>,
    window: Mutex<Window>,
    /// Ticks with every change of the window.
    news: watch::Sender<()>,
    /// Held by whoever reads on, for as long as that waits.
    open: tokio::sync::Mutex<Open>,
}

/// What was read last.
#[derive(Default)]
struct Window {
    pieces: VecDeque<Arc<Piece>>,
    /// The number of the first piece, counted from the beginning of the process.
    first: u64,
    records: usize,
    bytes: usize,
    /// Where the first piece begins, in every partition that is read.
    from: Positions,
    /// Where reading goes on.
    reached: Positions,
    /// Who takes part.
    parts: BTreeMap<u64, Taker>,
    next_part: u64,
    /// Changes when another set of partitions is to be read, or from elsewhere.
    course: u64,
}

/// Somebody who takes part.
struct Taker {
    /// What it reads.
    partitions: Vec<TopicPartition>,
    /// The number of the piece that it takes next.
    next: u64,
}

/// What was read at once.
enum Piece {
    /// What the log says while it is away.
    Away(String),
    Records {
        batch: Batch,
        /// Where reading began, in the partitions that it has moved.
        from: Positions,
        bytes: usize,
    },
}

/// The reader, and which course it is on.
#[derive(Default)]
struct Open {
    reader: Option<Reader>,
    course: u64,
}

/// Somebody's part in a reading. Dropped, it takes part no more.
pub(crate) struct Part {
    reading: Arc<Reading>,
    id: u64,
    /// The number of the piece that comes next.
    next: u64,
    /// How far it has said that it has come. Nothing is said again and again of records that are of others alone, where
    /// those take the same offsets.
    told: Positions,
    has_told: bool,
}

/// The reading does not have what comes next: it has moved on, or failed.
pub(crate) struct Left;

impl Reading {
    pub(crate) fn new(log: Arc<dyn EventLog>) -> Arc<Self> {
        Arc::new(Self { log, window: Mutex::default(), news: watch::Sender::new(()), open: Default::default() })
    }

    pub(crate) fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// A part in the reading for who stands at `at`, unless that is behind what is kept. The first begins the reading; and who
    /// reads what nobody has read yet has read it by itself before, lest what it cannot read ends the reading of all.
    pub(crate) fn take_part(self: &Arc<Self>, at: &Positions, has_read: bool) -> Option<Part> {
        let mut window = self.window();
        if window.parts.is_empty() {
            window.begin(at.clone());
        } else {
            let is_kept = |(partition, next): (&TopicPartition, i64)| {
                if window.reached.names(partition) { next >= window.from.next_offset(partition) } else { has_read }
            };
            if !at.into_iter().all(is_kept) {
                return None;
            }
            let read = at.among(at.partitions().filter(|partition| window.reached.names(partition)));
            if window.reached.distance(&read) > AHEAD {
                let mut ahead = window.reached.clone();
                ahead.merge(at);
                window.begin(ahead);
            } else if read.len() < at.len() {
                for (partition, next) in at {
                    if !window.reached.names(partition) {
                        window.from.set(partition.clone(), next);
                        window.reached.set(partition.clone(), next);
                    }
                }
                window.course += 1;
            }
        }
        let (id, next) = (window.next_part, window.first);
        window.next_part += 1;
        window.parts.insert(id, Taker { partitions: at.partitions().cloned().collect(), next });
        drop(window);
        self.news.send_replace(());
        Some(Part { reading: self.clone(), id, next, told: at.clone(), has_told: false })
    }

    /// How many records are kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.window().records
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what was read on a course into the window. What is of an earlier course is read again.
    fn put(&self, course: u64, incoming: Result<Incoming, LogError>) {
        let mut window = self.window();
        if window.course != course {
            return;
        }
        match incoming {
            Ok(Incoming::Records(batch)) => window.push_batch(batch.map(Taken::shared)),
            Err(LogError::Unavailable(reason)) => window.push(Piece::Away(reason)),
            // Nobody is assigned what it has asked for.
            Ok(Incoming::Assigned(_) | Incoming::Revoked(_)) => {}
            // Everybody meets it where they stand.
            Err(error) => {
                tracing::debug!(%error, "the reading for all steps has ended");
                window.end();
            }
        }
        drop(window);
        self.news.send_replace(());
    }
}

impl Open {
    /// The reader on the course that is to be read.
    fn reader(&mut self, reading: &Reading) -> &mut Reader {
        let (course, from) = {
            let window = reading.window();
            (window.course, (window.course != self.course).then(|| window.reached.clone()))
        };
        if let Some(from) = from {
            self.reader = None;
            self.course = course;
            return self.reader.insert(reading.log.read(from));
        }
        self.reader.get_or_insert_with(|| Reader::refused(LogError::Closed))
    }
}

impl Window {
    /// Begins at `at`, without anything that was read before. Whoever takes part already is left behind, and learns it.
    fn begin(&mut self, at: Positions) {
        self.first += self.pieces.len() as u64 + 1;
        self.pieces.clear();
        (self.records, self.bytes) = (0, 0);
        self.from.clone_from(&at);
        self.reached = at;
        self.course += 1;
    }

    /// Nobody takes part any more.
    fn end(&mut self) {
        self.parts.clear();
        self.begin(Positions::new());
    }

    fn push_batch(&mut self, batch: Batch) {
        let from = self.reached.among(batch.reached.partitions());
        self.reached.merge(&batch.reached);
        let bytes = batch.records.iter().map(|record| bytes(record)).sum();
        self.records += batch.records.len();
        self.bytes += bytes;
        self.push(Piece::Records { batch, from, bytes });
    }

    fn push(&mut self, piece: Piece) {
        self.pieces.push_back(Arc::new(piece));
        self.let_go();
    }

    /// Lets go of the first pieces that are too many.
    fn let_go(&mut self) {
        let taken = self.parts.values().map(|taker| taker.next).min().unwrap_or(0);
        let has_too_many = |window: &Self| {
            let is_taken = window.first < taken;
            let records = if is_taken { TAKEN_RECORDS } else { MOST_RECORDS };
            let bytes = if is_taken { TAKEN_BYTES } else { MOST_BYTES };
            window.records > records || window.bytes > bytes || window.pieces.len() > records
        };
        while self.pieces.len() > 1 && has_too_many(self) {
            let Some(piece) = self.pieces.pop_front() else { return };
            self.first += 1;
            if let Piece::Records { batch, bytes, .. } = &*piece {
                self.records -= batch.records.len();
                self.bytes -= bytes;
                self.from.merge(&batch.reached);
            }
        }
    }

    /// Reads no more what nobody wants any more.
    fn narrow(&mut self) {
        if self.parts.is_empty() {
            return self.end();
        }
        let is_wanted =
            |partition: &TopicPartition| self.parts.values().any(|taker| taker.partitions.contains(partition));
        let before = self.reached.len();
        self.reached.retain(is_wanted);
        if self.reached.len() < before {
            self.from = self.from.among(self.reached.partitions());
            self.course += 1;
        }
    }
}

impl Part {
    /// Waits for what comes next for who stands at `at`, which it moves. Cancelling the wait loses nothing.
    pub(crate) async fn next(&mut self, at: &mut Positions) -> Result<Result<Batch, LogError>, Left> {
        let mut news = self.reading.news.subscribe();
        loop {
            news.mark_unchanged();
            if let Some(came) = self.take(at)? {
                return Ok(came);
            }
            let reading = self.reading.clone();
            let read_on = async {
                let mut open = reading.open.lock().await;
                // Another may have read on while this one waited.
                if self.is_at_the_end() {
                    let reader = open.reader(&reading);
                    let mut incoming = reader.next().await;
                    if let Ok(Incoming::Records(batch)) = &mut incoming {
                        reader.fill(batch, PIECE_RECORDS);
                    }
                    reading.put(open.course, incoming);
                }
            };
            tokio::select! {
                () = read_on => {}
                _ = news.changed() => {}
            }
        }
    }

    /// What comes next and is there without waiting.
    pub(crate) fn try_next(&mut self, at: &mut Positions) -> Result<Option<Result<Batch, LogError>>, Left> {
        if let Some(came) = self.take(at)? {
            return Ok(Some(came));
        }
        // Whoever holds it waits, because there is nothing.
        let Ok(mut open) = self.reading.open.try_lock() else { return Ok(None) };
        if self.is_at_the_end() {
            let mut batch = balcony_event_log::Batch::default();
            open.reader(&self.reading).fill(&mut batch, PIECE_RECORDS);
            if batch.reached.is_empty() {
                return Ok(None);
            }
            self.reading.put(open.course, Ok(Incoming::Records(batch)));
        }
        drop(open);
        self.take(at)
    }

    fn is_at_the_end(&self) -> bool {
        let window = self.reading.window();
        self.next == window.first + window.pieces.len() as u64
    }

    /// The next piece that has something for who stands at `at`, if it was read.
    fn take(&mut self, at: &mut Positions) -> Result<Option<Result<Batch, LogError>>, Left> {
        loop {
            let piece = {
                let mut window = self.reading.window();
                let place = self.next.checked_sub(window.first).ok_or(Left)?;
                let piece = usize::try_from(place).ok().and_then(|place| window.pieces.get(place));
                let Some(piece) = piece.cloned() else { return Ok(None) };
                if let Some(taker) = window.parts.get_mut(&self.id) {
                    taker.next = self.next + 1;
                    window.let_go();
                }
                piece
            };
            match &*piece {
                Piece::Away(reason) => {
                    self.next += 1;
                    return Ok(Some(Err(LogError::Unavailable(reason.clone()))));
                }
                Piece::Records { batch, from, .. } => {
                    // What lies between was never here.
                    if from
                        .into_iter()
                        .any(|(partition, begun)| at.names(partition) && at.next_offset(partition) < begun)
                    {
                        return Err(Left);
                    }
                    self.next += 1;
                    let records = records_of(batch, at);
                    at.merge(&batch.reached.among(at.partitions().filter(|partition| batch.reached.names(partition))));
                    // An empty one says that the log is back.
                    if !records.is_empty() || batch.reached.is_empty() || self.is_to_tell(at) {
                        let reached = at.among(at.partitions().filter(|partition| self.is_news(partition, at)));
                        self.told.clone_from(at);
                        self.has_told = true;
                        return Ok(Some(Ok(Batch { records, reached })));
                    }
                }
            }
        }
    }
}

impl Part {
    fn is_news(&self, partition: &TopicPartition, at: &Positions) -> bool {
        at.next_offset(partition) > self.told.next_offset(partition)
    }

    /// Whether it is to be said that it has come to `at`, although there is no record.
    fn is_to_tell(&self, at: &Positions) -> bool {
        let untold = self.told.distance(at);
        untold > 0 && (!self.has_told || !self.reading.log.shares_offsets() || untold >= UNTOLD)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut window = self.reading.window();
        if window.parts.remove(&self.id).is_some() {
            window.narrow();
        }
        let is_over = window.parts.is_empty();
        drop(window);
        if is_over && let Ok(mut open) = self.reading.open.try_lock() {
            open.reader = None;
        }
        self.reading.news.send_replace(());
    }
}

/// About what a record takes in memory.
fn bytes(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    RECORD_BYTES + record.key.len() + record.payload.len() + headers
}

/// What of `batch` is new to who stands at `at`.
fn records_of(batch: &Batch, at: &Positions) -> Vec<Taken> {
    let is_new = |record: &&Taken| is_new(record, at);
    batch.records.iter().filter(is_new).cloned().collect()
}

/// Whether `record` is new to who stands at `at` in the partitions that are named.
pub(crate) fn is_new(record: &Record, at: &Positions) -> bool {
    at.names(&record.partition) && record.offset >= at.next_offset(&record.partition)
}
