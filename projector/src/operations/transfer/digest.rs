//! What a log holds, in 32 bytes.

use std::fmt;

use balcony_event_log::Headers;
use sha2::{Digest as _, Sha256};

/// A digest of records that does not depend on the order in which they come, because partitions are read in any: the
/// SHA-256 of each, added up. Where a record stood is no part of it, so a log and its copy have the same.
///
/// Source: the incremental multiset hash AdHash (Bellare and Micciancio, 1997), here against mishaps, not forgers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) events: u64,
    /// A number of 256 bits, the lowest 64 first.
    sum: [u64; 4],
}

/// The SHA-256 of one record: its topic's short name, key, headers and payload, the length of each before it.
pub(super) type RecordDigest = [u8; 32];

pub(super) fn of_record(topic: &str, key: &[u8], headers: &Headers, payload: &[u8]) -> RecordDigest {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(topic.as_bytes());
    part(key);
    part(payload);
    for (name, value) in headers.iter() {
        part(name.as_bytes());
        part(value);
    }
    hasher.finalize().into()
}

impl Digest {
    pub(super) fn add(&mut self, record: &RecordDigest) {
        self.events += 1;
        let mut carry = false;
        for (limb, bytes) in self.sum.iter_mut().zip(record.as_chunks::<8>().0) {
            let (sum, over) = limb.overflowing_add(u64::from_le_bytes(*bytes));
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, over || over_again);
        }
    }
}

/// In hexadecimal, as it is compared.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hasher = Sha256::new();
        hasher.update(self.events.to_le_bytes());
        self.sum.iter().for_each(|limb| hasher.update(limb.to_le_bytes()));
        hasher.finalize().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(topic: &str, key: &str, header: &str, payload: &str) -> RecordDigest {
        let mut headers = Headers::new();
        headers.push("name", header.as_bytes());
        of_record(topic, key.as_bytes(), &headers, payload.as_bytes())
    }

    fn digest(records: &[RecordDigest]) -> String {
        let mut digest = Digest::default();
        records.iter().for_each(|record| digest.add(record));
        digest.to_string()
    }

    #[test]
    fn every_part_of_a_record_counts_and_the_order_of_records_does_not() {
        let base = record("events", "k", "h", "p");
        let others = [
            record("views", "k", "h", "p"),
            record("events", "", "h", "kp"),
            record("events", "k", "", "p"),
            record("events", "k", "h", ""),
        ];
        for other in others {
            assert_ne!(base, other);
            assert_eq!(digest(&[base, other]), digest(&[other, base]));
            assert_ne!(digest(&[base]), digest(&[other]));
        }
        assert_ne!(digest(&[base]), digest(&[base, base]), "a record twice is not a record once");
    }

    #[test]
    fn digests_that_were_noted_before_stay_what_they_are() {
        let records = [record("events", "k", "h", "p"), record("views", "", "", "{}")];
        assert_eq!(digest(&records), "efcdc4f48167646cfe8e757d998003ed8ad22570ad2512f3b59317032b060fec");
    }

    #[test]
    fn the_sum_carries() {
        let mut digest = Digest::default();
        let mut one = [0; 32];
        one[0] = 1;
        digest.add(&[255; 32]);
        digest.add(&one);
        assert_eq!(digest.sum, [0; 4]);
        let mut low = [0; 32];
        low[..8].fill(255);
        digest.add(&low);
        digest.add(&one);
        assert_eq!(digest.sum, [0, 1, 0, 0]);
    }
}
