//! Which partitions are used, and which of them a key's records go to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// How many partitions of each topic are used. More of them stay empty, so that a key's records stay in one partition
/// whoever adds some.
#[derive(Default)]
pub(super) struct Used {
    counts: OnceLock<BTreeMap<Arc<str>, i32>>,
    /// Counts the records that nothing routes, which go around.
    keyless: AtomicU32,
}

impl Used {
    /// Keeps to the first so many partitions of each topic from now on. What was said first counts.
    pub(super) fn keep_to(&self, partitions: &BTreeMap<Arc<str>, i32>) {
        self.counts.get_or_init(|| partitions.clone());
    }

    /// How many partitions of `topic` are used; `None` when all are.
    pub(super) fn of(&self, topic: &str) -> Option<i32> {
        self.counts.get()?.get(topic).copied().filter(|count| *count > 0)
    }

    /// Where a record goes in `topic` that is routed by `key`; `None` leaves it to the client, which knows all partitions.
    pub(super) fn partition(&self, topic: &str, key: &[u8]) -> Option<i32> {
        let count = self.of(topic)?;
        let hash = if key.is_empty() { self.keyless.fetch_add(1, Ordering::Relaxed) } else { murmur2(key) };
        // As Java's producer and librdkafka's `murmur2_random` do.
        i32::try_from(hash & 0x7fff_ffff).ok().map(|hash| hash % count)
    }
}

/// Austin Appleby's MurmurHash2 of 32 bits, with the seed that Kafka's clients agree on.
fn murmur2(key: &[u8]) -> u32 {
    const MULTIPLIER: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;

    // A key is much shorter than 4 GiB.
    let mut hash = SEED ^ u32::try_from(key.len()).unwrap_or(u32::MAX);
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ (mixed ^ (mixed >> 24)).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let rest = rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `org.apache.kafka.common.utils.Utils.murmur2` gives, from its own tests.
    #[test]
    fn keys_hash_as_they_do_in_java() {
        let known: [(&str, i32); 7] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("", 275_646_681),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()), hash.cast_unsigned(), "{key}");
        }
    }

    #[test]
    fn only_what_is_kept_to_is_used_and_the_first_word_counts() {
        let used = Used::default();
        assert_eq!((used.of("events"), used.partition("events", b"key")), (None, None));
        used.keep_to(&BTreeMap::from([("events".into(), 3)]));
        used.keep_to(&BTreeMap::from([("events".into(), 9)]));
        assert_eq!((used.of("events"), used.of("others")), (Some(3), None));
        let keyless: Vec<Option<i32>> = (0..4).map(|_| used.partition("events", b"")).collect();
        assert_eq!(keyless, [Some(0), Some(1), Some(2), Some(0)]);
        for key in 0..100_u32 {
            assert!(used.partition("events", &key.to_be_bytes()).is_some_and(|partition| (0..3).contains(&partition)));
        }
    }
}
