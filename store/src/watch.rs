//! How long a statement is waited for, and who is asked meanwhile whether anybody is there.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::StoreError;

/// Watches over the statements of one kind of connection.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    /// How long a statement is waited for; for ever, where nobody else can be at fault.
    limit: Option<Duration>,
    /// Whom to ask when there is no answer for a while.
    #[cfg(feature = "postgres")]
    peer: Option<std::sync::Arc<crate::peer::Peer>>,
}

/// After how long without an answer the peer is asked, and how often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Watch {
    /// Over statements in a file of this machine.
    #[cfg(feature = "sqlite")]
    pub(crate) fn none() -> Self {
        Self {
            limit: None,
            #[cfg(feature = "postgres")]
            peer: None,
        }
    }

    /// Over statements that take no longer than `limit` at `peer`.
    #[cfg(feature = "postgres")]
    pub(crate) fn of(limit: Duration, peer: std::sync::Arc<crate::peer::Peer>) -> Self {
        Self { limit: Some(limit), peer: Some(peer) }
    }

    /// Waits for what a statement gives.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it takes too long or nobody is there, [`StoreError::Locked`] when it has waited
    /// for a lock in vain. After these the connection is not to be used any more.
    pub(crate) fn over<T>(
        &self,
        statement: impl Future<Output = Result<T, StoreError>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        // What waits for it, in many layers, stays small.
        let statement = Box::pin(statement);
        async move {
            let done = tokio::select! {
                biased;
                done = statement => done,
                reason = self.give_up() => Err(StoreError::away(reason)),
            };
            match done {
                #[cfg(feature = "postgres")]
                Err(error) if crate::error::is_lock_timeout(&error) => match &self.peer {
                    Some(peer) => Err(Box::pin(peer.locked(error)).await),
                    None => Err(error),
                },
                done => done,
            }
        }
    }

    /// Waits until it is not worth waiting any longer, and says why.
    async fn give_up(&self) -> String {
        let Some(limit) = self.limit else { return std::future::pending().await };
        Box::pin(self.look_until(limit)).await
    }

    async fn look_until(&self, limit: Duration) -> String {
        let began = Instant::now();
        loop {
            sleep(LOOK_EVERY.min(limit)).await;
            if began.elapsed() >= limit {
                return format!("there was no answer within {} s", limit.as_secs());
            }
            #[cfg(feature = "postgres")]
            if let Some(peer) = &self.peer
                && !peer.is_there().await
            {
                return "nobody is there any more".to_owned();
            }
        }
    }
}
