use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::clock::{Clock, millis};
use crate::{AppendError, Batch, Feed, LogError, Message, Position, Positions, Record, Topic, TopicPartition};

/// The largest record: key, headers and payload together.
const RECORD_BYTES: usize = 1 << 20;

/// Everything in the log, for its handles and its readers.
pub(super) struct Shared {
    clock: Clock,
    state: Mutex<State>,
    /// Marked as changed whenever a record came, a group changed or the log was closed.
    changed: watch::Sender<()>,
}

pub(super) struct State {
    /// For each topic, its partitions.
    topics: HashMap<Arc<str>, Vec<Partition>>,
    /// How many partitions of each topic are used, where not all are.
    used: BTreeMap<Arc<str>, usize>,
    groups: HashMap<String, Group>,
    /// Whether the last handle was dropped.
    pub(super) closed: bool,
}

struct Partition {
    retention: Option<Duration>,
    /// In the order of their offsets, which may have holes.
    records: VecDeque<Record>,
    /// Every record below was removed when its time was over.
    first: i64,
    end: i64,
}

/// The members that share out partitions.
#[derive(Default)]
struct Group {
    /// Counts the changes of its members.
    generation: u64,
    next_member: u64,
    /// The topics that each member reads.
    members: BTreeMap<u64, Vec<Arc<str>>>,
}

/// How far a reader has come.
pub(super) struct Cursor {
    partitions: Vec<Place>,
}

struct Place {
    partition: TopicPartition,
    /// Where reading goes on.
    next: i64,
}

impl Shared {
    pub(super) fn new(topics: &[Topic], clock: Clock) -> Self {
        let partitions =
            |topic: &Topic| (0..topic.partitions.max(1)).map(|_| Partition::empty(topic.retention)).collect();
        let topics = topics.iter().map(|topic| (Arc::clone(&topic.name), partitions(topic))).collect();
        let state = Mutex::new(State { topics, used: BTreeMap::new(), groups: HashMap::new(), closed: false });
        Self { clock, state, changed: watch::Sender::new(()) }
    }

    /// The log at this moment: records whose time is over are gone.
    pub(super) fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.unix_millis();
        state.topics.values_mut().flatten().for_each(|partition| partition.forget(now));
        state
    }

    /// Does `change` and wakes the readers.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.look());
        self.changed.send_replace(());
        changed
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn append(&self, topic: &str, message: Message) -> Result<Position, AppendError> {
        let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if message.key.len() + headers + message.payload.len() > RECORD_BYTES {
            return Err(AppendError::TooLarge);
        }
        let timestamp = self.clock.unix_millis();
        self.change(|state| {
            let Some((topic, partitions)) = state.topics.get_key_value(topic) else {
                return Err(AppendError::UnknownTopic { topic: topic.into() });
            };
            let used = state.used.get(topic).copied().unwrap_or(partitions.len()).min(partitions.len());
            let (topic, number) = (Arc::clone(topic), partition_of(message.route(), &partitions[..used]));
            let partition = &mut state.topics.get_mut(&topic).expect("it was just found")[number];
            let number = i32::try_from(number).expect("partitions are declared in 32 bits");
            let offset = partition.end;
            let Message { key, headers, payload } = message;
            let at = TopicPartition::new(topic, number);
            let record = Record { partition: at, offset, timestamp, key, headers, payload };
            let position = record.position();
            partition.records.push_back(record);
            partition.end += 1;
            Ok(position)
        })
    }
}

impl State {
    /// The first offset that is still there, of every partition of `topics`.
    pub(super) fn starts(&self, topics: &[Arc<str>]) -> Positions {
        self.positions(topics, |partition| partition.first)
    }

    /// Where every partition of `topics` ends.
    pub(super) fn ends(&self, topics: &[Arc<str>]) -> Positions {
        self.positions(topics, |partition| partition.end)
    }

    fn positions(&self, topics: &[Arc<str>], of: fn(&Partition) -> i64) -> Positions {
        let partitions = topics.iter().flat_map(|topic| self.partitions(topic));
        partitions.map(|(at, partition)| (at, of(partition))).collect()
    }

    fn partitions(&self, topic: &Arc<str>) -> impl Iterator<Item = (TopicPartition, &Partition)> {
        let partitions = self.topics.get(topic).into_iter().flatten();
        let used = self.used.get(topic).copied().unwrap_or(usize::MAX);
        let partitions = (0..).zip(partitions).take(used);
        partitions.map(|(number, partition)| (TopicPartition::new(Arc::clone(topic), number), partition))
    }

    fn partition(&self, at: &TopicPartition) -> Option<&Partition> {
        self.topics.get(&at.topic)?.get(usize::try_from(at.partition).ok()?)
    }

    /// Lets the offsets of `at` go on without records.
    pub(super) fn skip(&mut self, at: &TopicPartition, offsets: u32) -> Result<(), LogError> {
        let Some(partitions) = self.topics.get_mut(&at.topic) else {
            return Err(LogError::UnknownTopic { topic: Arc::clone(&at.topic) });
        };
        let count = partitions.len();
        let partition = usize::try_from(at.partition).ok().and_then(|number| partitions.get_mut(number));
        partition.ok_or_else(|| no_partition(at, count))?.end += i64::from(offsets);
        Ok(())
    }

    pub(super) fn add_partitions(&mut self, topic: &str, more: usize) -> Result<(), LogError> {
        let Some(partitions) = self.topics.get_mut(topic) else {
            return Err(LogError::UnknownTopic { topic: topic.into() });
        };
        let retention = partitions.first().and_then(|partition| partition.retention);
        partitions.extend((0..more).map(|_| Partition::empty(retention)));
        self.groups.values_mut().for_each(|group| group.generation += 1);
        Ok(())
    }

    pub(super) fn remove_below(&mut self, at: &TopicPartition, offset: i64) -> Result<(), LogError> {
        let count = self.topics.get(&at.topic).map_or(0, Vec::len);
        let partitions = self.topics.get_mut(&at.topic);
        let partition = partitions.zip(usize::try_from(at.partition).ok());
        let partition = partition.and_then(|(partitions, number)| partitions.get_mut(number));
        let partition = partition.ok_or_else(|| no_partition(at, count))?;
        partition.records.retain(|record| record.offset >= offset);
        partition.first = partition.first.max(offset.min(partition.end));
        Ok(())
    }

    pub(super) fn remake(&mut self) {
        for partition in self.topics.values_mut().flatten() {
            *partition = Partition::empty(partition.retention);
        }
    }

    pub(super) fn keep_to(&mut self, partitions: &BTreeMap<Arc<str>, i32>) {
        if self.used.is_empty() {
            let used = |(topic, count): (&Arc<str>, &i32)| (Arc::clone(topic), usize::try_from(*count).unwrap_or(0));
            self.used = partitions.iter().map(used).collect();
        }
    }

    /// Where the partitions end that are not used.
    pub(super) fn unused(&self) -> Positions {
        let unused = |(topic, used): (&Arc<str>, &usize)| {
            let partitions = (0..).zip(self.topics.get(topic).into_iter().flatten()).skip(*used);
            let ends =
                partitions.map(|(number, partition)| (TopicPartition::new(Arc::clone(topic), number), partition.end));
            ends.collect::<Vec<_>>()
        };
        self.used.iter().flat_map(unused).collect()
    }

    /// A reader at `from`.
    pub(super) fn cursor(&self, from: &Positions) -> Result<Cursor, LogError> {
        let place = |(at, next): (&TopicPartition, i64)| {
            let count = self.topics.get(&at.topic).map_or(0, Vec::len);
            let partition = self.partition(at).ok_or_else(|| no_partition(at, count))?;
            if next > partition.end {
                return Err(out_of_range(at, next, format!("the log ends at {}", partition.end)));
            }
            Ok(Place { partition: at.clone(), next })
        };
        Ok(Cursor { partitions: from.into_iter().map(place).collect::<Result<_, _>>()? })
    }

    /// What comes next, up to a batch; `None` at the end.
    pub(super) fn next_batch(&self, cursor: &mut Cursor) -> Result<Option<Batch>, LogError> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        for place in &mut cursor.partitions {
            let partition = self.partition(&place.partition).expect("the cursor was made of this log");
            if place.next > partition.end {
                return Err(out_of_range(&place.partition, place.next, format!("the log ends at {}", partition.end)));
            }
            // 0 asks for whatever is left.
            if 0 < place.next && place.next < partition.first {
                let reason = format!("records below {} were removed when their time was over", partition.first);
                return Err(out_of_range(&place.partition, place.next, reason));
            }
            let before = place.next;
            let from = partition.records.partition_point(|record| record.offset < before);
            let mut rest = partition.records.range(from..);
            while batch.records.len() < Feed::BATCH_RECORDS && bytes < Feed::BATCH_BYTES {
                let Some(record) = rest.next() else {
                    place.next = partition.end;
                    break;
                };
                bytes += record.key.len() + record.payload.len();
                place.next = record.offset + 1;
                batch.records.push(record.clone());
            }
            if place.next > before {
                batch.reached.set(place.partition.clone(), place.next);
            }
        }
        Ok(Some(batch).filter(|batch| !batch.reached.is_empty()))
    }

    /// Adds a member to `group`, which is made if it is not there, and returns the member's number in it.
    pub(super) fn join(&mut self, group: &str, topics: Vec<Arc<str>>) -> u64 {
        let group = self.groups.entry(group.to_owned()).or_default();
        let member = group.next_member;
        group.next_member += 1;
        group.generation += 1;
        group.members.insert(member, topics);
        member
    }

    pub(super) fn leave(&mut self, group: &str, member: u64) {
        if let Some(group) = self.groups.get_mut(group) {
            group.generation += 1;
            group.members.remove(&member);
        }
    }

    /// The partitions of `member` now, and how often the members of its group had changed when they became its own.
    /// The partitions of a topic go around among the members that read it.
    pub(super) fn share(&self, group: &str, member: u64) -> (u64, Vec<TopicPartition>) {
        let group = self.groups.get(group).expect("a member has a group");
        let mut share = Vec::new();
        for topic in &group.members[&member] {
            let readers: Vec<u64> =
                group.members.iter().filter(|(_, topics)| topics.contains(topic)).map(|(member, _)| *member).collect();
            let owners = readers.iter().cycle();
            let owned = self.partitions(topic).zip(owners).filter(|(_, owner)| **owner == member);
            share.extend(owned.map(|((at, _), _)| at));
        }
        (group.generation, share)
    }
}

impl Partition {
    fn empty(retention: Option<Duration>) -> Self {
        Self { retention, records: VecDeque::new(), first: 0, end: 0 }
    }

    fn forget(&mut self, now: i64) {
        let Some(retention) = self.retention else { return };
        let oldest_kept = now.saturating_sub(millis(retention));
        while let Some(record) = self.records.pop_front_if(|record| record.timestamp < oldest_kept) {
            self.first = record.offset + 1;
        }
    }
}

/// Where what is routed by `key` goes: the same to the same partition, records without to one after the other.
fn partition_of(key: &[u8], partitions: &[Partition]) -> usize {
    if key.is_empty() {
        let records: i64 = partitions.iter().map(|partition| partition.end).sum();
        return usize::try_from(records).unwrap_or(0) % partitions.len();
    }
    // FNV-1a, which is the same on every machine.
    let hash = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    usize::try_from(hash % partitions.len() as u64).expect("it is below the number of partitions")
}

fn no_partition(at: &TopicPartition, count: usize) -> LogError {
    LogError::Misconfigured(format!("{} has {count} partitions; {} was asked for", at.topic, at.partition))
}

fn out_of_range(at: &TopicPartition, offset: i64, reason: String) -> LogError {
    LogError::OutOfRange { topic: Arc::clone(&at.topic), partition: at.partition, offset, reason }
}
