use balcony_event_log::Positions;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::Index;

/// The index that searches are answered from, which is another one after a rebuild. Clones are the same.
#[derive(Clone)]
pub struct Serving {
    state: watch::Sender<Result<Index, String>>,
}

impl Default for Serving {
    fn default() -> Self {
        Self { state: watch::Sender::new(Err("it is being opened".to_owned())) }
    }
}

impl Serving {
    /// The index, or why there is none to be asked now.
    ///
    /// # Errors
    /// A text for whoever searches.
    pub fn index(&self) -> Result<Index, String> {
        self.state.borrow().clone()
    }

    /// Answers from `index` from now on. Searches under way end with the one they began with.
    pub fn serve(&self, index: Index) {
        drop(self.state.send_replace(Ok(index)));
    }

    /// There is no index to be asked, and why.
    pub fn close(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.state.send_if_modified(|state| {
            let is_news = state.as_ref().err() != Some(&reason);
            *state = Err(reason);
            is_news
        });
    }

    /// Tells who waits that the index has moved on.
    pub fn moved(&self) {
        self.state.send_modify(|_| {});
    }

    /// Waits until the index holds everything below `wanted`; `false` when it does not in time.
    ///
    /// # Errors
    /// As [`Serving::index`], once the time is over.
    pub async fn wait_for(&self, wanted: &Positions, deadline: Instant) -> Result<bool, String> {
        let mut state = self.state.subscribe();
        loop {
            let now = state.borrow_and_update().as_ref().map(Index::positions).map_err(Clone::clone);
            if now.as_ref().is_ok_and(|positions| positions.covers(wanted)) {
                return Ok(true);
            }
            if !matches!(timeout_at(deadline, state.changed()).await, Ok(Ok(()))) {
                return now.map(|_| false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use balcony_event_log::TopicPartition;

    use super::*;

    fn at(next: i64) -> Positions {
        [(TopicPartition::new("t", 0), next)].into_iter().collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_is_told_when_the_index_has_come_so_far() {
        let folder = tempfile::tempdir().expect("a folder");
        let index = Index::create(folder.path()).expect("an index");
        let serving = Serving::default();
        assert!(serving.index().is_err() && serving.wait_for(&at(1), Instant::now()).await.is_err());

        let waiting = tokio::spawn({
            let serving = serving.clone();
            async move { serving.wait_for(&at(3), Instant::now() + Duration::from_secs(30)).await }
        });
        serving.serve(index.clone());
        assert_eq!(serving.wait_for(&at(3), Instant::now()).await, Ok(false));
        index.writer().expect("a writer").commit(&at(3)).expect("a commit");
        serving.moved();
        assert_eq!(waiting.await.expect("an end"), Ok(true));
        serving.close("gone");
        assert_eq!(serving.index().err().as_deref(), Some("gone"));
    }
}
