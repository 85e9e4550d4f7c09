//! How [`Positions`] are written down: as text, as few bytes, and for people.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Positions, TopicPartition};

/// The most partitions that bytes may name: a bound on what a stranger's bytes make us hold, above any real number.
const MOST_PARTITIONS: usize = 4_096;

/// Why positions could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// The positions name a topic for which there is no number.
    #[error("{topic} is not a topic of this log")]
    UndeclaredTopic {
        /// The topic.
        topic: Arc<str>,
    },
    /// A partition or offset is below 0.
    #[error("{topic}/{partition} cannot stand at {offset}")]
    Negative {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
    /// The text or bytes are no positions.
    #[error("these are no positions: {0}")]
    Malformed(&'static str),
}

impl Positions {
    /// The positions as JSON, in order: `[["topic",0,41],…]`, each a topic, a partition and its next offset.
    pub fn to_json(&self) -> String {
        let rows: Vec<(&str, i32, i64)> = self.into_iter().map(|(at, next)| (&*at.topic, at.partition, next)).collect();
        serde_json::to_string(&rows).expect("strings and numbers are JSON")
    }

    /// Reads what [`Positions::to_json`] wrote.
    ///
    /// # Errors
    /// [`EncodingError::Malformed`] for any other text, [`EncodingError::Negative`].
    pub fn from_json(text: &str) -> Result<Self, EncodingError> {
        let rows: Vec<(String, i32, i64)> = serde_json::from_str(text)
            .map_err(|_| EncodingError::Malformed("they are no JSON rows of topic, partition and offset"))?;
        let mut positions = Self::new();
        for (topic, partition, next_offset) in rows {
            positions.add_once(TopicPartition::new(topic, partition), next_offset)?;
        }
        Ok(positions)
    }

    /// The positions as few bytes, for a reader who knows `topics` too: for each partition, in order, the number
    /// `partition * max(topics.len(), 2) + index of its topic in topics` and then the next offset, both as LEB128 (seven
    /// bits to a byte, the lowest first; the top bit says that more follow).
    ///
    /// # Errors
    /// [`EncodingError::UndeclaredTopic`] for a topic that is not in `topics`, [`EncodingError::Negative`].
    pub fn to_bytes(&self, topics: &[Arc<str>]) -> Result<Vec<u8>, EncodingError> {
        let mut bytes = Vec::new();
        for (at, next_offset) in self {
            let TopicPartition { topic, partition } = at;
            let index = topics.iter().position(|declared| declared == topic);
            let index = index.ok_or_else(|| EncodingError::UndeclaredTopic { topic: Arc::clone(topic) })?;
            let negative =
                |_| EncodingError::Negative { topic: topic.clone(), partition: *partition, offset: next_offset };
            let number = u64::from(u32::try_from(*partition).map_err(negative)?);
            write(&mut bytes, number * topic_numbers(topics) + index as u64);
            write(&mut bytes, u64::try_from(next_offset).map_err(negative)?);
        }
        Ok(bytes)
    }

    /// Reads what [`Positions::to_bytes`] wrote with the same `topics`. The bytes may come from anybody.
    ///
    /// # Errors
    /// [`EncodingError::Malformed`] for any other bytes, and for more than 4,096 partitions.
    pub fn from_bytes(mut bytes: &[u8], topics: &[Arc<str>]) -> Result<Self, EncodingError> {
        let mut positions = Self::new();
        while !bytes.is_empty() {
            if positions.len() == MOST_PARTITIONS {
                return Err(EncodingError::Malformed("they name too many partitions"));
            }
            let number = read(&mut bytes)?;
            let index = usize::try_from(number % topic_numbers(topics)).ok();
            let topic =
                index.and_then(|index| topics.get(index)).ok_or(EncodingError::Malformed("a topic is unknown"))?;
            let partition = i32::try_from(number / topic_numbers(topics))
                .map_err(|_| EncodingError::Malformed("a partition is too large"))?;
            let next_offset =
                i64::try_from(read(&mut bytes)?).map_err(|_| EncodingError::Malformed("an offset is too large"))?;
            positions.add_once(TopicPartition::new(Arc::clone(topic), partition), next_offset)?;
        }
        Ok(positions)
    }

    /// The next offsets by topic and partition: what people are shown as JSON.
    pub fn by_topic(&self) -> BTreeMap<String, BTreeMap<i32, i64>> {
        let mut topics: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
        for (at, next_offset) in self {
            topics.entry(at.topic.to_string()).or_default().insert(at.partition, next_offset);
        }
        topics
    }

    fn add_once(&mut self, at: TopicPartition, offset: i64) -> Result<(), EncodingError> {
        if at.partition < 0 || offset < 0 {
            return Err(EncodingError::Negative { topic: at.topic, partition: at.partition, offset });
        }
        let before = self.len();
        self.set(at, offset);
        if self.len() == before { Err(EncodingError::Malformed("a partition is named twice")) } else { Ok(()) }
    }
}

/// How many numbers a partition takes, one for each topic. Never fewer than two, so that adding a second topic changes
/// no bytes.
fn topic_numbers(topics: &[Arc<str>]) -> u64 {
    topics.len().max(2) as u64
}

fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes one number of up to 63 bits from the front of `bytes`, in its shortest form only.
fn read(bytes: &mut &[u8]) -> Result<u64, EncodingError> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(EncodingError::Malformed("they end within a number"))?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let shortest = byte != 0 || shift == 0;
            return if shortest { Ok(number) } else { Err(EncodingError::Malformed("a number is padded")) };
        }
    }
    Err(EncodingError::Malformed("a number is too large"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topics(count: usize) -> Vec<Arc<str>> {
        // The declared order is not the alphabet's.
        (0..count).rev().map(|number| format!("topic \"{number}\"").into()).collect()
    }

    fn positions(topics: usize) -> impl Strategy<Value = Positions> {
        let one = (0..topics, 0..=i32::MAX, 0..=i64::MAX);
        proptest::collection::vec(one, 0..20).prop_map(move |all| {
            let names = self::topics(topics);
            all.into_iter()
                .map(|(topic, partition, next)| (TopicPartition::new(Arc::clone(&names[topic]), partition), next))
                .collect()
        })
    }

    fn topics_and_positions() -> impl Strategy<Value = (Vec<Arc<str>>, Positions)> {
        (1..6_usize).prop_flat_map(|count| (Just(topics(count)), positions(count)))
    }

    /// The bytes that tokens had when there were two topics, by name.
    fn bytes_of_two_topics(positions: &Positions, first: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (partition, next_offset) in positions {
            let topic = u64::from(&*partition.topic != first);
            write(&mut bytes, u64::from(partition.partition.unsigned_abs()) << 1 | topic);
            write(&mut bytes, next_offset.unsigned_abs());
        }
        bytes
    }

    proptest! {
        #[test]
        fn json_says_what_was_put_in((_, positions) in topics_and_positions()) {
            prop_assert_eq!(Positions::from_json(&positions.to_json()), Ok(positions));
        }

        #[test]
        fn bytes_say_what_was_put_in((topics, positions) in topics_and_positions()) {
            let bytes = positions.to_bytes(&topics).expect("every topic is declared");
            prop_assert_eq!(Positions::from_bytes(&bytes, &topics), Ok(positions));
        }

        #[test]
        fn the_map_says_what_was_put_in((_, positions) in topics_and_positions()) {
            let again = positions.by_topic().into_iter().flat_map(|(topic, partitions)| {
                let topic: Arc<str> = topic.into();
                partitions.into_iter().map(move |(number, next)| (TopicPartition::new(Arc::clone(&topic), number), next))
            });
            prop_assert_eq!(again.collect::<Positions>(), positions);
        }

        #[test]
        fn two_topics_have_the_bytes_they_always_had(positions in positions(2)) {
            let topics = topics(2);
            prop_assert_eq!(positions.to_bytes(&topics), Ok(bytes_of_two_topics(&positions, &topics[0])));
        }

        #[test]
        fn a_cut_or_longer_encoding_is_no_positions((topics, positions) in topics_and_positions(), more in 0..=u8::MAX) {
            let bytes = positions.to_bytes(&topics).expect("every topic is declared");
            if let Some((_, cut)) = bytes.split_last() {
                prop_assert!(Positions::from_bytes(cut, &topics).is_err());
            }
            prop_assert!(Positions::from_bytes(&[&bytes[..], &[more]].concat(), &topics).is_err());
        }

        #[test]
        fn whatever_is_read_is_written_alike(bytes in proptest::collection::vec(any::<u8>(), 0..12), count in 0..4_usize) {
            let topics = topics(count);
            if let Ok(positions) = Positions::from_bytes(&bytes, &topics) {
                let mut written = positions.to_bytes(&topics).expect("every topic is declared");
                let mut bytes = bytes;
                // The same numbers, though strangers may name the partitions in another order.
                written.sort_unstable();
                bytes.sort_unstable();
                prop_assert_eq!(written, bytes);
            }
        }

        #[test]
        fn no_text_makes_reading_panic(text in "[\\[\\]\",a0-9-]{0,40}") {
            if let Ok(positions) = Positions::from_json(&text) {
                prop_assert_eq!(Positions::from_json(&positions.to_json()), Ok(positions));
            }
        }
    }

    #[test]
    fn json_is_a_row_for_each_partition() {
        let positions: Positions =
            [(TopicPartition::new("b", 7), 0), (TopicPartition::new("a.events", 0), 41)].into_iter().collect();
        assert_eq!(positions.to_json(), r#"[["a.events",0,41],["b",7,0]]"#);
        assert_eq!(Positions::new().to_json(), "[]");
        let refused =
            ["", "{}", "[[\"a\",0]]", "[[\"a\",0,1,2]]", "[] x", "[[\"a\",0,1],[\"a\",0,2]]", "[[\"a\",0.5,1]]"];
        for text in refused {
            assert!(matches!(Positions::from_json(text), Err(EncodingError::Malformed(_))), "{text}");
        }
        for text in ["[[\"a\",0,-1]]", "[[\"a\",-1,0]]"] {
            assert!(matches!(Positions::from_json(text), Err(EncodingError::Negative { .. })), "{text}");
        }
    }

    #[test]
    fn only_declared_topics_and_what_is_not_negative_have_bytes() {
        let topics = topics(2);
        let at = |topic: &str, partition, next| [(TopicPartition::new(topic, partition), next)].into_iter().collect();
        let undeclared: Positions = at("undeclared", 0, 1);
        let refused = undeclared.to_bytes(&topics);
        assert_eq!(refused, Err(EncodingError::UndeclaredTopic { topic: "undeclared".into() }));
        for (partition, offset) in [(-1, 0), (0, -1)] {
            let positions: Positions = at(&topics[0], partition, offset);
            let refused = positions.to_bytes(&topics);
            assert_eq!(refused, Err(EncodingError::Negative { topic: Arc::clone(&topics[0]), partition, offset }));
        }
    }

    #[test]
    fn bytes_are_bounded_and_name_declared_topics() {
        let three = topics(3);
        let many = |count: i32| -> Positions {
            (0..count).map(|number| (TopicPartition::new(Arc::clone(&three[0]), number), 1)).collect()
        };
        let bytes = |count| many(count).to_bytes(&three).expect("the topic is declared");
        assert_eq!(Positions::from_bytes(&bytes(4_096), &three), Ok(many(4_096)));
        let refused =
            |bytes: &[u8], topics: &[Arc<str>]| Positions::from_bytes(bytes, topics).map_err(|error| error.to_string());
        let said = |reason| Err(format!("these are no positions: {reason}"));
        assert_eq!(refused(&bytes(4_097), &three), said("they name too many partitions"));
        assert_eq!(refused(&[1, 5], &topics(1)), said("a topic is unknown"));
        assert_eq!(refused(&[0, 5], &[]), said("a topic is unknown"));
        assert_eq!(refused(&[0, 5, 0, 6], &three), said("a partition is named twice"));
        assert_eq!(refused(&[0x80, 0, 5], &three), said("a number is padded"));
        assert_eq!(refused(&[0], &three), said("they end within a number"));
        assert_eq!(refused(&[0xff; 20], &three), said("a number is too large"));
        assert_eq!(refused(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1], &topics(2)), said("a partition is too large"));
        assert_eq!(Positions::from_bytes(&[2, 5], &topics(1)).expect("a partition of one topic").len(), 1);
    }
}
