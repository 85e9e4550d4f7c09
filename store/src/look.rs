//! Looks at the database that are shared, and the errors that they end with.

use std::sync::Arc;

use tokio::time::Instant;

use crate::StoreError;

/// Looks at the same thing in the database.
#[derive(Debug)]
pub(crate) struct SharedLook<T>(balcony_event_log::SharedLook<Result<T, Arc<StoreError>>>);

impl<T> Default for SharedLook<T> {
    fn default() -> Self {
        Self(balcony_event_log::SharedLook::default())
    }
}

impl<T: Clone> SharedLook<T> {
    /// What was seen by a look that began after `since`: by `look`, unless another's did. A look that fails fails for
    /// everybody whom it would have answered.
    pub(crate) async fn after(
        &self,
        since: Instant,
        look: impl AsyncFnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let look = async || look().await.map_err(Arc::new);
        self.0.after(since.into_std(), look).await.map_err(|error| error.for_another())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    /// A look that lets others come before it ends, and sees how many there have been.
    async fn count(looks: &AtomicUsize) -> Result<usize, StoreError> {
        tokio::task::yield_now().await;
        Ok(looks.fetch_add(1, Ordering::SeqCst) + 1)
    }

    #[tokio::test]
    async fn everybody_who_has_asked_before_a_look_shares_it() {
        let (shared, looks) = (SharedLook::default(), AtomicUsize::new(0));
        let ask = async || {
            let since = Instant::now();
            shared.after(since, async || count(&looks).await).await.unwrap()
        };
        // While the first look is under way, it may have passed what the others ask for already.
        let (first, others) = tokio::join!(ask(), join_all((0..1_000).map(|_| ask())));
        assert_eq!(first, 1);
        assert!(others.into_iter().all(|seen| seen == 2));
    }

    #[tokio::test]
    async fn a_look_that_fails_fails_for_everybody_and_the_next_is_another() {
        let (shared, looks) = (SharedLook::<usize>::default(), AtomicUsize::new(0));
        let since = Instant::now();
        let fail = async || {
            let look = async || {
                count(&looks).await?;
                Err(StoreError::away("it is gone"))
            };
            shared.after(since, look).await
        };
        for failed in join_all((0..1_000).map(|_| fail())).await {
            let error = failed.unwrap_err();
            assert!(error.is_away(), "{error}");
            assert_eq!(error.to_string().matches("it is gone").count(), 1, "{error}");
        }
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        assert_eq!(shared.after(Instant::now(), async || count(&looks).await).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn whoever_leaves_in_the_middle_of_a_look_leaves_it_to_another() {
        let (shared, looks) = (SharedLook::default(), AtomicUsize::new(0));
        let since = Instant::now();
        assert!(shared.after(since, async || count(&looks).await).now_or_never().is_none());
        assert_eq!(shared.after(since, async || count(&looks).await).await.unwrap(), 1);
    }
}
