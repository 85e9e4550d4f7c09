//! Processor time of processes, as Linux counts it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;

/// Groups of processes whose processor time is told apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consumers(Vec<(&'static str, u32)>);

/// Seconds of processor time by group.
pub(crate) type Seconds = BTreeMap<&'static str, f64>;

/// Linux counts in hundredths of a second (`USER_HZ`) on every architecture that Balcony is built for.
const TICKS_A_SECOND: f64 = 100.0;
/// Processes that use less than this share of one processor are at rest.
const AT_REST: f64 = 0.1;
const REST_WINDOW: Duration = Duration::from_millis(300);
const REST_PATIENCE: Duration = Duration::from_secs(300);

impl Consumers {
    /// The broker and the database that `tests/services` started in `folder`; none without a folder.
    pub(crate) fn services(folder: Option<&Path>) -> Self {
        let mut consumers = Self::default();
        for service in ["kafka", "postgres"] {
            let pid = folder.and_then(|folder| std::fs::read_to_string(folder.join(service).join("pid")).ok());
            if let Some(pid) = pid.and_then(|pid| pid.trim().parse().ok()) {
                consumers.0.push((service, pid));
            }
        }
        consumers
    }

    /// These and the process `pid`, in `group`.
    pub(crate) fn and(mut self, group: &'static str, pid: u32) -> Self {
        self.0.push((group, pid));
        self
    }

    /// The processor time used so far, with that of child processes.
    pub(crate) fn seconds(&self) -> Seconds {
        let mut seconds = Seconds::new();
        for &(group, pid) in &self.0 {
            *seconds.entry(group).or_default() += tree(pid);
        }
        seconds
    }

    /// Waits until the broker and the database have nothing to do.
    pub(crate) async fn rest_of_services(&self) -> anyhow::Result<Duration> {
        let own = std::process::id();
        Self(self.0.iter().copied().filter(|&(_, pid)| pid != own).collect()).rest().await
    }

    /// Waits until none of the processes has anything to do, and says how long that took.
    pub(crate) async fn rest(&self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let mut last_busy = started;
        let mut quiet = 0;
        while quiet < 2 {
            ensure!(started.elapsed() < REST_PATIENCE, "the processes find no rest");
            let (before, from): (f64, _) = (self.seconds().values().sum(), Instant::now());
            tokio::time::sleep(REST_WINDOW).await;
            let used = self.seconds().values().sum::<f64>() - before;
            if used / from.elapsed().as_secs_f64() < AT_REST {
                quiet += 1;
            } else {
                quiet = 0;
                last_busy = Instant::now();
            }
        }
        Ok(last_busy - started)
    }
}

/// What each group used between two readings, in microseconds for each of `events`.
pub(crate) fn microseconds_each(before: &Seconds, after: &Seconds, events: u64) -> BTreeMap<&'static str, f64> {
    let each = |(group, seconds): (&&'static str, &f64)| {
        let used = seconds - before.get(group).copied().unwrap_or_default();
        (*group, used * 1e6 / events.max(1) as f64)
    };
    after.iter().map(each).collect()
}

/// The time of a process, of its children, and of those of its children that have ended.
fn tree(pid: u32) -> f64 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let of_children: f64 =
        children.split_whitespace().filter_map(|child| child.parse().ok()).map(|child| time(child, 2)).sum();
    time(pid, 4) + of_children
}

/// The first `fields` of: user, system, and both of children that have ended.
fn time(pid: u32, fields: usize) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    ticks(&stat, fields) / TICKS_A_SECOND
}

/// The name of the program stands in parentheses and may hold anything.
fn ticks(stat: &str, fields: usize) -> f64 {
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(fields).filter_map(|field| field.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_after_the_name_whatever_it_is() {
        let stat = "12 (a) 1 2) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 1";
        assert_eq!(ticks(stat, 2), 120.0);
        assert_eq!(ticks(stat, 4), 127.0);
        assert_eq!(ticks("", 4), 0.0);
    }

    #[test]
    fn time_is_shared_out_among_events() {
        let (before, after) = (Seconds::from([("service", 1.0)]), Seconds::from([("service", 3.0)]));
        assert_eq!(microseconds_each(&before, &after, 1_000_000), [("service", 2.0)].into());
    }
}
