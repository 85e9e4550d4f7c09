//! The tags of Balcony's comments, and the gateway that shows them beside what Balcony knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use balcony_event_log::Record;
use balcony_http::{PathId, Problem};
use balcony_projector::{Decode, Projection, Received};
use balcony_store::{ReadModel, Reader, StoreError, Tx, Uuid, Value};
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};

const TABLES: &str = "
CREATE TABLE tags (comment_id UUID NOT NULL PRIMARY KEY, author_id UUID NOT NULL, language TEXT NOT NULL,
    score BIGINT NOT NULL, tags TEXT NOT NULL);
CREATE INDEX tags_by_author ON tags (author_id, comment_id);";
/// How long Balcony may take.
const PATIENCE: Duration = Duration::from_secs(10);
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
    balcony: Arc<str>,
    client: Client,
}

impl Tags {
    pub(crate) fn new(topic: Arc<str>) -> Self {
        Self(ReadModel::new("tags", 1, [topic], TABLES))
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
        let newest: BTreeMap<Uuid, &Tagged> = all.iter().map(|one| (one.comment_id, &one.value)).collect();
        let rows: Vec<[Value<'_>; 5]> = newest
            .into_values()
            .map(|one| {
                let tags = one.tags.join(" ");
                [
                    one.comment_id.into(),
                    one.author_id.into(),
                    one.language.as_str().into(),
                    one.score.into(),
                    tags.into(),
                ]
            })
            .collect();
        let sql = "INSERT INTO tags (comment_id, author_id, language, score, tags) VALUES $rows
                   ON CONFLICT (comment_id) DO UPDATE SET author_id = excluded.author_id, language = excluded.language,
                       score = excluded.score, tags = excluded.tags";
        tx.execute_rows(sql, &rows).await.map(drop)
    }
}

/// What the gateway answers.
pub(crate) fn routes(reader: Reader, balcony: &str) -> Router {
    let client = Client::builder().timeout(PATIENCE).build().expect("a client of no special kind");
    let gateway = Gateway { reader, balcony: balcony.trim_end_matches('/').into(), client };
    Router::new().route("/v1/comments/{id}/tags", get(tags)).route("/v1/users/{id}", get(user)).with_state(gateway)
}

/// The tags of a comment.
async fn tags(State(gateway): State<Gateway>, PathId(id): PathId<Uuid>) -> Result<Json<Tagged>, Problem> {
    let tagged = gateway.tagged("WHERE comment_id = $1", id).await?.pop();
    tagged.map(Json).ok_or_else(|| Problem::not_found("the comment has no tags"))
}

/// Who a user is and what one did, from Balcony; and the tags and scores of one's comments.
async fn user(State(gateway): State<Gateway>, PathId(id): PathId<Uuid>) -> Result<Json<serde_json::Value>, Problem> {
    let (profile, journey) = (gateway.ask(format!("/v1/users/{id}")), gateway.ask(format!("/v1/users/{id}/journey")));
    let (profile, journey) = tokio::try_join!(profile, journey)?;
    let comments = gateway.tagged("WHERE author_id = $1 ORDER BY comment_id DESC", id).await?;
    let mut tags: BTreeMap<&str, u32> = BTreeMap::new();
    for tag in comments.iter().flat_map(|comment| &comment.tags) {
        *tags.entry(tag).or_default() += 1;
    }
    let score: i64 = comments.iter().map(|comment| comment.score).sum();
    Ok(Json(serde_json::json!({
        "profile": profile, "journey": journey, "tags": tags, "score": score, "scores": comments,
    })))
}

impl Gateway {
    async fn tagged(&self, which: &str, id: Uuid) -> Result<Vec<Tagged>, Problem> {
        let sql = format!("SELECT comment_id, author_id, language, score, tags FROM tags {which} LIMIT $2");
        let rows: Vec<(Uuid, Uuid, String, i64, String)> = self.reader.fetch(sql, &[id.into(), MOST.into()]).await?;
        let tagged = |(comment_id, author_id, language, score, tags): (_, _, _, _, String)| {
            let tags = tags.split_whitespace().map(str::to_owned).collect();
            Tagged { comment_id, author_id, language, score, tags }
        };
        Ok(rows.into_iter().map(tagged).collect())
    }

    async fn ask(&self, path: String) -> Result<serde_json::Value, Problem> {
        let away =
            |error: reqwest::Error| Problem::unavailable(format!("Balcony does not answer: {}", error.without_url()));
        let answer = self.client.get(format!("{}{path}", self.balcony)).send().await.map_err(away)?;
        match answer.status() {
            StatusCode::NOT_FOUND => Err(Problem::not_found("Balcony does not know that user")),
            _ => answer.error_for_status().map_err(away)?.json().await.map_err(away),
        }
    }
}
