//! What is sent of comments.

use std::collections::HashMap;

use balcony_http::events::Frame;
use balcony_store::{Reader, StoreError};
use serde_json::json;
use uuid::Uuid;

use super::history::{Entry, What};
use crate::comment::{self, Comment, MaybeNamed};

/// What there is to send of some entries.
pub(super) struct Frames {
    /// For each entry; nothing of a comment that is deleted by now, or that names a movie or an author that is not there.
    pub(super) of_each: Vec<Option<Frame>>,
    /// Whether some name what is not there. A comment's movie and author come from other partitions than the comment, so
    /// this is believed only of a registry that has come to the log's end.
    pub(super) lack_names: bool,
}

/// What there is to send of `entries`.
pub(super) async fn of(reader: &Reader, entries: &[&Entry]) -> Result<Frames, StoreError> {
    let posted = entries.iter().filter_map(|entry| match entry.what {
        What::Posted(comment) => Some(comment.id),
        _ => None,
    });
    let rows = comment::standing_as_far(reader, &posted.collect::<Vec<_>>()).await?;
    let rows: HashMap<Uuid, MaybeNamed> = rows.into_iter().map(|row| (row.comment.id(), row)).collect();
    Ok(Frames {
        of_each: entries.iter().map(|entry| of_entry(entry, &rows)).collect(),
        lack_names: entries.iter().filter_map(|entry| post(entry, &rows)).any(|row| !row.is_named),
    })
}

/// The comment that `entry` posted, if it stands.
fn post<'a>(entry: &Entry, rows: &'a HashMap<Uuid, MaybeNamed>) -> Option<&'a MaybeNamed> {
    let What::Posted(comment) = entry.what else { return None };
    // A post that was repeated is not the one that counts.
    rows.get(&comment.id).filter(|row| row.comment.time_key().at == entry.at)
}

fn of_entry(entry: &Entry, rows: &HashMap<Uuid, MaybeNamed>) -> Option<Frame> {
    match entry.what {
        What::Posted(_) => {
            let row = post(entry, rows).filter(|row| row.is_named)?;
            let comment = Comment::try_from(row.comment.clone()).ok()?;
            Some(Frame::new("comment.posted", &comment))
        }
        What::Deleted(comment) => Some(Frame::new("comment.deleted", &json!({"id": comment.id}))),
        What::Favorite { .. } => None,
    }
}
