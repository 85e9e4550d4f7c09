//! How a log is recognised: by records of it that were there before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use balcony_event_log::{EventLog, Incoming, LogError, Position, Positions, Record, TopicPartition};
use balcony_store::Mark;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// In what a log differs from the one that a database was used with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrecognised {
    /// It says that it is another one.
    #[error("it is of another cluster or file")]
    Identity,
    /// Its topics have other names.
    #[error("the database knows the topics {}, and these are {}", .known.join(", "), .given.join(", "))]
    Topics {
        /// The names in the database.
        known: Vec<Arc<str>>,
        /// The names in the settings.
        given: Vec<Arc<str>>,
    },
    /// It ends before what it has had.
    #[error("{}/{} ends at {end}, and {had} records of it were there before", .partition.topic, .partition.partition)]
    Shorter {
        /// The partition.
        partition: TopicPartition,
        /// Where it ends.
        end: i64,
        /// Where it ended at the least.
        had: i64,
    },
    /// It has another record where one is known.
    #[error("{}/{} has another record at offset {}", .0.partition.topic, .0.partition.partition, .0.offset)]
    Differs(Position),
}

/// Why a log was not recognised.
pub(super) enum NotRecognised {
    Unrecognised(Unrecognised),
    /// It could not be asked.
    Log(LogError),
}

impl From<LogError> for NotRecognised {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// What a log is recognised by.
pub(super) struct Known {
    /// The topics of the log.
    names: Vec<Arc<str>>,
    /// A record of each partition that had any, by what it says.
    marks: BTreeMap<TopicPartition, (i64, Uuid)>,
    /// Those that are not written down yet.
    news: Vec<Mark>,
    pub(super) recognised_at: Instant,
}

/// How long records may take to be read.
const PATIENCE: Duration = Duration::from_secs(10);

impl Known {
    pub(super) fn new(marks: Vec<Mark>, names: &[Arc<str>]) -> Self {
        let nothing = BTreeMap::new();
        let mut known = Self { names: names.to_vec(), marks: nothing, news: Vec::new(), recognised_at: Instant::now() };
        known.learn(marks);
        known
    }

    /// Adds what others recognise the log by, in partitions of which nothing is known here.
    pub(super) fn learn(&mut self, marks: Vec<Mark>) {
        for Mark { position: Position { partition, offset }, digest } in marks {
            if self.is_named(&partition) {
                self.marks.entry(partition).or_insert((offset, digest));
            }
        }
    }

    fn is_named(&self, partition: &TopicPartition) -> bool {
        self.names.contains(&partition.topic)
    }

    /// Whether every partition that has records by now has one by which it is recognised.
    pub(super) fn has_marks_for(&self, ends: &Positions) -> bool {
        ends.into_iter().all(|(partition, end)| end == 0 || self.marks.contains_key(partition))
    }

    /// Marks that are not written down yet.
    pub(super) fn news(&self) -> &[Mark] {
        &self.news
    }

    pub(super) fn take_news(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.news)
    }

    /// Checks that the log has what is known, and everything below `read`, where that can be told; marks its newest records, and gives where it
    /// ends.
    pub(super) async fn recognise(&mut self, log: &dyn EventLog, read: &Positions) -> Result<Positions, NotRecognised> {
        let names = self.names.clone();
        let (starts, ends) = (log.starts(&names).await?, log.ends(&names).await?);
        let marked = self.marks.iter().map(|(partition, (offset, _))| (partition, offset + 1));
        // Where topics share their offsets, a reader may be beyond the end of what it reads.
        let read = (!log.shares_offsets()).then_some(read).into_iter().flatten();
        for (partition, had) in marked.chain(read).filter(|(partition, _)| names.contains(&partition.topic)) {
            let end = ends.next_offset(partition);
            if end < had {
                let partition = partition.clone();
                return Err(NotRecognised::Unrecognised(Unrecognised::Shorter { partition, end, had }));
            }
        }

        // What the log has forgotten cannot be compared.
        let there = self.marks.iter().filter(|(partition, (offset, _))| starts.next_offset(partition) <= *offset);
        let there: Positions = there.map(|(partition, (offset, _))| (partition.clone(), *offset)).collect();
        let found = records(log, &there, &ends).await?;
        for (partition, offset) in &there {
            if found.get(partition) != Some(&self.marks[partition]) {
                let position = Position { partition: partition.clone(), offset };
                return Err(NotRecognised::Unrecognised(Unrecognised::Differs(position)));
            }
        }

        let newer = ends.into_iter().filter(|(partition, end)| {
            let marked = self.marks.get(partition).map_or(0, |(offset, _)| offset + 1);
            *end > marked.max(starts.next_offset(partition))
        });
        let newer: Positions = newer.map(|(partition, end)| (partition.clone(), end - 1)).collect();
        for (partition, (offset, digest)) in records(log, &newer, &ends).await? {
            let position = Position { partition: partition.clone(), offset };
            self.news.push(Mark { position, digest });
            self.marks.insert(partition, (offset, digest));
        }
        self.recognised_at = Instant::now();
        Ok(ends)
    }
}

/// The first record of each partition at or behind `from` and below `ends`: its offset and its digest.
async fn records(
    log: &dyn EventLog,
    from: &Positions,
    ends: &Positions,
) -> Result<BTreeMap<TopicPartition, (i64, Uuid)>, LogError> {
    let mut found: BTreeMap<TopicPartition, (i64, Uuid)> = BTreeMap::new();
    if from.is_empty() {
        return Ok(found);
    }
    let ends = ends.among(from.partitions());
    let mut reached = from.clone();
    let mut reader = log.read(from.clone());
    let reading = async {
        while found.len() < from.len() && !reached.covers(&ends) {
            match reader.next().await {
                Ok(Incoming::Records(batch)) => {
                    for record in &batch.records {
                        found.entry(record.partition.clone()).or_insert_with(|| (record.offset, digest(record)));
                    }
                    reached.merge(&batch.reached);
                }
                Ok(Incoming::Assigned(_) | Incoming::Revoked(_)) | Err(LogError::Unavailable(_)) => {}
                // It was cut, or has forgotten, since it was asked where it begins and ends.
                Err(LogError::OutOfRange { reason, .. }) => return Err(LogError::Unavailable(reason)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    let late = || LogError::Unavailable(format!("no records came for {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, reading).await.map_err(|_| late())??;
    Ok(found)
}

/// A digest of everything that a record says, and of when it was appended.
fn digest(record: &Record) -> Uuid {
    let mut bytes = record.timestamp.to_be_bytes().to_vec();
    let mut add = |part: &[u8]| {
        bytes.extend_from_slice(&part.len().to_be_bytes());
        bytes.extend_from_slice(part);
    };
    add(&record.key);
    add(&record.payload);
    for (name, value) in record.headers.iter() {
        add(name.as_bytes());
        add(value);
    }
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &bytes)
}
