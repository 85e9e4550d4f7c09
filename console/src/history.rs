//! How every step was doing in the last hour, as this process has looked: in memory, until it ends.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRef;
use balcony_projector::Moment;
use balcony_projector::operations::{Desk, Figures};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use utoipa::ToSchema;

/// How often every step is looked at.
const EVERY: Duration = Duration::from_secs(10);
/// How many looks are remembered: those of an hour. Each has the steps of the program.
const MOST: usize = 360;

/// The desk, and how its steps were doing: what the handlers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shared(Arc<History>);

struct History {
    desk: Desk,
    kept: Mutex<VecDeque<Look>>,
}

/// What one look found.
struct Look {
    at: Moment,
    steps: Vec<Figures>,
}

/// How every step was doing, look by look, the oldest first.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Course {
    /// How many seconds are between two looks, while the log and the database answer.
    every_seconds: u64,
    /// When each look was.
    #[schema(value_type = Vec<String>)]
    times: Vec<Moment>,
    /// The steps, by name.
    steps: Vec<CourseOfStep>,
}

/// How one step was doing: a value for each look, null where it was not known.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct CourseOfStep {
    name: String,
    state: Vec<Option<String>>,
    generation: Vec<Option<i64>>,
    lag_events: Vec<Option<i64>>,
    lag_seconds: Vec<Option<f64>>,
    events_per_second: Vec<Option<f64>>,
}

impl Shared {
    pub(crate) fn of(desk: Desk) -> Self {
        Self(Arc::new(History { desk, kept: Mutex::default() }))
    }

    pub(crate) fn course(&self) -> Course {
        course(&self.0.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at every step from time to time, for ever.
    pub(crate) async fn look_on(self) -> Infallible {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // While the log or the database is away there is nothing to remember.
            if let Ok(diagnosis) = self.0.desk.examine().await {
                let look = Look { at: Moment::now(), steps: diagnosis.figures().collect() };
                remember(&mut self.0.kept.lock().unwrap_or_else(PoisonError::into_inner), look);
            }
        }
    }
}

impl FromRef<Shared> for Desk {
    fn from_ref(shared: &Shared) -> Self {
        shared.0.desk.clone()
    }
}

fn remember(kept: &mut VecDeque<Look>, look: Look) {
    if kept.len() >= MOST {
        kept.pop_front();
    }
    kept.push_back(look);
}

fn course(kept: &VecDeque<Look>) -> Course {
    let names: BTreeSet<&str> = kept.iter().flat_map(|look| &look.steps).map(|step| &*step.name).collect();
    let of_step = |name: &str| {
        let found: Vec<Option<&Figures>> =
            kept.iter().map(|look| look.steps.iter().find(|step| step.name == name)).collect();
        let each = || found.iter().copied();
        CourseOfStep {
            name: name.to_owned(),
            state: each().map(|step| Some(step?.state.clone())).collect(),
            generation: each().map(|step| step?.generation).collect(),
            lag_events: each().map(|step| step?.lag_events).collect(),
            lag_seconds: each().map(|step| step?.lag_seconds).collect(),
            events_per_second: each().map(|step| Some(step?.events_per_second)).collect(),
        }
    };
    Course {
        every_seconds: EVERY.as_secs(),
        times: kept.iter().map(|look| look.at).collect(),
        steps: names.into_iter().map(of_step).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(second: i64, steps: &[(&str, i64)]) -> Look {
        let figures = |&(name, generation): &(&str, i64)| Figures {
            name: name.to_owned(),
            state: "running".to_owned(),
            generation: Some(generation),
            lag_events: Some(second),
            lag_seconds: None,
            events_per_second: 0.5,
        };
        Look { at: Moment::from_milliseconds(second * 1_000), steps: steps.iter().map(figures).collect() }
    }

    #[test]
    fn every_look_has_a_value_of_every_step() {
        let mut kept = VecDeque::new();
        remember(&mut kept, look(1, &[("comments", 1)]));
        remember(&mut kept, look(2, &[("comments", 2), ("added", 1)]));
        let course = course(&kept);
        assert_eq!(course.times.len(), 2);
        let shown: Vec<_> =
            course.steps.iter().map(|step| (&*step.name, &*step.generation, &*step.lag_events)).collect();
        assert_eq!(
            shown,
            [
                ("added", &[None, Some(1)][..], &[None, Some(2)][..]),
                ("comments", &[Some(1), Some(2)], &[Some(1), Some(2)]),
            ]
        );
        assert_eq!(course.steps[0].state, [None, Some("running".to_owned())]);
    }

    #[test]
    fn no_more_than_an_hour_is_remembered() {
        let mut kept = VecDeque::new();
        let most = i64::try_from(MOST).expect("few");
        for second in 0..most + 5 {
            remember(&mut kept, look(second, &[("comments", 1)]));
        }
        assert_eq!(kept.len(), MOST);
        assert_eq!(kept[0].at, Moment::from_milliseconds(5_000));
    }
}
