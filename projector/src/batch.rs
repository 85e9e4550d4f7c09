use std::collections::HashSet;
use std::sync::Arc;

use balcony_event_log::{Positions, Record, TopicPartition};

use crate::parking::{ParkedKeys, PassedOver, Reason, is_behind, key};
use crate::received::{Events, Reads, Verdict};
use crate::taken::{Batch, Taken};

/// A batch that was decoded: what is applied, what is set aside, and how far it brings each partition.
pub(crate) struct Decoded {
    /// In the order of the log; the two lists tell apart what is applied from what is set aside.
    pub(crate) events: Arc<Events>,
    pub(crate) set_aside: Vec<SetAside>,
    /// How many events are of a type that is not known here.
    pub(crate) unknown: usize,
    pub(crate) reached: Positions,
}

/// A record that is not applied.
pub(crate) struct SetAside {
    pub(crate) record: Record,
    pub(crate) reason: Reason,
}

impl Decoded {
    /// Decodes the records of `batch` that are held and wanted, and sets aside what cannot be decoded with all that
    /// comes after it of the same key.
    pub(crate) fn new(
        reads: &dyn Reads,
        batch: &Batch,
        held: impl Fn(&TopicPartition) -> bool,
        parked_keys: &ParkedKeys,
        passed_over: &PassedOver,
    ) -> Self {
        let mut events = reads.events(batch.records.len());
        let mut decoded = Self {
            events: Arc::new(reads.events(0)),
            set_aside: Vec::new(),
            unknown: 0,
            reached: batch.reached.clone(),
        };
        decoded.reached.retain(&held);
        let mut newly_parked = HashSet::new();
        for record in batch.records.iter().filter(|record| held(&record.partition) && reads.wants(record)) {
            if !passed_over.is_empty() && passed_over.contains(&(record.partition.clone(), record.offset)) {
                continue;
            }
            let waits = !record.key.is_empty()
                && (!parked_keys.is_empty() && is_behind(parked_keys, record)
                    || !newly_parked.is_empty() && newly_parked.contains(&key(record)));
            let reason = if waits {
                Reason::Waits
            } else {
                match reads.decode(record, &mut events) {
                    Verdict::Applies => continue,
                    Verdict::Unknown => {
                        decoded.unknown += 1;
                        continue;
                    }
                    Verdict::Broken(error) => Reason::Broken(error),
                }
            };
            newly_parked.insert(key(record));
            decoded.set_aside.push(SetAside { record: Record::clone(record), reason });
        }
        decoded.events = Arc::new(events);
        decoded
    }

    /// A batch of which every record failed in the same way.
    pub(crate) fn failed(reads: &dyn Reads, batch: &Batch, error: &str) -> Self {
        let set_aside =
            |record: &Taken| SetAside { record: Record::clone(record), reason: Reason::Failed(error.to_owned()) };
        Self {
            events: Arc::new(reads.events(0)),
            set_aside: batch.records.iter().map(set_aside).collect(),
            unknown: 0,
            reached: batch.reached.clone(),
        }
    }

    /// The records that cannot be decoded or were refused, each with its error.
    pub(crate) fn failed_records(&self) -> impl Iterator<Item = (&Record, &str)> {
        self.set_aside.iter().filter_map(|set_aside| match &set_aside.reason {
            Reason::Broken(error) | Reason::Failed(error) => Some((&set_aside.record, error.as_str())),
            Reason::Later(_) | Reason::Waits => None,
        })
    }

    /// Those that were refused.
    pub(crate) fn refused_records(&self) -> impl Iterator<Item = (&Record, &str)> {
        self.set_aside.iter().filter_map(|set_aside| match &set_aside.reason {
            Reason::Failed(error) => Some((&set_aside.record, error.as_str())),
            Reason::Broken(_) | Reason::Later(_) | Reason::Waits => None,
        })
    }
}

/// Cuts a batch in two. The first half reaches as far as its own records; the second as far as the batch.
pub(crate) fn halves(batch: Batch) -> [Batch; 2] {
    let Batch { mut records, reached } = batch;
    let second = records.split_off(records.len() / 2);
    let mut reached_first = Positions::new();
    for record in &records {
        reached_first.advance(&record.partition, record.offset + 1);
    }
    [Batch { records, reached: reached_first }, Batch { records: second, reached }]
}

/// What of a batch lies below `target`; it then reaches no further.
pub(crate) fn below(mut batch: Batch, target: &Positions) -> Batch {
    batch.records.retain(|record| record.offset < target.next_offset(&record.partition));
    batch.reached = batch.reached.up_to(target);
    batch
}

#[cfg(test)]
mod tests {
    use balcony_event_log::Headers;
    use proptest::prelude::*;

    use super::*;
    use crate::Decode;

    /// Decodes to its payload's first byte: 0 is unknown, 255 is broken.
    struct Byte;

    impl Decode for Byte {
        fn decode(record: &Record) -> Result<Option<Self>, String> {
            match record.payload[0] {
                0 => Ok(None),
                255 => Err("broken".into()),
                _ => Ok(Some(Self)),
            }
        }
    }

    /// Wants what has a key that does not begin with x.
    struct Bytes;

    impl Reads for Bytes {
        fn events(&self, capacity: usize) -> Events {
            Events::with_capacity::<Byte>(capacity)
        }

        fn wants(&self, record: &Record) -> bool {
            !record.key.starts_with(b"x")
        }

        fn decode(&self, record: &Taken, events: &mut Events) -> Verdict {
            events.decode::<Byte>(record)
        }
    }

    fn record(partition: i32, offset: i64, key: &[u8], byte: u8) -> Record {
        Record {
            partition: TopicPartition::new("t", partition),
            offset,
            timestamp: 0,
            key: key.to_vec(),
            headers: Headers::new(),
            payload: vec![byte],
        }
    }

    fn batch(records: Vec<Record>) -> Batch {
        let records: Vec<_> = records.into_iter().map(Taken::Own).collect();
        let mut reached = Positions::new();
        for record in &records {
            reached.advance(&record.partition, record.offset + 1);
        }
        Batch { records, reached }
    }

    fn decode(batch: &Batch, parked_keys: &ParkedKeys, passed_over: &PassedOver) -> Decoded {
        Decoded::new(&Bytes, batch, |_| true, parked_keys, passed_over)
    }

    fn set_aside(decoded: &Decoded) -> Vec<(i64, Reason)> {
        decoded.set_aside.iter().map(|set_aside| (set_aside.record.offset, set_aside.reason.clone())).collect()
    }

    #[test]
    fn what_cannot_be_decoded_is_set_aside_with_what_follows_of_its_key_and_nothing_else() {
        let batch = batch(vec![
            record(0, 0, b"a", 1),
            record(0, 1, b"a", 255),
            record(0, 2, b"b", 2),
            record(0, 3, b"a", 3),
            record(0, 4, b"", 255),
            record(0, 5, b"", 4),
            record(0, 6, b"c", 0),
        ]);
        let decoded = decode(&batch, &ParkedKeys::new(), &PassedOver::new());
        assert_eq!((decoded.events.len(), decoded.unknown), (3, 1));
        let broken = || Reason::Broken("broken".into());
        assert_eq!(set_aside(&decoded), [(1, broken()), (3, Reason::Waits), (4, broken())]);
        assert_eq!(decoded.failed_records().next().map(|(record, _)| record.offset), Some(1));
    }

    #[test]
    fn records_wait_behind_what_was_parked_before_them() {
        let keys = ParkedKeys::from([((TopicPartition::new("t", 0), b"a".to_vec()), 9)]);
        let batch = batch(vec![record(0, 8, b"a", 1), record(0, 10, b"a", 1), record(0, 11, b"b", 2)]);
        let decoded = decode(&batch, &keys, &PassedOver::new());
        assert_eq!(decoded.events.len(), 2);
        assert_eq!(set_aside(&decoded), [(10, Reason::Waits)]);
    }

    #[test]
    fn what_was_set_aside_before_is_passed_over() {
        let passed_over = PassedOver::from([(TopicPartition::new("t", 0), 1), (TopicPartition::new("t", 0), 2)]);
        let batch = batch(vec![record(0, 1, b"a", 255), record(0, 2, b"a", 1), record(0, 3, b"a", 1)]);
        let decoded = decode(&batch, &ParkedKeys::new(), &passed_over);
        assert_eq!((decoded.events.len(), decoded.set_aside.len()), (1, 0));
    }

    #[test]
    fn what_is_not_held_is_dropped() {
        let batch = batch(vec![record(0, 0, b"a", 1), record(1, 0, b"b", 2)]);
        let held = |partition: &TopicPartition| partition.partition == 1;
        let decoded = Decoded::new(&Bytes, &batch, held, &ParkedKeys::new(), &PassedOver::new());
        assert_eq!((decoded.events.len(), decoded.reached.len()), (1, 1));
    }

    #[test]
    fn what_is_not_wanted_is_passed_over() {
        let batch = batch(vec![record(0, 0, b"x", 255), record(0, 1, b"b", 2)]);
        let decoded = decode(&batch, &ParkedKeys::new(), &PassedOver::new());
        assert_eq!((decoded.events.len(), decoded.set_aside.len()), (1, 0));
        assert_eq!(decoded.reached, batch.reached);
    }

    proptest! {
        #[test]
        fn halves_hold_every_record_once_and_reach_as_far(partitions in proptest::collection::vec(0..3_i32, 2..40)) {
            let (records, whole) = some_batch(&partitions);
            let reached = whole.reached.clone();
            let [first, second] = halves(whole);
            prop_assert!(!first.records.is_empty() && !second.records.is_empty());
            prop_assert!(reached.covers(&first.reached));
            prop_assert_eq!(&second.reached, &reached);
            for record in &second.records {
                prop_assert!(record.offset >= first.reached.next_offset(&record.partition));
            }
            let halves = [first.records, second.records].concat();
            prop_assert_eq!(halves.iter().map(|taken| Record::clone(taken)).collect::<Vec<_>>(), records);
        }

        #[test]
        fn what_is_cut_off_lies_above(partitions in proptest::collection::vec(0..3_i32, 1..40), at in 0..20_i64) {
            let (records, whole) = some_batch(&partitions);
            let reached = whole.reached.clone();
            let target: Positions = (0..3).map(|number| (TopicPartition::new("t", number), at)).collect();
            let cut = below(whole, &target);
            prop_assert!(target.covers(&cut.reached) && reached.covers(&cut.reached));
            for record in records {
                let kept = cut.records.iter().any(|taken| **taken == record);
                prop_assert_eq!(kept, record.offset < cut.reached.next_offset(&record.partition));
            }
        }
    }

    fn some_batch(partitions: &[i32]) -> (Vec<Record>, Batch) {
        let mut next = [0_i64; 3];
        let mut of = |partition: i32| {
            let offset = next[partition as usize];
            next[partition as usize] += 2;
            record(partition, offset, b"k", 1)
        };
        let records: Vec<_> = partitions.iter().map(|&partition| of(partition)).collect();
        (records.clone(), batch(records))
    }
}
