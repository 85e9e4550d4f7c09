use std::time::Instant;

use tokio::sync::Mutex;

/// A look at something that changes, such as where a log ends, shared by all who ask for it: however many they are, one of
/// them looks at a time, and all who had asked when a look began are answered by it.
///
/// A look is made by one of those who ask. When that one leaves in the middle, the next who waits looks instead.
#[derive(Debug)]
pub struct SharedLook<T>(Mutex<Option<Seen<T>>>);

/// What the last look has seen.
#[derive(Debug)]
struct Seen<T> {
    began: Instant,
    what: T,
}

impl<T> Default for SharedLook<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> SharedLook<T> {
    /// What is seen by a look that begins after this was called: by `look`, unless another's does.
    pub async fn now(&self, look: impl AsyncFnOnce() -> T) -> T {
        self.after(Instant::now(), look).await
    }

    /// What is seen by a look that began after `since`: by `look`, unless another's did.
    pub async fn after(&self, since: Instant, look: impl AsyncFnOnce() -> T) -> T {
        self.seen(|seen| seen.began > since, look).await
    }

    /// What was seen last, if that is `enough`; otherwise as [`SharedLook::now`].
    pub async fn unless(&self, enough: impl FnOnce(&T) -> bool, look: impl AsyncFnOnce() -> T) -> T {
        let asked = Instant::now();
        self.seen(|seen| seen.began > asked || enough(&seen.what), look).await
    }

    async fn seen(&self, answers: impl FnOnce(&Seen<T>) -> bool, look: impl AsyncFnOnce() -> T) -> T {
        let mut last = self.0.lock().await;
        if let Some(seen) = &*last
            && answers(seen)
        {
            return seen.what.clone();
        }
        let began = Instant::now();
        // Few go this way; the others do not carry its state with them.
        let what = Box::pin(look()).await;
        *last = Some(Seen { began, what: what.clone() });
        what
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    /// A look that lets others come before it ends, and sees how many there have been.
    async fn count(looks: &AtomicUsize) -> usize {
        tokio::task::yield_now().await;
        looks.fetch_add(1, Ordering::SeqCst) + 1
    }

    #[tokio::test]
    async fn all_who_ask_during_a_look_share_the_next() {
        let (shared, looks) = (SharedLook::default(), AtomicUsize::new(0));
        let ask = async || shared.now(async || count(&looks).await).await;
        // The first look may be past what the others ask for.
        let (first, others) = tokio::join!(ask(), join_all((0..1_000).map(|_| ask())));
        assert_eq!(first, 1);
        assert!(others.into_iter().all(|seen| seen == 2));
        assert_eq!(ask().await, 3);
    }

    #[tokio::test]
    async fn a_look_since_the_moment_in_question_will_do() {
        let (shared, looks) = (SharedLook::default(), AtomicUsize::new(0));
        let since = Instant::now();
        for _ in 0..3 {
            assert_eq!(shared.after(since, async || count(&looks).await).await, 1);
        }
        assert_eq!(shared.after(Instant::now(), async || count(&looks).await).await, 2);
    }

    #[tokio::test]
    async fn what_was_seen_before_answers_whoever_finds_it_enough() {
        let (shared, looks) = (SharedLook::default(), AtomicUsize::new(0));
        let ask = async |least| shared.unless(|seen| *seen >= least, async || count(&looks).await).await;
        assert_eq!((ask(1).await, ask(1).await, ask(2).await, ask(1).await), (1, 1, 2, 2));
        // Who finds it not enough is answered by a look that began after the question all the same.
        let (first, others) = tokio::join!(ask(9), join_all((0..1_000).map(|_| ask(9))));
        assert_eq!(first, 3);
        assert!(others.into_iter().all(|seen| seen == 4));
    }

    #[tokio::test]
    async fn who_leaves_in_the_middle_of_a_look_leaves_it_to_the_next() {
        let (shared, looks) = (SharedLook::default(), AtomicUsize::new(0));
        let mut first = Box::pin(shared.now(async || count(&looks).await));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(shared.now(async || count(&looks).await));
        assert!(second.as_mut().now_or_never().is_none(), "one looks at a time");
        drop(first);
        assert_eq!(second.await, 1);
    }
}
