use std::time::Duration;

/// Pauses between attempts: from 50 ms, doubled each time up to 5 s, each drawn between a half and the whole.
///
/// Source: Marc Brooker, "Exponential Backoff And Jitter" (2015), the variant with equal jitter.
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self::between(FIRST_PAUSE, LONGEST_PAUSE)
    }

    pub(crate) fn between(first: Duration, longest: Duration) -> Self {
        Self { next: first.min(longest), longest }
    }

    pub(crate) async fn pause(&mut self) {
        let whole = self.next;
        self.next = (whole * 2).min(self.longest);
        tokio::time::sleep(whole.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }
}
