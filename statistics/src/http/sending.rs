//! The body of a stream of counts.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use balcony_http::events::{EventIds, HEARTBEAT, heartbeat};
use futures_util::Stream;
use futures_util::stream::{StreamExt as _, unfold};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::watched::{Newest, Snapshot};

/// Snapshots as they come.
pub(super) type Snapshots = Pin<Box<dyn Stream<Item = Arc<Snapshot>> + Send>>;

/// What is sent to one client.
struct Sending<S> {
    first: Option<String>,
    snapshots: S,
    ids: EventIds,
    beats_at: Instant,
    _room: OwnedSemaphorePermit,
}

/// What comes from now on; what is there, too, when it is marked as changed.
pub(super) fn snapshots(newest: Newest) -> Snapshots {
    Box::pin(unfold(newest, |mut newest| async move {
        loop {
            newest.changed().await.ok()?;
            let snapshot = newest.borrow_and_update().clone();
            if let Some(snapshot) = snapshot {
                return Some((snapshot, newest));
            }
        }
    }))
}

/// Sends `first`, an event, and then each of `snapshots`, with heartbeats meanwhile. It keeps `room` until it ends.
pub(super) fn body<S>(first: Option<String>, snapshots: S, ids: EventIds, room: OwnedSemaphorePermit) -> Body
where
    S: Stream<Item = Arc<Snapshot>> + Unpin + Send + 'static,
{
    let sending = Sending { first, snapshots, ids, beats_at: Instant::now() + HEARTBEAT, _room: room };
    Body::from_stream(unfold(sending, |mut sending| async move {
        let next = sending.next().await?;
        Some((Ok::<_, Infallible>(next), sending))
    }))
}

impl<S: Stream<Item = Arc<Snapshot>> + Unpin> Sending<S> {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first.into());
        }
        tokio::select! {
            biased;
            snapshot = self.snapshots.next() => {
                let snapshot = snapshot?;
                Some(snapshot.frame.with_id(&self.ids.text(&snapshot.positions)).into())
            }
            () = sleep_until(self.beats_at) => {
                self.beats_at = Instant::now() + HEARTBEAT;
                Some(heartbeat(None).into())
            }
        }
    }
}
