use std::collections::HashSet;

use balcony_event_log::{Batch, Positions, Record, TopicPartition};

use crate::{Decode, Received};

/// A batch that was decoded: what is applied, what is set aside, and how far it brings each partition.
pub(crate) struct Decoded<E> {
    /// In the order of the log; the two lists tell apart what is applied from what is parked.
    pub(crate) events: Vec<Received<E>>,
    pub(crate) parked: Vec<(Record, String)>,
    /// How many events are of a type that is not known here.
    pub(crate) unknown: usize,
    pub(crate) reached: Positions,
}

/// The topics and keys of which a record is parked.
pub(crate) type ParkedKeys = HashSet<(std::sync::Arc<str>, Vec<u8>)>;

/// Why a record is parked that is itself in order.
const BEHIND: &str = "waits behind an earlier record of its key that is parked";

impl<E: Decode> Decoded<E> {
    /// Decodes the records of `batch` that are held and wanted, and parks what cannot be decoded with all that comes after it
    /// of the same key.
    pub(crate) fn new(
        batch: &Batch,
        held: impl Fn(&TopicPartition) -> bool,
        wants: impl Fn(&Record) -> bool,
        parked_keys: &ParkedKeys,
    ) -> Self {
        let mut decoded = Self {
            events: Vec::with_capacity(batch.records.len()),
            parked: Vec::new(),
            unknown: 0,
            reached: batch.reached.clone(),
        };
        decoded.reached.retain(&held);
        let mut newly_parked = ParkedKeys::new();
        for record in batch.records.iter().filter(|record| held(&record.partition) && wants(record)) {
            let key = || (record.partition.topic.clone(), record.key.clone());
            let behind = (!parked_keys.is_empty() && parked_keys.contains(&key()))
                || (!newly_parked.is_empty() && newly_parked.contains(&key()));
            let error = if behind && !record.key.is_empty() {
                BEHIND.to_owned()
            } else {
                match E::decode(record) {
                    Ok(Some(event)) => {
                        let partition = record.partition.clone();
                        decoded.events.push(Received { partition, offset: record.offset, event });
                        continue;
                    }
                    Ok(None) => {
                        decoded.unknown += 1;
                        continue;
                    }
                    Err(error) => error,
                }
            };
            newly_parked.insert(key());
            decoded.parked.push((record.clone(), error));
        }
        decoded
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

#[cfg(test)]
mod tests {
    use balcony_event_log::Headers;
    use proptest::prelude::*;

    use super::*;

    /// Decodes to its payload's first byte: 0 is unknown, 255 is broken.
    #[derive(Debug, PartialEq)]
    struct Byte(u8);

    impl Decode for Byte {
        fn decode(record: &Record) -> Result<Option<Self>, String> {
            match record.payload[0] {
                0 => Ok(None),
                255 => Err("broken".into()),
                byte => Ok(Some(Self(byte))),
            }
        }
    }

    fn record(partition: i32, offset: i64, key: &[u8], byte: u8) -> Record {
        Record {
            partition: TopicPartition::new("t", partition),
            offset,
            key: key.to_vec(),
            headers: Headers::new(),
            payload: vec![byte],
        }
    }

    fn batch(records: Vec<Record>) -> Batch {
        let mut reached = Positions::new();
        for record in &records {
            reached.advance(&record.partition, record.offset + 1);
        }
        Batch { records, reached }
    }

    #[test]
    fn what_cannot_be_decoded_is_parked_with_what_follows_of_its_key_and_nothing_else() {
        let batch = batch(vec![
            record(0, 0, b"a", 1),
            record(0, 1, b"a", 255),
            record(0, 2, b"b", 2),
            record(0, 3, b"a", 3),
            record(0, 4, b"", 255),
            record(0, 5, b"", 4),
            record(0, 6, b"c", 0),
        ]);
        let decoded = Decoded::<Byte>::new(&batch, |_| true, |_| true, &ParkedKeys::new());
        assert_eq!(decoded.events.iter().map(|event| event.event.0).collect::<Vec<_>>(), [1, 2, 4]);
        let parked: Vec<_> = decoded.parked.iter().map(|(record, error)| (record.offset, error.as_str())).collect();
        assert_eq!(parked, [(1, "broken"), (3, BEHIND), (4, "broken")]);
        assert_eq!(decoded.unknown, 1);
    }

    #[test]
    fn records_wait_behind_what_was_parked_before() {
        let keys = ParkedKeys::from([("t".into(), b"a".to_vec())]);
        let decoded = Decoded::<Byte>::new(
            &batch(vec![record(0, 9, b"a", 1), record(0, 10, b"b", 2)]),
            |_| true,
            |_| true,
            &keys,
        );
        assert_eq!(decoded.events.len(), 1);
        assert_eq!(decoded.parked[0].0.offset, 9);
    }

    #[test]
    fn what_is_not_held_is_dropped() {
        let batch = batch(vec![record(0, 0, b"a", 1), record(1, 0, b"b", 2)]);
        let decoded = Decoded::<Byte>::new(&batch, |partition| partition.partition == 1, |_| true, &ParkedKeys::new());
        assert_eq!(decoded.events.len(), 1);
        assert_eq!(decoded.reached.len(), 1);
    }

    #[test]
    fn what_is_not_wanted_is_passed_over() {
        let batch = batch(vec![record(0, 0, b"a", 255), record(0, 1, b"b", 2)]);
        let decoded = Decoded::<Byte>::new(&batch, |_| true, |record| record.key == b"b", &ParkedKeys::new());
        assert_eq!((decoded.events.len(), decoded.parked.len()), (1, 0));
        assert_eq!(decoded.reached, batch.reached);
    }

    proptest! {
        #[test]
        fn halves_hold_every_record_once_and_reach_as_far(partitions in proptest::collection::vec(0..3_i32, 2..40)) {
            let mut next = [0_i64; 3];
            let records: Vec<_> = partitions.iter().map(|&partition| {
                let offset = next[partition as usize];
                next[partition as usize] += 2;
                record(partition, offset, b"k", 1)
            }).collect();
            let whole = batch(records.clone());
            let reached = whole.reached.clone();
            let [first, second] = halves(whole);
            prop_assert!(!first.records.is_empty() && !second.records.is_empty());
            prop_assert!(reached.covers(&first.reached));
            prop_assert_eq!(&second.reached, &reached);
            for record in &second.records {
                prop_assert!(record.offset >= first.reached.next_offset(&record.partition));
            }
            prop_assert_eq!([first.records, second.records].concat(), records);
        }
    }
}
