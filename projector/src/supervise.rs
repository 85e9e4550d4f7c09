//! Work that is started again when it fails, and ends when it is told to.

use std::panic::AssertUnwindSafe;
use std::task::Poll;

use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::error::WorkError;
use crate::observer::Observer;

/// Does `work` until it is done; when it fails, again after a while, unless only somebody else can help.
pub(crate) async fn supervise<W>(
    work: impl Fn(watch::Receiver<bool>) -> W,
    observer: Observer,
    mut stop: watch::Receiver<bool>,
) where
    W: Future<Output = Result<(), WorkError>>,
{
    let mut backoff = Backoff::new();
    while !*stop.borrow() {
        let before = observer.events();
        let ended = catch_panic(work(stop.clone())).await;
        let Err(error) = ended.unwrap_or(Err(WorkError::Panicked)) else { return };
        if !error.may_pass() {
            observer.stopped(&error.to_string());
            return;
        }
        observer.failed(&error.to_string());
        if observer.events() > before {
            backoff = Backoff::new();
        }
        tokio::select! {
            () = backoff.pause() => {}
            () = told_to(&mut stop) => {}
        }
    }
}

/// Waits until `stop` says so.
pub(crate) async fn told_to(stop: &mut watch::Receiver<bool>) {
    // Whoever could tell is gone: that is as good as told.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Runs `work`; `None` when it panics.
pub(crate) async fn catch_panic<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.map_or(Poll::Ready(None), |polled| polled.map(Some))
    })
    .await
}
