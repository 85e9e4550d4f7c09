use std::collections::BTreeMap;
use std::sync::Arc;

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's full name.
    pub topic: Arc<str>,
    /// The partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

/// Where one record stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// The partition that holds the record.
    pub partition: TopicPartition,
    /// The record's offset in it.
    pub offset: i64,
}

/// How far each partition was read: everything below the offset is done, the offset itself is next. A partition
/// that is not named stands at 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<TopicPartition, i64>);

impl Positions {
    /// No partition read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next offset of `partition`, 0 when it is not named.
    pub fn next_offset(&self, partition: &TopicPartition) -> i64 {
        self.0.get(partition).copied().unwrap_or(0)
    }

    /// Sets the next offset of `partition`.
    pub fn set(&mut self, partition: TopicPartition, next_offset: i64) {
        self.0.insert(partition, next_offset);
    }

    /// Moves `partition` forward to `next_offset`; never back.
    pub fn advance(&mut self, partition: &TopicPartition, next_offset: i64) {
        match self.0.get_mut(partition) {
            Some(current) => *current = (*current).max(next_offset),
            None => {
                self.0.insert(partition.clone(), next_offset);
            }
        }
    }

    /// Moves forward to where either of the two has read.
    pub fn merge(&mut self, other: &Self) {
        for (partition, next_offset) in other {
            self.advance(partition, next_offset);
        }
    }

    /// The positions right after the record at `position`.
    pub fn after(position: &Position) -> Self {
        let mut positions = Self::new();
        positions.set(position.partition.clone(), position.offset + 1);
        positions
    }

    /// Whether everything below `other` is below these positions too.
    pub fn covers(&self, other: &Self) -> bool {
        other.into_iter().all(|(partition, next_offset)| self.next_offset(partition) >= next_offset)
    }

    /// Keeps only the partitions for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&TopicPartition) -> bool) {
        self.0.retain(|partition, _| keep(partition));
    }

    /// Whether no partition is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of partitions named.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The partitions named, in order.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.0.keys()
    }
}

impl<'a> IntoIterator for &'a Positions {
    type Item = (&'a TopicPartition, i64);
    type IntoIter = std::iter::Map<
        std::collections::btree_map::Iter<'a, TopicPartition, i64>,
        fn((&'a TopicPartition, &'a i64)) -> (&'a TopicPartition, i64),
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(partition, next_offset)| (partition, *next_offset))
    }
}

impl FromIterator<(TopicPartition, i64)> for Positions {
    fn from_iter<I: IntoIterator<Item = (TopicPartition, i64)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32, next_offset: i64) -> Positions {
        [(TopicPartition::new("t", partition), next_offset)].into_iter().collect()
    }

    #[test]
    fn positions_cover_what_is_below_them_in_every_partition() {
        let mut both = at(0, 5);
        both.merge(&at(1, 7));
        assert!(both.covers(&at(0, 5)) && both.covers(&at(1, 6)) && both.covers(&Positions::new()));
        assert!(!both.covers(&at(0, 6)) && !both.covers(&at(2, 1)));
        assert!(both.covers(&at(2, 0)), "an unread partition covers its beginning");
    }

    #[test]
    fn positions_never_move_back() {
        let mut positions = at(0, 5);
        positions.merge(&at(0, 3));
        assert_eq!(positions, at(0, 5));
    }
}
