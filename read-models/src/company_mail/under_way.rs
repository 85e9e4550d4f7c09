//! Which mails are on their way to the server, and the end, which waits for them.

use tokio::sync::watch;

/// How many mails are on their way.
#[derive(Debug, Default)]
pub(super) struct UnderWay(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    count: usize,
    /// Whether no mail may set out any more.
    is_ending: bool,
}

/// A mail that is on its way until this is dropped.
#[derive(Debug)]
pub(super) struct OneMore<'a>(&'a UnderWay);

impl UnderWay {
    /// Lets a mail set out; `None` once no more may.
    pub(super) fn set_out(&self) -> Option<OneMore<'_>> {
        let may = self.0.send_if_modified(|state| {
            state.count += usize::from(!state.is_ending);
            !state.is_ending
        });
        may.then(|| OneMore(self))
    }

    /// Comes once no mail may set out any more.
    pub(super) async fn is_ending(&self) {
        // The sender is here for as long as anybody asks.
        let _ = self.0.subscribe().wait_for(|state| state.is_ending).await;
    }

    /// Lets no mail set out any more, and comes once none is on its way.
    pub(super) async fn end(&self) {
        self.0.send_modify(|state| state.is_ending = true);
        let _ = self.0.subscribe().wait_for(|state| state.count == 0).await;
    }
}

impl Drop for OneMore<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_end_waits_for_what_has_set_out_and_lets_nothing_more() {
        let under_way = UnderWay::default();
        let (one, other) = (under_way.set_out().expect("one"), under_way.set_out().expect("another"));
        assert!(under_way.is_ending().now_or_never().is_none());
        let mut end = Box::pin(under_way.end());
        assert!((&mut end).now_or_never().is_none());
        assert!(under_way.set_out().is_none());
        drop(one);
        assert!((&mut end).now_or_never().is_none());
        drop(other);
        end.await;
        under_way.is_ending().await;
    }
}
