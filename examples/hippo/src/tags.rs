//! The tags of Balcony's comments, and the gateway that shows them beside what Balcony knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use balcony_event_log::Record;
use balcony_http::{PathId, Problem};
use balcony_projector::{Decode, Projection, Received};
use balcony_service::Upstream;
use balcony_store::{Json, ReadModel, Reader, StoreError, Tx, Uuid, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;

const TABLES: &str = "
CREATE TABLE tags (comment_id UUID NOT NULL PRIMARY KEY, author_id UUID NOT NULL, body JSONB NOT NULL);
CREATE INDEX tags_by_author ON tags (author_id, comment_id);";
/// Comments of one user that are shown.
const MOST: i64 = 100;

/// Remembers the newest tags of each comment.
pub(crate) struct Tags(ReadModel);

/// What the tagging step says of a comment.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Tagged {
    comment_id: Uuid,
    author_id: Uuid,
    language: String,
    score: i64,
    tags: Vec<String>,
}

#[derive(Clone)]
struct Gateway {
    reader: Reader,
    balcony: Upstream,
}

impl Tags {
    pub(crate) fn new(topic: Arc<str>) -> Self {
        Self(ReadModel::new("tags", 2, [topic], TABLES))
    }
}

impl Decode for Tagged {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        serde_json::from_slice(&record.payload).map(Some).map_err(|error| error.to_string())
    }
}

impl Projection for Tags {
    type Event = Tagged;

    fn read_model(&self) -> &ReadModel {
        &self.0
    }

    /// A comment that is tagged again has the tags that come last: its messages have one key.
    async fn apply(&self, all: &[Received<Tagged>], tx: &mut Tx) -> Result<(), StoreError> {
        let newest: BTreeMap<Uuid, &Tagged> = all.iter().map(|one| (one.comment_id, &**one)).collect();
        let body = |one: &Tagged| serde_json::to_value(one).expect("tags are plain JSON");
        let row = |one: &Tagged| [one.comment_id.into(), one.author_id.into(), body(one).into()];
        let rows: Vec<[Value<'_>; 3]> = newest.into_values().map(row).collect();
        let sql = "INSERT INTO tags (comment_id, author_id, body) VALUES $rows
                   ON CONFLICT (comment_id) DO UPDATE SET author_id = excluded.author_id, body = excluded.body";
        tx.execute_rows(sql, &rows).await.map(drop)
    }
}

/// What the gateway answers.
pub(crate) fn routes(reader: Reader, balcony: &str) -> Router {
    let gateway = Gateway { reader, balcony: Upstream::new("Balcony", balcony) };
    Router::new().route("/v1/comments/{id}/tags", get(tags)).route("/v1/users/{id}", get(user)).with_state(gateway)
}

/// The tags of a comment.
async fn tags(State(gateway): State<Gateway>, PathId(id): PathId<Uuid>) -> Result<axum::Json<Tagged>, Problem> {
    let tagged = gateway.tagged("WHERE comment_id = $1", id).await?.pop();
    tagged.map(axum::Json).ok_or_else(|| Problem::not_found("the comment has no tags"))
}

/// Who a user is and what one did, from Balcony; and the tags and scores of one's comments.
async fn user(
    State(gateway): State<Gateway>,
    PathId(id): PathId<Uuid>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let (profile, journey) = (format!("/v1/users/{id}"), format!("/v1/users/{id}/journey"));
    let known = tokio::try_join!(gateway.balcony.get(&profile), gateway.balcony.get(&journey))?;
    let (Some(profile), Some(journey)) = known else {
        return Err(Problem::not_found("Balcony does not know that user"));
    };
    let comments = gateway.tagged("WHERE author_id = $1 ORDER BY comment_id DESC", id).await?;
    let mut tags: BTreeMap<&str, u32> = BTreeMap::new();
    for tag in comments.iter().flat_map(|comment| &comment.tags) {
        *tags.entry(tag).or_default() += 1;
    }
    let score = comments.iter().map(|comment| comment.score).sum::<i64>();
    Ok(axum::Json(json!({ "profile": profile, "journey": journey, "tags": tags, "score": score, "scores": comments })))
}

impl Gateway {
    async fn tagged(&self, which: &str, id: Uuid) -> Result<Vec<Tagged>, Problem> {
        let sql = format!("SELECT body FROM tags {which} LIMIT $2");
        let rows: Vec<(Json<Tagged>,)> = self.reader.fetch(sql, &[id.into(), MOST.into()]).await?;
        Ok(rows.into_iter().map(|(Json(tagged),)| tagged).collect())
    }
}
