use std::sync::Arc;

use tokio::sync::watch;

use super::state::{Cursor, Shared};
use crate::{Feed, Incoming, LogError, Positions, ReaderGone, TopicPartition};

/// Why a reader's task ends.
enum End {
    /// Its reader or the log was dropped.
    Dropped,
    /// Reading on is impossible.
    Failed(LogError),
}

impl From<ReaderGone> for End {
    fn from(_: ReaderGone) -> Self {
        Self::Dropped
    }
}

impl From<LogError> for End {
    fn from(error: LogError) -> Self {
        Self::Failed(error)
    }
}

/// A member of a group until it is dropped.
pub(super) struct Membership {
    shared: Arc<Shared>,
    group: String,
    member: u64,
}

impl Membership {
    pub(super) fn new(shared: Arc<Shared>, group: &str, topics: &[Arc<str>]) -> Self {
        let member = shared.change(|state| state.join(group, topics.to_vec()));
        Self { shared, group: group.to_owned(), member }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.shared.change(|state| state.leave(&self.group, self.member));
    }
}

/// Feeds a reader of `from` until it is dropped.
pub(super) async fn read(shared: Arc<Shared>, from: Positions, feed: Feed) {
    if let Err(End::Failed(error)) = read_on(&shared, &from, &feed).await {
        // When the reader is gone too, nobody wants to know.
        let _ = feed.send(Err(error)).await;
    }
}

async fn read_on(shared: &Shared, from: &Positions, feed: &Feed) -> Result<(), End> {
    let mut changes = shared.changes();
    let mut cursor = shared.look().cursor(from)?;
    loop {
        send_news(shared, &mut changes, &mut cursor, feed).await?;
        tokio::select! {
            changed = changes.changed() => changed.map_err(|_| End::Dropped)?,
            () = feed.closed() => return Err(End::Dropped),
        }
    }
}

/// Feeds a member of a group until it is dropped.
pub(super) async fn join(membership: Membership, mut feed: Feed) {
    if let Err(End::Failed(error)) = follow_group(&membership, &mut feed).await {
        let _ = feed.send(Err(error)).await;
    }
    // Before the feed, which says that the member has left.
    drop(membership);
}

async fn follow_group(membership: &Membership, feed: &mut Feed) -> Result<(), End> {
    let Membership { shared, group, member } = membership;
    let mut changes = shared.changes();
    let mut seen = 0;
    let mut assigned: Vec<TopicPartition> = Vec::new();
    let mut unanswered = 0;
    let mut cursor = None;
    loop {
        changes.mark_unchanged();
        let (generation, share) = {
            let state = shared.look();
            if state.closed {
                return Err(End::Dropped);
            }
            state.share(group, *member)
        };
        if generation != seen {
            seen = generation;
            cursor = None;
            if !assigned.is_empty() {
                feed.send(Ok(Incoming::Revoked(assigned))).await?;
            }
            if !share.is_empty() {
                feed.send(Ok(Incoming::Assigned(share.clone()))).await?;
                unanswered += 1;
            }
            assigned = share;
            // It may have changed again meanwhile.
            continue;
        }
        if let Some(cursor) = &mut cursor
            && send_batch(shared, cursor, feed).await?
        {
            continue;
        }
        tokio::select! {
            changed = changes.changed() => changed.map_err(|_| End::Dropped)?,
            answer = feed.started() => {
                let from = answer.ok_or(End::Dropped)?;
                unanswered -= 1;
                // An answer to an assignment that was revoked meanwhile says nothing about this one.
                if unanswered == 0 {
                    cursor = Some(shared.look().cursor(&from.among(&assigned))?);
                }
            }
        }
    }
}

/// Sends what has come, until the reader is at the end.
async fn send_news(
    shared: &Shared,
    changes: &mut watch::Receiver<()>,
    cursor: &mut Cursor,
    feed: &Feed,
) -> Result<(), End> {
    changes.mark_unchanged();
    while send_batch(shared, cursor, feed).await? {}
    Ok(())
}

/// Sends one batch and returns whether there was one.
async fn send_batch(shared: &Shared, cursor: &mut Cursor, feed: &Feed) -> Result<bool, End> {
    let next = {
        let state = shared.look();
        if state.closed {
            return Err(End::Dropped);
        }
        state.next_batch(cursor)?
    };
    let Some(batch) = next else { return Ok(false) };
    feed.send(Ok(Incoming::Records(batch))).await?;
    Ok(true)
}
