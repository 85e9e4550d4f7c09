//! Comments and page views as they stand in the log.

use std::ops::Range;
use std::sync::Arc;

use balcony_domain::event::{CommentPosted, MovieViewed};
use balcony_domain::{CommentId, Event, MovieId, Recorded, Timestamp, UserId};
use balcony_event_log::{EventLog, Headers, Message};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Bytes of a comment's event.
const EVENT_BYTES: usize = 333;
/// The time of the first comment, in milliseconds since 1970.
const FIRST: i64 = 1_800_000_000_000;
const MOVIES: u32 = 1_000;
const AUTHORS: u32 = 10_000;
const VIEWS_A_MILLISECOND: u32 = 20;
/// Records on their way at a time.
const APPENDING: u32 = 512;

/// The text of every comment.
pub(crate) fn body() -> String {
    let empty = comment(0, String::new()).event.data().len();
    "The last battle, in the rain. ".chars().cycle().take(EVENT_BYTES - empty - 1).chain(['!']).collect()
}

/// The `index`th comment: half a millisecond after the one before, on another movie, by another author.
pub(crate) fn comment(index: u32, body: String) -> Recorded {
    let id = Uuid::now_v7();
    let time = Timestamp::from_milliseconds(FIRST + i64::from(index / 2)).expect("within four-digit years");
    let posted = CommentPosted {
        comment_id: CommentId(id),
        movie_id: MovieId(Uuid::from_u128(u128::from(index % MOVIES) << 64 | 1)),
        // A prime step, so that authors and movies meet in every pair.
        author_id: UserId(Uuid::from_u128(u128::from(index.wrapping_mul(7_919) % AUTHORS) << 64 | 2)),
        title: None,
        body,
    };
    Recorded { id, time, request_digest: None, traceparent: None, event: Event::CommentPosted(posted) }
}

/// The record of the `index`th comment, as the command API writes it.
pub(crate) fn message(index: u32, body: String) -> Message {
    rendered(&comment(index, body))
}

/// The `index`th view: a twentieth of a millisecond after the one before, of another movie.
fn view(index: u32) -> Recorded {
    let time = Timestamp::from_milliseconds(FIRST + i64::from(index / VIEWS_A_MILLISECOND)).expect("as above");
    let movie_id = MovieId(Uuid::from_u128(u128::from(index % MOVIES) << 64 | 1));
    let event = Event::MovieViewed(MovieViewed { movie_id, viewer_id: None });
    Recorded { id: Uuid::now_v7(), time, request_digest: None, traceparent: None, event }
}

fn rendered(recorded: &Recorded) -> Message {
    let mut headers = Headers::new();
    for (name, value) in recorded.headers() {
        headers.push(name, value.as_bytes());
    }
    let key = recorded.event.aggregate().to_string().into_bytes();
    Message { key, headers, payload: recorded.event.data() }
}

/// Appends so many comments to `topic`.
pub(crate) async fn append(log: &Arc<dyn EventLog>, topic: &Arc<str>, events: u32) -> anyhow::Result<()> {
    let body = body();
    append_each(log, topic, 0..events, move |index| message(index, body.clone())).await
}

/// Appends page views to `topic`, those of the numbers `indexes`.
pub(crate) async fn append_views(log: &Arc<dyn EventLog>, topic: &Arc<str>, indexes: Range<u32>) -> anyhow::Result<()> {
    append_each(log, topic, indexes, |index| rendered(&view(index))).await
}

async fn append_each(
    log: &Arc<dyn EventLog>,
    topic: &Arc<str>,
    indexes: Range<u32>,
    message: impl Fn(u32) -> Message + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for first in 0..APPENDING {
        let (log, topic, message) = (log.clone(), topic.clone(), message.clone());
        let indexes = indexes.clone();
        tasks.spawn(async move {
            for index in indexes.skip(first as usize).step_by(APPENDING as usize) {
                log.append(&topic, message(index)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(appended) = tasks.join_next().await {
        appended??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_size_that_is_claimed() {
        assert_eq!(message(7, body()).payload.len(), EVENT_BYTES);
        assert_eq!(body().trim(), body());
    }
}
