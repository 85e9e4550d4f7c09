use std::collections::HashMap;

use tokio::sync::watch;

use crate::Generation;

/// Who waits in this process for which generation to come further. Whoever brings it on need not hurry while nobody does.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// How many wait, by the schema of the generation; nobody where it is not named.
    waiting: watch::Sender<HashMap<String, usize>>,
}

/// Somebody who waits for a generation to come further, until it is dropped.
#[derive(Debug)]
pub struct Waiting<'d> {
    demand: &'d Demand,
    schema: String,
}

impl Demand {
    /// Counts one more who waits for `generation`.
    pub(crate) fn wait_for(&self, generation: &Generation) -> Waiting<'_> {
        let schema = generation.schema().to_owned();
        self.waiting.send_if_modified(|waiting| {
            let count = waiting.entry(schema.clone()).or_default();
            *count += 1;
            *count == 1
        });
        Waiting { demand: self, schema }
    }

    /// Waits until somebody waits for `generation`.
    pub(crate) async fn is_for(&self, generation: &Generation) {
        let mut waiting = self.waiting.subscribe();
        // The sender is borrowed, so it is there.
        let _ = waiting.wait_for(|waiting| waiting.contains_key(generation.schema())).await;
    }
}

impl Waiting<'_> {
    /// Whether it is `generation` that is waited for.
    pub(crate) fn is_for(&self, generation: &Generation) -> bool {
        self.schema == generation.schema()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.demand.waiting.send_if_modified(|waiting| {
            if let Some(count) = waiting.get_mut(&self.schema) {
                *count -= 1;
                if *count == 0 {
                    waiting.remove(&self.schema);
                }
            }
            // Nobody hurries because somebody does not wait any more.
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn generation(number: i64) -> Generation {
        let schema = format!("things_{number}");
        Generation { projection: "things".into(), number, version: 1, schema }
    }

    async fn is_wanted(demand: &Demand, number: i64) -> bool {
        tokio::time::timeout(Duration::ZERO, demand.is_for(&generation(number))).await.is_ok()
    }

    #[tokio::test]
    async fn a_generation_is_wanted_for_as_long_as_somebody_waits_for_it() {
        let demand = Demand::default();
        assert!(!is_wanted(&demand, 1).await);
        let (first, second) = (demand.wait_for(&generation(1)), demand.wait_for(&generation(1)));
        assert!(is_wanted(&demand, 1).await && !is_wanted(&demand, 2).await);
        drop(first);
        assert!(is_wanted(&demand, 1).await, "another still waits");
        drop(second);
        assert!(!is_wanted(&demand, 1).await);
        assert!(demand.waiting.borrow().is_empty(), "nothing is left of generations that nobody waits for");
    }

    #[tokio::test]
    async fn who_rests_is_woken_by_who_comes_to_wait() {
        let demand = Demand::default();
        let wanted = generation(1);
        let resting = demand.is_for(&wanted);
        let waiting = async {
            tokio::task::yield_now().await;
            demand.wait_for(&wanted)
        };
        let ((), _waiting) = tokio::join!(resting, waiting);
    }
}
