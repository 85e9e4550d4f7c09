//! A simulation of one step under more events than a machine here can send: when its workers keep up, how far they are
//! behind, and how long they take after a stop.
//!
//! Events come at random, independently of each other (a Poisson process), and each worker has its share of the partitions.
//! A worker takes all that waits for it, up to a batch, and is busy for the time that one transaction takes and the time of
//! each event; an event is visible when its batch is committed. What the database does for the events of all workers takes
//! its processors' time, so a batch takes longer by as much as they are asked for more than they have.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::figures::{milliseconds, percentile};

/// What is simulated. The costs are those of docs/performance.md; give your own.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Events a day.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000.0, 1_000_000.0, 100_000_000.0, 1_000_000_000.0], value_name = "EVENTS")]
    a_day: Vec<f64>,
    /// How many times the day's mean the busiest hour has.
    #[arg(long, default_value_t = 3.0)]
    peak: f64,
    /// Workers of the step, each in a process of its own; no more than the topic has partitions.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8], value_parser = clap::value_parser!(u32).range(1..=1_000))]
    workers: Vec<u32>,
    /// Microseconds that a worker takes for an event.
    #[arg(long, default_value_t = 19.0)]
    worker_us: f64,
    /// Microseconds of the database's processors for an event, of all its read models.
    #[arg(long, default_value_t = 54.0)]
    database_us: f64,
    /// Processors of the database.
    #[arg(long, default_value_t = 8.0)]
    database_cores: f64,
    /// Milliseconds of a transaction, whatever is in it.
    #[arg(long, default_value_t = 2.0)]
    transaction_ms: f64,
    /// Seconds for which nobody works, as after a worker died.
    #[arg(long, default_value_t = 12.0)]
    stop: f64,
}

/// The most events of a transaction.
const BATCH: usize = 5_000;
/// How many seconds are simulated, and when the stop begins.
const LENGTH: f64 = 60.0;
const STOPS_AT: f64 = 20.0;
/// Of one worker no more events are simulated: that is enough for a 99th percentile.
const MOST_EVENTS: f64 = 2_000_000.0;

/// How one worker does.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// How long events wait until they are visible, in order, where nobody stops.
    lags: Vec<Duration>,
    /// How long after the stop it has caught up; `None` when it does not within what is simulated.
    caught_up: Option<Duration>,
}

/// Prints a table.
pub(crate) fn run(options: &Options) {
    println!(
        "events/day   peak/s  workers  busy  database  visible after ms, p50  p99  caught up after {} s",
        options.stop
    );
    for a_day in &options.a_day {
        let rate = a_day / 86_400.0 * options.peak;
        for workers in &options.workers {
            let database = rate * options.database_us / 1e6 / options.database_cores;
            let share = rate / f64::from(*workers);
            let an_event = options.worker_us / 1e6 * database.max(1.0);
            let busy = share * an_event;
            let figures =
                format!("{a_day:>10.0} {rate:>8.2} {workers:>8} {:>4.0}% {:>8.0}%", busy * 100.0, database * 100.0);
            if busy >= 1.0 || database >= 1.0 {
                println!("{figures}  does not keep up");
                continue;
            }
            let outcome = simulate(share, options.transaction_ms / 1e3, an_event, options.stop);
            let lag = |rank| milliseconds(percentile(&outcome.lags, rank));
            let caught_up =
                outcome.caught_up.map_or("not in a minute".to_owned(), |took| format!("{:.1} s", took.as_secs_f64()));
            println!("{figures} {:>21.1} {:>6.1}  {caught_up}", lag(0.5), lag(0.99));
        }
    }
}

/// A worker that gets `rate` events a second, and takes `transaction` seconds for each batch and `an_event` for each event.
fn simulate(rate: f64, transaction: f64, an_event: f64, stop: f64) -> Outcome {
    let mut random = StdRng::seed_from_u64(1);
    // Rare events are watched for longer.
    let length = LENGTH.max(1_000.0 / rate).min(MOST_EVENTS / rate);
    let mut arrivals = Vec::new();
    let mut now = 0.0;
    while now < length {
        now += -(1.0 - random.random::<f64>()).ln() / rate;
        arrivals.push(now);
    }
    let mut lags = Vec::with_capacity(arrivals.len());
    work(&arrivals, transaction, an_event, None, |arrival, done| lags.push(Duration::from_secs_f64(done - arrival)));
    lags.sort_unstable();

    // Who comes when all that waited is done waits as little as ever.
    let (end, little) = (STOPS_AT + stop, 2.0 * percentile(&lags, 0.99).as_secs_f64());
    let (mut last_late, mut is_over) = (end, false);
    work(&arrivals, transaction, an_event, Some((STOPS_AT, end)), |arrival, done| {
        is_over |= arrival >= end && done - arrival <= little;
        if !is_over && done > end {
            last_late = done;
        }
    });
    let caught_up = is_over.then(|| Duration::from_secs_f64(last_late - end));
    Outcome { lags, caught_up }
}

/// Works on `arrivals` but during `stop`, and tells of each when it came and when it was done.
fn work(arrivals: &[f64], transaction: f64, an_event: f64, stop: Option<(f64, f64)>, mut tell: impl FnMut(f64, f64)) {
    let (mut next, mut free) = (0, 0.0_f64);
    while let Some(first) = arrivals.get(next) {
        let mut begin = free.max(*first);
        if let Some((from, to)) = stop
            && (from..to).contains(&begin)
        {
            begin = to;
        }
        let waiting = arrivals[next..].iter().take(BATCH).take_while(|arrival| **arrival <= begin).count();
        free = begin + transaction + an_event * waiting as f64;
        for arrival in &arrivals[next..next + waiting] {
            tell(*arrival, free);
        }
        next += waiting;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_event_takes_one_transaction_and_a_queue_is_taken_at_once() {
        let mut done = Vec::new();
        work(&[1.0, 2.0, 2.5, 2.5], 1.0, 0.25, None, |arrival, at| done.push((arrival, at)));
        assert_eq!(done, [(1.0, 2.25), (2.0, 3.5), (2.5, 5.0), (2.5, 5.0)]);
    }

    #[test]
    fn nothing_is_done_during_a_stop_and_nothing_is_left_out() {
        let mut done = Vec::new();
        work(&[1.0, 5.0, 6.0, 9.0], 1.0, 0.0, Some((4.0, 8.0)), |arrival, at| done.push((arrival, at)));
        assert_eq!(done, [(1.0, 2.0), (5.0, 9.0), (6.0, 9.0), (9.0, 10.0)]);
    }

    #[test]
    fn whoever_is_busier_is_further_behind() {
        let lag = |rate| percentile(&simulate(rate, 0.002, 0.000_019, 1.0).lags, 0.99);
        assert!(lag(40_000.0) > lag(1_000.0) && lag(1_000.0) >= Duration::from_millis(2));
        let caught_up = simulate(1_000.0, 0.002, 0.000_019, 12.0).caught_up.expect("it catches up");
        assert!(caught_up < Duration::from_secs(5), "{caught_up:?}");
    }
}
