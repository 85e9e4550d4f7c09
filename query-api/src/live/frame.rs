//! Events as they are sent (WHATWG HTML, "Server-sent events").

use std::collections::HashMap;

use balcony_store::{Reader, StoreError};
use serde_json::json;
use uuid::Uuid;

use super::history::{Entry, What};
use crate::comment::{self, Comment, CommentRow};

/// An event without its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    name: &'static str,
    /// JSON, on one line.
    data: String,
}

impl Frame {
    /// Tells the client to load its list again: not everything that it has missed can be sent.
    pub(super) fn reset() -> Self {
        Self { name: "reset", data: "{}".to_owned() }
    }

    /// The counts of a series, in JSON.
    pub(super) fn stats(counts: &str) -> Self {
        Self { name: "stats", data: counts.to_owned() }
    }

    /// What is sent of `entries`; nothing of a comment that is deleted by now.
    pub(super) async fn of(reader: &Reader, entries: &[&Entry]) -> Result<Vec<Option<Self>>, StoreError> {
        let posted = entries.iter().filter_map(|entry| match entry.what {
            What::Posted(comment) => Some(comment.id),
            _ => None,
        });
        let rows = comment::standing(reader, &posted.collect::<Vec<_>>()).await?;
        let rows: HashMap<Uuid, CommentRow> = rows.into_iter().map(|row| (row.id(), row)).collect();
        Ok(entries.iter().map(|entry| Self::of_entry(entry, &rows)).collect())
    }

    fn of_entry(entry: &Entry, rows: &HashMap<Uuid, CommentRow>) -> Option<Self> {
        match entry.what {
            What::Posted(comment) => {
                let row = rows.get(&comment.id)?;
                // A post that was repeated is not the one that counts.
                if row.time_key().at != entry.at {
                    return None;
                }
                let comment = Comment::try_from(row.clone()).ok()?;
                let data = serde_json::to_string(&comment).expect("a comment is JSON");
                Some(Self { name: "comment.posted", data })
            }
            What::Deleted(comment) => {
                Some(Self { name: "comment.deleted", data: json!({"id": comment.id}).to_string() })
            }
            What::Favorite { .. } => None,
        }
    }

    /// The event as it is sent.
    pub(super) fn with_id(&self, id: &str) -> String {
        let Self { name, data } = self;
        format!("id: {id}\nevent: {name}\ndata: {data}\n\n")
    }
}

/// What keeps proxies awake: a comment, and after a quiet while how far the stream has come, which a client that
/// comes again then sends.
pub(super) fn heartbeat(id: Option<&str>) -> String {
    match id {
        Some(id) => format!(":\nid: {id}\n\n"),
        None => ":\n\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_an_id_a_name_and_its_data_on_one_line() {
        assert_eq!(Frame::reset().with_id("AQ"), "id: AQ\nevent: reset\ndata: {}\n\n");
        let text = json!({"body": "one\r\ntwo\u{2028}three"}).to_string();
        assert!(!text.contains(['\n', '\r']), "{text}");
    }

    #[test]
    fn a_heartbeat_is_a_comment_and_no_event() {
        assert_eq!(heartbeat(None), ":\n\n");
        assert_eq!(heartbeat(Some("AQ")), ":\nid: AQ\n\n");
    }
}
