//! How tests wait, and what they are given.

#[cfg(feature = "kafka")]
mod on_broker;

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

#[cfg(feature = "kafka")]
pub use self::on_broker::OnBroker;

/// What the environment variable `name` says, which names a service for tests: a broker, a database server. Without it a
/// line says, once for each test program, what is left out.
///
/// # Panics
/// With `CI` set, when it is missing: nothing may be left out there.
pub fn service(name: &str) -> Option<String> {
    static LEFT_OUT: Mutex<Vec<String>> = Mutex::new(Vec::new());
    if let Ok(value) = std::env::var(name) {
        return Some(value);
    }
    assert!(std::env::var_os("CI").is_none(), "in CI {name} has to be set; tests/run sets it");
    let mut left_out = LEFT_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    if !left_out.iter().any(|said| said == name) {
        left_out.push(name.to_owned());
        // Past the test harness, which keeps the output of tests that pass.
        let _ = writeln!(std::io::stderr(), "left out: tests that want {name}, which is not set; tests/run sets it");
    }
    None
}

/// Asks again and again until there is an answer, for `patience` at the most.
///
/// # Panics
/// When there is none by then.
pub async fn eventually<T>(what: &str, patience: Duration, ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answer = within(patience, ask).await;
    answer.unwrap_or_else(|| panic!("{what}: not within {patience:?}"))
}

/// The same; `None` when there is no answer by then.
pub(crate) async fn within<T>(patience: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    // Asking may take longer than that, and others want the processor, too.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = ask().await;
        if answer.is_some() || Instant::now() >= deadline {
            return answer;
        }
    }
}
