//! The body of a stream of counts.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use balcony_http::Share;
use balcony_http::events::{HEARTBEAT, heartbeat};
use futures_util::Stream;
use futures_util::stream::{StreamExt as _, unfold};
use tokio::time::{Instant, sleep_until};

use super::watched::{Snapshot, Watching};

/// Snapshots as they come.
pub(super) type Snapshots = Pin<Box<dyn Stream<Item = Arc<Snapshot>> + Send>>;

/// What is sent to one client.
struct Sending<S> {
    first: Option<String>,
    snapshots: S,
    beats_at: Instant,
    _room: Share,
}

/// What comes to whoever is `watching`.
pub(super) fn snapshots(watching: Watching) -> Snapshots {
    Box::pin(unfold(watching, |mut watching| async move {
        let snapshot = watching.next().await?;
        Some((snapshot, watching))
    }))
}

/// Sends `first`, an event, and then each of `snapshots`, with heartbeats meanwhile. It keeps `room` until it ends.
pub(super) fn body<S>(first: Option<String>, snapshots: S, room: Share) -> Body
where
    S: Stream<Item = Arc<Snapshot>> + Unpin + Send + 'static,
{
    let sending = Sending { first, snapshots, beats_at: Instant::now() + HEARTBEAT, _room: room };
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
                Some(snapshot?.event.clone())
            }
            () = sleep_until(self.beats_at) => {
                self.beats_at = Instant::now() + HEARTBEAT;
                Some(heartbeat(None).into())
            }
        }
    }
}
