//! Writes random orders to a text file.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::order::{AGE_GRADES, COFFEES, MOST_COFFEES, Order, PAYMENT_METHODS};

/// How often lines are written.
const TICK: Duration = Duration::from_millis(100);

/// Appends `rate` orders a second to `file`, as JSON lines, `lines` of them or without end. The same seed gives the same
/// orders. The file is opened for every tick, so it may be moved away at any time.
pub(crate) fn generate(file: &Path, rate: u32, seed: Option<u64>, lines: Option<u64>) -> anyhow::Result<()> {
    let mut random = seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
    let (begun, mut written) = (Instant::now(), 0);
    loop {
        let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        let due = due.min(lines.unwrap_or(u64::MAX));
        if written < due {
            let mut text = String::new();
            while written < due {
                text.push_str(&serde_json::to_string(&order(&mut random))?);
                text.push('\n');
                written += 1;
            }
            let opened = OpenOptions::new().create(true).append(true).open(file);
            opened.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| file.display().to_string())?;
        }
        if Some(written) == lines {
            return Ok(());
        }
        std::thread::sleep(TICK);
    }
}

fn order(random: &mut fastrand::Rng) -> Order {
    let mut any = |of: &[&str]| of[random.usize(..of.len())].to_owned();
    let (customer_age_grade, payment_method) = (any(&AGE_GRADES), any(&PAYMENT_METHODS));
    let number = random.usize(1..=MOST_COFFEES);
    let orders = (0..number).map(|_| COFFEES[random.usize(..COFFEES.len())].to_owned()).collect();
    Order { customer_age_grade, payment_method, orders }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_is_an_order_and_the_same_of_the_same_seed() {
        let orders = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            (0..1_000).map(|_| order(&mut random)).collect::<Vec<_>>()
        };
        for order in orders(1) {
            let line = serde_json::to_vec(&order).expect("an order is plain JSON");
            assert_eq!(Order::read(&line), Ok(order));
        }
        assert_eq!(orders(7), orders(7));
        assert_ne!(orders(7), orders(8));
    }
}
