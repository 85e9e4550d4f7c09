use std::time::Duration;

use tokio::time::Instant;

/// Since when things go wrong again and again.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// When something went wrong first, and last.
    times: Option<(Instant, Instant)>,
}

/// What goes wrong after so long a calm has nothing to do with what went wrong before. Attempts are closer together.
const CALM: Duration = Duration::from_secs(30);

impl Trouble {
    /// Something went wrong `now`; `goes_on` when what went wrong before has not passed.
    pub(crate) fn noted(&mut self, now: Instant, goes_on: bool) {
        let first = self.times.filter(|(_, last)| goes_on || now - *last < CALM).map_or(now, |(first, _)| first);
        self.times = Some((first, now));
    }

    /// For how long things have gone wrong, if they still do or may: until now when it `goes_on`, else until the last time, so
    /// that what is over grows no longer.
    pub(crate) fn lasts(&self, now: Instant, goes_on: bool) -> Option<Duration> {
        let (first, last) = self.times.filter(|(_, last)| goes_on || now - *last < CALM)?;
        Some(if goes_on { now } else { last } - first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_as_long_as_attempts_fail_and_a_calm_ends_it() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut trouble = Trouble::default();
        assert_eq!(trouble.lasts(at(0), true), None);
        for second in [0, 20, 45] {
            trouble.noted(at(second), false);
        }
        assert_eq!(trouble.lasts(at(60), false), Some(Duration::from_secs(45)));
        assert_eq!(trouble.lasts(at(75), false), None);
        // Who waits need not say it again.
        assert_eq!(trouble.lasts(at(200), true), Some(Duration::from_secs(200)));
        trouble.noted(at(300), true);
        assert_eq!(trouble.lasts(at(301), false), Some(Duration::from_secs(300)));
        trouble.noted(at(400), false);
        assert_eq!(trouble.lasts(at(401), false), Some(Duration::ZERO));
    }
}
