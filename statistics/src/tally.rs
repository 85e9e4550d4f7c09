use balcony_store::StoreError;

/// How many events there were and, of those that had a measure, its sum, its least and its most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: i64,
    /// The sum of the measure.
    pub sum: Option<i64>,
    /// The least.
    pub least: Option<i64>,
    /// The most.
    pub most: Option<i64>,
}

/// The largest measure either way: nine million of them can be added up.
const LARGEST: i64 = 1_000_000_000_000;

impl Tally {
    /// So many events without a measure.
    pub fn of(count: i64) -> Self {
        Self { count, ..Self::default() }
    }

    /// One event with this measure.
    pub(crate) fn of_one(measure: Option<i64>) -> Result<Self, StoreError> {
        if let Some(measure) = measure
            && !(-LARGEST..=LARGEST).contains(&measure)
        {
            return Err(StoreError::refusal(format!("the measure {measure} is beyond {LARGEST}")));
        }
        Ok(Self { count: 1, sum: measure, least: measure, most: measure })
    }

    /// Adds what `other` has.
    pub(crate) fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum = joined(self.sum, other.sum, i64::saturating_add);
        self.least = joined(self.least, other.least, i64::min);
        self.most = joined(self.most, other.most, i64::max);
    }
}

fn joined(one: Option<i64>, other: Option<i64>, join: impl Fn(i64, i64) -> i64) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(join(one, other)),
        (one, other) => one.or(other),
    }
}
