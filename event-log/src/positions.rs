//! Places in the log: the types and all arithmetic of them. How they are written down is in [`encoding`].

pub(crate) mod encoding;

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
/// that is not named stands at 0. Offsets are not negative.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<TopicPartition, i64>);

impl Positions {
    /// No partition read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The positions right after the record at `position`.
    pub fn after(position: &Position) -> Self {
        let mut positions = Self::new();
        positions.set(position.partition.clone(), position.offset + 1);
        positions
    }

    /// The next offset of `partition`, 0 when it is not named.
    pub fn next_offset(&self, partition: &TopicPartition) -> i64 {
        self.0.get(partition).copied().unwrap_or(0)
    }

    /// Whether `partition` is named.
    pub fn names(&self, partition: &TopicPartition) -> bool {
        self.0.contains_key(partition)
    }

    /// The sum of all next offsets: how many records lie below, where offsets have no holes.
    pub fn sum(&self) -> i64 {
        self.0.values().copied().fold(0, i64::saturating_add)
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

    /// Whether everything below `target` is below these positions too. For each partition of either:
    ///
    /// | these positions | `target` | covered |
    /// |---|---|---|
    /// | any | not named, or 0 | yes |
    /// | not named | above 0 | no |
    /// | `n` | `n` or less | yes |
    /// | `n` | more than `n` | no |
    pub fn covers(&self, target: &Self) -> bool {
        target.into_iter().all(|(partition, next_offset)| self.next_offset(partition) >= next_offset)
    }

    /// Of the partitions of `target` those that have not come there, from where they are read on. Empty exactly when
    /// these positions [cover](Self::covers) `target`.
    pub fn behind(&self, target: &Self) -> Self {
        let behind = target.into_iter().filter(|(partition, next_offset)| self.next_offset(partition) < *next_offset);
        behind.map(|(partition, _)| (partition.clone(), self.next_offset(partition))).collect()
    }

    /// How many offsets lie between these positions and `target`, in the partitions of `target`; 0 for one that has
    /// come further. Where offsets have holes there are fewer records.
    pub fn distance(&self, target: &Self) -> i64 {
        let distances = target.into_iter().map(|(partition, next)| (next - self.next_offset(partition)).max(0));
        distances.fold(0, i64::saturating_add)
    }

    /// These positions of exactly these partitions, each named.
    pub fn among<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Self {
        partitions.into_iter().map(|partition| (partition.clone(), self.next_offset(partition))).collect()
    }

    /// These positions, in no partition beyond `target`.
    pub fn up_to(&self, target: &Self) -> Self {
        self.into_iter().map(|(partition, next)| (partition.clone(), next.min(target.next_offset(partition)))).collect()
    }

    /// The positions in the partitions of `topics`.
    pub fn of_topics(&self, topics: &[Arc<str>]) -> Self {
        let of_topics = self.into_iter().filter(|(partition, _)| topics.contains(&partition.topic));
        of_topics.map(|(partition, next_offset)| (partition.clone(), next_offset)).collect()
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
    use proptest::prelude::*;

    use super::*;

    fn at(offsets: &[(i32, i64)]) -> Positions {
        offsets.iter().map(|&(partition, next)| (TopicPartition::new("t", partition), next)).collect()
    }

    fn any_positions() -> impl Strategy<Value = Positions> {
        proptest::collection::btree_map((0..2_u8, 0..3_i32), 0..5_i64, 0..6).prop_map(|all| {
            all.into_iter()
                .map(|((topic, number), next)| (TopicPartition::new(topic.to_string(), number), next))
                .collect()
        })
    }

    #[test]
    fn positions_cover_what_is_below_them_in_every_partition() {
        let mut both = at(&[(0, 5)]);
        both.merge(&at(&[(1, 7)]));
        assert!(both.covers(&at(&[(0, 5)])) && both.covers(&at(&[(1, 6)])) && both.covers(&Positions::new()));
        assert!(!both.covers(&at(&[(0, 6)])) && !both.covers(&at(&[(2, 1)])));
        assert!(both.covers(&at(&[(2, 0)])), "an unread partition covers its beginning");
    }

    #[test]
    fn positions_never_move_back() {
        let mut positions = at(&[(0, 5)]);
        positions.merge(&at(&[(0, 3)]));
        assert_eq!(positions, at(&[(0, 5)]));
        positions.set(TopicPartition::new("t", 0), 3);
        assert_eq!(positions, at(&[(0, 3)]), "unless they are set");
    }

    #[test]
    fn what_is_behind_is_named_from_where_it_goes_on() {
        let ends = at(&[(0, 10), (1, 5), (2, 0), (3, 7)]);
        let reached = at(&[(0, 4), (1, 5), (9, 1)]);
        assert_eq!(reached.behind(&ends), at(&[(0, 4), (3, 0)]));
        assert_eq!(reached.distance(&ends), 13);
        assert_eq!(ends.among(reached.behind(&ends).partitions()), at(&[(0, 10), (3, 7)]));
        assert!(at(&[(0, 12), (1, 5), (3, 7)]).behind(&ends).is_empty(), "another look may have come further");
        assert_eq!(at(&[(0, 12)]).distance(&at(&[(0, 10)])), 0);
        assert_eq!(Positions::new().distance(&at(&[(0, i64::MAX), (1, 1)])), i64::MAX);
    }

    #[test]
    fn positions_are_cut_to_partitions_targets_and_topics() {
        let positions = at(&[(0, 4), (1, 9)]);
        assert_eq!(positions.among(at(&[(1, 0), (2, 0)]).partitions()), at(&[(1, 9), (2, 0)]));
        assert_eq!(positions.up_to(&at(&[(0, 7), (1, 7)])), at(&[(0, 4), (1, 7)]));
        assert_eq!(positions.up_to(&at(&[(0, 7)])), at(&[(0, 4), (1, 0)]), "a partition that is not named stands at 0");
        assert_eq!(positions.of_topics(&["t".into(), "other".into()]), positions);
        assert_eq!(positions.of_topics(&["other".into()]), Positions::new());
        let mut kept = positions;
        kept.retain(|partition| partition.partition == 0);
        assert_eq!(kept, at(&[(0, 4)]));
    }

    proptest! {
        #[test]
        fn covering_is_being_behind_nowhere(reached in any_positions(), target in any_positions()) {
            let behind = reached.behind(&target);
            prop_assert_eq!(behind.is_empty(), reached.covers(&target));
            prop_assert_eq!(reached.distance(&target) == 0, reached.covers(&target));
            prop_assert_eq!(behind.distance(&target.among(behind.partitions())), reached.distance(&target));
            prop_assert!(target.covers(&reached.up_to(&target)));
            let mut merged = reached.clone();
            merged.merge(&target);
            prop_assert!(merged.covers(&reached) && merged.covers(&target));
        }
    }
}
