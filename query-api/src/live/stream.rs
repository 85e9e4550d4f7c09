//! The body of a stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use balcony_event_log::Positions;
use balcony_http::Share;
use balcony_http::events::{EventIds, Frame, HEARTBEAT, heartbeat};
use balcony_read_models::{Comments, Registry};
use balcony_store::{Reader, StoreError};
use tokio::time::{Instant, sleep_until};

use super::ends::Ends;
use super::feed::{CHUNK, model};
use super::frame;
use super::history::Entry;
use super::hub::Subscription;

/// What is sent to one client, until it leaves, is too slow, or the process ends.
pub(super) struct Stream {
    subscription: Subscription,
    _share: Share,
    ids: EventIds,
    reader: Reader,
    ends: Arc<Ends>,
    /// Whether the client is to be told that it has missed something.
    reset: bool,
    /// When the next comment line is sent.
    beats_at: Instant,
    /// Whether nothing was sent since the last.
    quiet: bool,
}

/// How long what was missed is waited for, where a database that crashed has it no more.
const PATIENCE: Duration = Duration::from_secs(5);

impl Stream {
    pub(super) fn new(
        subscription: Subscription,
        share: Share,
        ids: EventIds,
        reader: Reader,
        ends: Arc<Ends>,
        reset: bool,
    ) -> Self {
        let beats_at = Instant::now() + HEARTBEAT;
        Self { subscription, _share: share, ids, reader, ends, reset, beats_at, quiet: true }
    }

    pub(super) fn into_body(self) -> Body {
        Body::from_stream(futures_util::stream::unfold(self, |mut stream| async move {
            let next = stream.next().await?;
            Some((Ok::<_, Infallible>(next), stream))
        }))
    }

    async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.reset) {
            return Some(Frame::reset().with_id(&self.ids.text(&self.subscription.from)).into());
        }
        while !self.subscription.backlog.is_empty() {
            // On the heap, so that streams take no room for it while they wait.
            match Box::pin(self.catch_up()).await {
                Ok(frames) if frames.is_empty() => {}
                Ok(frames) => return Some(frames),
                Err(error) => {
                    tracing::debug!(%error, "a stream ends: what it missed cannot be read");
                    return None;
                }
            }
        }
        tokio::select! {
            biased;
            frame = self.subscription.queue.recv() => {
                self.quiet = false;
                frame
            }
            () = sleep_until(self.beats_at) => Some(self.beat()),
        }
    }

    /// The next events of those that were missed.
    async fn catch_up(&mut self) -> Result<Bytes, StoreError> {
        let Subscription { backlog, from, .. } = &mut self.subscription;
        let entries: Vec<Arc<Entry>> = backlog.drain(..backlog.len().min(CHUNK)).collect();
        let mut reached = Positions::new();
        entries.iter().for_each(|entry| reached.advance(&entry.partition, entry.offset + 1));
        let wait_for = async |name: &str, wanted: &Positions| {
            let model = model(&self.reader, name);
            let has_come = self.reader.wait_for(model, wanted, Instant::now() + PATIENCE).await?;
            has_come.then_some(()).ok_or_else(|| StoreError::NotReady(name.to_owned()))
        };
        let read = || async {
            for name in [Registry::NAME, Comments::NAME] {
                wait_for(name, &reached).await?;
            }
            let posts: Vec<&Entry> = entries.iter().map(|entry| &**entry).collect();
            let frames = frame::of(&self.reader, &posts).await?;
            if !frames.lack_names {
                return Ok(frames);
            }
            let ends = self.ends.now().await.ok_or_else(|| StoreError::NotReady(Registry::NAME.to_owned()))?;
            wait_for(Registry::NAME, &ends).await?;
            frame::of(&self.reader, &posts).await
        };
        let frames = self.reader.undisturbed(read).await?.of_each;

        let mut text = String::new();
        for (entry, frame) in entries.iter().zip(frames) {
            from.advance(&entry.partition, entry.offset + 1);
            if let Some(frame) = frame {
                text.push_str(&frame.with_id(&self.ids.text(from)));
            }
        }
        self.quiet = false;
        Ok(text.into())
    }

    fn beat(&mut self) -> Bytes {
        self.beats_at = Instant::now() + HEARTBEAT;
        let was_quiet = std::mem::replace(&mut self.quiet, true);
        // Read before the queue is looked at: what is below was put into the queue before.
        let positions: Option<Positions> = self.subscription.handed_out().filter(|_| was_quiet);
        match (self.subscription.queue.try_recv(), positions) {
            (Ok(frame), _) => {
                self.quiet = false;
                [heartbeat(None).as_bytes(), &frame].concat().into()
            }
            (Err(_), positions) => heartbeat(positions.map(|positions| self.ids.text(&positions)).as_deref()).into(),
        }
    }
}
