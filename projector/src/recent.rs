use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::report::BatchMeans;

/// What was applied within the last ten seconds or so.
#[derive(Debug)]
pub(crate) struct Recent {
    since: Instant,
    seconds: VecDeque<Second>,
}

/// One second's work.
#[derive(Debug)]
struct Second {
    /// Counted from the start.
    number: u64,
    batches: u32,
    events: u64,
    applying: Duration,
}

/// How far back is looked.
const WINDOW: u64 = 10;

impl Recent {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, seconds: VecDeque::new() }
    }

    /// Notes a batch that was done at `now`.
    pub(crate) fn add(&mut self, now: Instant, events: u64, took: Duration) {
        let number = self.number(now);
        self.seconds.retain(|second| second.number + WINDOW > number);
        if self.seconds.back().is_none_or(|last| last.number != number) {
            self.seconds.push_back(Second { number, batches: 0, events: 0, applying: Duration::ZERO });
        }
        if let Some(second) = self.seconds.back_mut() {
            second.batches += 1;
            second.events += events;
            second.applying += took;
        }
    }

    /// Events applied a second.
    pub(crate) fn events_per_second(&self, now: Instant) -> f64 {
        let events: u64 = self.window(now).map(|second| second.events).sum();
        events as f64 / self.length(now).as_secs_f64()
    }

    /// The share of the time that was spent on applying.
    pub(crate) fn busy(&self, now: Instant) -> f64 {
        let applying: Duration = self.window(now).map(|second| second.applying).sum();
        (applying.as_secs_f64() / self.length(now).as_secs_f64()).min(1.0)
    }

    /// The mean batch, if there was one.
    pub(crate) fn batch(&self, now: Instant) -> Option<BatchMeans> {
        let batches: u32 = self.window(now).map(|second| second.batches).sum();
        let events: u64 = self.window(now).map(|second| second.events).sum();
        let applying: Duration = self.window(now).map(|second| second.applying).sum();
        (batches > 0).then(|| BatchMeans {
            events: events as f64 / f64::from(batches),
            milliseconds: applying.as_secs_f64() * 1_000.0 / f64::from(batches),
        })
    }

    fn window(&self, now: Instant) -> impl Iterator<Item = &Second> {
        let number = self.number(now);
        self.seconds.iter().filter(move |second| second.number + WINDOW > number)
    }

    /// How long the window is: the second that has begun and those before, back to the start at the most.
    fn length(&self, now: Instant) -> Duration {
        let age = now.saturating_duration_since(self.since);
        let begun = age - Duration::from_secs(age.as_secs());
        age.min(Duration::from_secs(WINDOW - 1) + begun).max(Duration::from_secs(1))
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_ago_does_not_count() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut recent = Recent::new(start);
        assert_eq!((recent.events_per_second(start), recent.busy(start), recent.batch(start)), (0.0, 0.0, None));

        for second in 0..20 {
            for batch in 0..4 {
                recent.add(at(second * 1_000 + batch * 250), 25, Duration::from_millis(125));
            }
        }
        assert!(recent.seconds.len() <= 10);
        let now = at(20_000);
        assert_eq!((recent.events_per_second(now), recent.busy(now)), (100.0, 0.5));
        assert_eq!(recent.batch(now), Some(BatchMeans { events: 25.0, milliseconds: 125.0 }));
        let now = at(25_000);
        assert!((recent.events_per_second(now) - 400.0 / 9.0).abs() < 1e-9);
        assert_eq!(recent.events_per_second(at(40_000)), 0.0);
    }

    #[test]
    fn nobody_is_busier_than_always() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        recent.add(start + Duration::from_secs(30), 1, Duration::from_secs(25));
        assert_eq!(recent.busy(start + Duration::from_secs(30)), 1.0);
    }
}
