use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use balcony_event_log::{Positions, Record, TopicPartition};

use crate::parking::{Key, key};

/// The records of a dispatcher from the first that is not done to the last that was read: what may be delivered, what
/// waits for an earlier record of its key, and how far everything is done.
#[derive(Default)]
pub(super) struct Window {
    partitions: BTreeMap<TopicPartition, Frontier>,
    /// For each key of which a record is being delivered, what waits behind it.
    waiting: HashMap<Key, VecDeque<Arc<Record>>>,
}

/// One partition: everything below the first of `entries` is done, and everything below `reached` when there is none.
struct Frontier {
    /// What was read and is not below the frontier, in order.
    entries: VecDeque<(i64, Stage)>,
    /// Where reading goes on.
    reached: i64,
    /// Of the records that are not done.
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is delivered, or waits.
    Undone,
    /// It is done once it is written down as parked.
    SetAside,
    Delivered,
    /// It is written down that it is delivered or parked.
    Noted,
}

/// Bytes of records that are not done, from which on no more are taken in.
const MOST_BYTES: usize = 64 << 20;

impl Window {
    /// A window on partitions that are done up to `positions`.
    pub(super) fn new(positions: &Positions) -> Self {
        let frontier = |reached| Frontier { entries: VecDeque::new(), reached, bytes: 0 };
        let partitions = positions.into_iter().map(|(partition, next)| (partition.clone(), frontier(next))).collect();
        Self { partitions, ..Self::default() }
    }

    /// Whether another record may come in.
    pub(super) fn has_room(&self, most: usize) -> bool {
        self.len() < most.max(1) && self.bytes() < MOST_BYTES
    }

    /// How many records are not below the frontier.
    pub(super) fn len(&self) -> usize {
        self.partitions.values().map(|frontier| frontier.entries.len()).sum()
    }

    fn bytes(&self) -> usize {
        self.partitions.values().map(|frontier| frontier.bytes).sum()
    }

    /// Takes in the next record of its partition and says whether it is to be done at all: not when it lies below the
    /// frontier, or in a partition that is not held.
    pub(super) fn take_in(&mut self, record: &Record) -> bool {
        let Some(frontier) = self.partitions.get_mut(&record.partition) else { return false };
        if record.offset < frontier.reached {
            return false;
        }
        frontier.entries.push_back((record.offset, Stage::Undone));
        frontier.reached = record.offset + 1;
        frontier.bytes += size(record);
        true
    }

    /// Notes that everything below `reached` was taken in or is of no concern.
    pub(super) fn reach(&mut self, reached: &Positions) {
        for (partition, next) in reached {
            if let Some(frontier) = self.partitions.get_mut(partition) {
                frontier.reached = frontier.reached.max(next);
            }
        }
    }

    /// Gives the record back when it may be delivered now; otherwise it waits for the one before it of its key.
    pub(super) fn line_up(&mut self, record: Arc<Record>) -> Option<Arc<Record>> {
        if record.key.is_empty() {
            return Some(record);
        }
        match self.waiting.get_mut(&key(&record)) {
            Some(waiting) => {
                waiting.push_back(record);
                None
            }
            None => {
                self.waiting.insert(key(&record), VecDeque::new());
                Some(record)
            }
        }
    }

    /// Notes that a record was delivered. Gives the next of its key.
    pub(super) fn delivered(&mut self, record: &Record) -> Option<Arc<Record>> {
        self.mark(record, Stage::Delivered);
        let key = key(record);
        let next = self.waiting.get_mut(&key)?.pop_front();
        if next.is_none() {
            self.waiting.remove(&key);
        }
        next
    }

    /// Notes that a record that was being delivered failed. Gives everything that waited behind it.
    pub(super) fn failed(&mut self, record: &Record) -> VecDeque<Arc<Record>> {
        self.waiting.remove(&key(record)).unwrap_or_default()
    }

    /// Notes that a record is done once it is written down as parked.
    pub(super) fn set_aside(&mut self, record: &Record) {
        self.mark(record, Stage::SetAside);
    }

    /// Notes that a record that was set aside is to be delivered after all.
    pub(super) fn take_back(&mut self, record: &Record) {
        self.mark(record, Stage::Undone);
    }

    /// Notes that it is written down that a record is parked.
    pub(super) fn parked(&mut self, record: &Record) {
        self.mark(record, Stage::Noted);
    }

    /// What was delivered above the frontier and is not written down.
    pub(super) fn ahead(&self) -> Vec<(TopicPartition, i64)> {
        let mut ahead = Vec::new();
        for (partition, frontier) in &self.partitions {
            let delivered = frontier.above().filter(|(_, stage)| *stage == Stage::Delivered);
            ahead.extend(delivered.map(|(offset, _)| (partition.clone(), *offset)));
        }
        ahead
    }

    /// Notes that all of that is written down.
    pub(super) fn noted(&mut self) {
        for (_, stage) in self.partitions.values_mut().flat_map(|frontier| frontier.entries.iter_mut()) {
            if *stage == Stage::Delivered {
                *stage = Stage::Noted;
            }
        }
    }

    fn mark(&mut self, record: &Record, stage: Stage) {
        let Some(frontier) = self.partitions.get_mut(&record.partition) else { return };
        let Ok(found) = frontier.entries.binary_search_by_key(&record.offset, |(offset, _)| *offset) else { return };
        frontier.entries[found].1 = stage;
        if stage.is_done() {
            frontier.bytes = frontier.bytes.saturating_sub(size(record));
        }
        while frontier.entries.front().is_some_and(|(_, stage)| stage.is_done()) {
            frontier.entries.pop_front();
        }
    }

    /// How far everything is done in each partition, once what was set aside is written down.
    pub(super) fn frontier(&self) -> Positions {
        let positions = self.partitions.iter().map(|(partition, frontier)| (partition.clone(), frontier.position()));
        positions.collect()
    }

    /// Lets go of `partitions`.
    pub(super) fn release(&mut self, partitions: &[TopicPartition]) {
        self.partitions.retain(|partition, _| !partitions.contains(partition));
        self.waiting.retain(|(partition, _), _| !partitions.contains(partition));
    }
}

impl Frontier {
    fn position(&self) -> i64 {
        self.above().next().map_or(self.reached, |(offset, _)| *offset)
    }

    /// From the first that is undone on.
    fn above(&self) -> impl Iterator<Item = &(i64, Stage)> {
        self.entries.iter().skip_while(|(_, stage)| *stage != Stage::Undone)
    }
}

impl Stage {
    fn is_done(self) -> bool {
        matches!(self, Self::Delivered | Self::Noted)
    }
}

fn size(record: &Record) -> usize {
    record.key.len() + record.payload.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use balcony_event_log::Headers;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn partition() -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    fn record(offset: i64, key: u8) -> Arc<Record> {
        let key = if key == 0 { Vec::new() } else { vec![key] };
        Arc::new(Record {
            partition: partition(),
            offset,
            timestamp: 0,
            key,
            headers: Headers::new(),
            payload: vec![0; 3],
        })
    }

    fn at(next: i64) -> Positions {
        [(partition(), next)].into_iter().collect()
    }

    #[test]
    fn the_frontier_stands_at_the_first_that_is_not_done() {
        let mut window = Window::new(&at(5));
        let records: Vec<_> = [5, 7, 8].into_iter().map(|offset| record(offset, 0)).collect();
        for record in &records {
            assert!(window.take_in(record));
            assert!(window.line_up(record.clone()).is_some());
        }
        assert!(!window.take_in(&record(4, 0)) && !window.take_in(&record(8, 0)), "it never goes back");
        window.reach(&at(12));
        window.delivered(&records[1]);
        assert_eq!((window.frontier(), window.len()), (at(5), 3));
        window.set_aside(&records[0]);
        assert_eq!((window.frontier(), window.len()), (at(8), 3), "as it will be once that is written down");
        window.take_back(&records[0]);
        assert_eq!(window.frontier(), at(5));
        assert_eq!(window.ahead(), [(partition(), 7)]);
        window.noted();
        assert!(window.ahead().is_empty());
        window.parked(&records[0]);
        assert_eq!((window.frontier(), window.len()), (at(8), 1));
        window.delivered(&records[2]);
        assert_eq!((window.frontier(), window.len(), window.bytes()), (at(12), 0, 0));
    }

    proptest! {
        /// Records of some keys (0 is none) end in any order, some by failing, while others come in.
        #[test]
        fn every_schedule_keeps_the_order_of_keys_and_passes_nothing_undone(
            keys in proptest::collection::vec(0..4_u8, 1..60),
            choices in proptest::collection::vec((any::<Index>(), 0..4_u8), 1..200),
        ) {
            let mut window = Window::new(&at(0));
            let mut incoming = keys.iter().enumerate().map(|(n, key)| record(2 * n as i64, *key)).peekable();
            let (mut in_flight, mut set_aside) = (Vec::<Arc<Record>>::new(), Vec::<Arc<Record>>::new());
            let mut undone = BTreeSet::new();
            let mut last_of_key = HashMap::new();
            let mut choices = choices.into_iter().cycle();
            loop {
                let (chosen, action) = choices.next().expect("a cycle has no end");
                if in_flight.is_empty() || action == 0 && incoming.peek().is_some() {
                    let Some(record) = incoming.next() else { break };
                    prop_assert!(window.take_in(&record));
                    window.reach(&at(record.offset + 2));
                    undone.insert(record.offset);
                    in_flight.extend(window.line_up(record));
                } else {
                    let ended = in_flight.swap_remove(chosen.index(in_flight.len()));
                    if action == 1 {
                        let behind = window.failed(&ended);
                        for record in [ended].into_iter().chain(behind) {
                            window.set_aside(&record);
                            set_aside.push(record);
                        }
                    } else {
                        if !ended.key.is_empty() {
                            let before = last_of_key.insert(ended.key.clone(), ended.offset);
                            prop_assert!(before.is_none_or(|before| before < ended.offset));
                        }
                        undone.remove(&ended.offset);
                        in_flight.extend(window.delivered(&ended));
                    }
                }
                let keyed: Vec<_> = in_flight.iter().filter(|record| !record.key.is_empty()).map(|r| &r.key).collect();
                prop_assert_eq!(keyed.iter().collect::<BTreeSet<_>>().len(), keyed.len(), "one of each key");
                // What is set aside is written down now and then, and from then on it is done.
                let unwritten: BTreeSet<i64> = set_aside.iter().map(|record| record.offset).collect();
                let first = undone.difference(&unwritten).next().copied();
                let reached = window.partitions[&partition()].reached;
                prop_assert_eq!(window.frontier(), at(first.unwrap_or(reached)));
                if chosen.index(5) == 0 || in_flight.is_empty() {
                    for record in set_aside.drain(..) {
                        window.parked(&record);
                        undone.remove(&record.offset);
                    }
                }
            }
            prop_assert_eq!((window.frontier(), window.len(), window.bytes()), (at(2 * keys.len() as i64), 0, 0));
        }
    }
}
