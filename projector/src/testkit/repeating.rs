use std::collections::{BTreeMap, BTreeSet, HashMap};

use balcony_event_log::Record;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::case::Case;

/// How many records of ten stand in the log again.
const OF_TEN: u32 = 4;

impl Case {
    /// The same log in which some records, drawn by `seed`, stand a second time at any later place of their partition.
    pub(super) fn repeating(&self, seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let count = self.records.len();
        // After which record each stands, and which it is. A record stands before what follows it.
        let mut order: Vec<(usize, bool, usize)> = (0..count).map(|number| (number, false, number)).collect();
        for number in 0..count {
            if dice.random_ratio(OF_TEN, 10) {
                // Half of them stand at the end, where nothing that follows covers what they do.
                let after = if dice.random_bool(0.5) { count - 1 } else { dice.random_range(number..count) };
                order.push((after, true, number));
            }
        }
        order.sort_unstable();

        let mut ends: HashMap<_, i64> = HashMap::new();
        let (mut records, mut places, mut repeats) = (Vec::new(), HashMap::new(), BTreeMap::new());
        for (_, repeated, number) in order {
            let record = &self.records[number];
            let end = ends.entry(record.partition.clone()).or_default();
            let offset = *end;
            *end += 1;
            if repeated {
                repeats.insert(records.len(), places[&number]);
            } else {
                places.insert(number, records.len());
            }
            records.push(Record { offset, ..record.clone() });
        }
        Self { make: self.make.clone(), partitions: self.partitions.clone(), records, repeats }
    }

    /// The records that have no effect in a log from which `removed` are taken: those, and what repeats any that is there.
    pub(super) fn without_effect(&self, removed: &BTreeSet<usize>) -> BTreeSet<usize> {
        let repeats = self.repeats.iter().filter(|(_, first)| !removed.contains(first)).map(|(again, _)| *again);
        removed.iter().copied().chain(repeats).collect()
    }
}
