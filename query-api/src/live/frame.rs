//! What is sent of comments.

use std::collections::HashMap;

use balcony_http::events::Frame;
use balcony_store::{Reader, StoreError};
use serde_json::json;
use uuid::Uuid;

use super::history::{Entry, What};
use crate::comment::{self, Comment, CommentRow};

/// What is sent of `entries`; nothing of a comment that is deleted by now.
pub(super) async fn of(reader: &Reader, entries: &[&Entry]) -> Result<Vec<Option<Frame>>, StoreError> {
    let posted = entries.iter().filter_map(|entry| match entry.what {
        What::Posted(comment) => Some(comment.id),
        _ => None,
    });
    let rows = comment::standing(reader, &posted.collect::<Vec<_>>()).await?;
    let rows: HashMap<Uuid, CommentRow> = rows.into_iter().map(|row| (row.id(), row)).collect();
    Ok(entries.iter().map(|entry| of_entry(entry, &rows)).collect())
}

fn of_entry(entry: &Entry, rows: &HashMap<Uuid, CommentRow>) -> Option<Frame> {
    match entry.what {
        What::Posted(comment) => {
            let row = rows.get(&comment.id)?;
            // A post that was repeated is not the one that counts.
            if row.time_key().at != entry.at {
                return None;
            }
            let comment = Comment::try_from(row.clone()).ok()?;
            Some(Frame::new("comment.posted", &comment))
        }
        What::Deleted(comment) => Some(Frame::new("comment.deleted", &json!({"id": comment.id}))),
        What::Favorite { .. } => None,
    }
}
