use std::collections::{BTreeMap, HashMap};

use balcony_domain::event::{CommentDeleted, CommentPosted};
use balcony_domain::{Event, Topics, UserId, may_delete_comment};
use balcony_projector::{Projection, Received};
use balcony_store::{ReadModel, StoreError, Tx, Value};
use uuid::Uuid;

use crate::Logged;

/// Comments in time order, all, by movie and by author, and how many each movie has.
pub struct Comments {
    model: ReadModel,
}

/// Changes of the number of comments, by movie and partition of the log.
type Counts = BTreeMap<(Uuid, i32), i64>;

impl Comments {
    /// The name of the read model.
    pub const NAME: &'static str = "comments";

    /// The projection of the facts in `topics`.
    pub fn new(topics: &Topics) -> Self {
        Self {
            model: ReadModel::new(Self::NAME, 1, [topics.facts.clone()], include_str!("../../migrations/comments.sql")),
        }
    }
}

impl Projection for Comments {
    type Event = Logged;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    /// A post and its deletion have the same key, so the deletion always comes later: all posts of a batch may go
    /// before all its deletions.
    async fn apply(&self, events: &[Received<Logged>], tx: &mut Tx) -> Result<(), StoreError> {
        let mut posts = Vec::new();
        let mut deletions = Vec::new();
        for received in events {
            match &received.event {
                Event::CommentPosted(post) => posts.push((received, post)),
                Event::CommentDeleted(deletion) => deletions.push((received, deletion)),
                _ => {}
            }
        }
        let mut counts = Counts::new();
        insert(&posts, &mut counts, tx).await?;
        delete(&deletions, &mut counts, tx).await?;
        count(counts, tx).await
    }
}

type Found<'a, E> = (&'a Received<Logged>, &'a E);

async fn insert(posts: &[Found<'_, CommentPosted>], counts: &mut Counts, tx: &mut Tx) -> Result<(), StoreError> {
    let rows: Vec<[Value<'_>; 6]> = posts
        .iter()
        .map(|(received, post)| {
            [
                post.comment_id.0.into(),
                post.movie_id.0.into(),
                post.author_id.0.into(),
                post.title.as_deref().into(),
                post.body.as_str().into(),
                received.time.milliseconds().into(),
            ]
        })
        .collect();
    let columns = ["id", "movie_id", "author_id", "title", "body", "posted_at"];
    let inserted = tx.insert_new("comments", &["id"], columns, &rows).await?;
    for ((received, post), _) in posts.iter().zip(inserted).filter(|(_, inserted)| *inserted) {
        *counts.entry((post.movie_id.0, received.partition.partition)).or_default() += 1;
    }
    Ok(())
}

async fn delete(deletions: &[Found<'_, CommentDeleted>], counts: &mut Counts, tx: &mut Tx) -> Result<(), StoreError> {
    if deletions.is_empty() {
        return Ok(());
    }
    let ids: Vec<[Value<'_>; 1]> = deletions.iter().map(|(_, deletion)| [deletion.comment_id.0.into()]).collect();
    let standing: Vec<(Uuid, Uuid, Uuid)> = tx
        .fetch_rows(
            "SELECT id, author_id, movie_id FROM comments WHERE deleted_at IS NULL AND id IN (VALUES $rows)",
            &ids,
        )
        .await?;
    let mut standing: HashMap<Uuid, (UserId, Uuid)> =
        standing.into_iter().map(|(id, author, movie)| (id, (UserId(author), movie))).collect();

    let mut rows: Vec<[Value<'_>; 2]> = Vec::new();
    for (received, deletion) in deletions {
        let id = deletion.comment_id.0;
        let Some(&(author, movie)) = standing.get(&id) else { continue };
        if may_delete_comment(author, deletion.deleted_by, deletion.role) {
            standing.remove(&id);
            rows.push([id.into(), received.time.milliseconds().into()]);
            *counts.entry((movie, received.partition.partition)).or_default() -= 1;
        }
    }
    tx.execute_rows(
        "WITH gone (id, deleted_at) AS (VALUES $rows)
         UPDATE comments SET title = NULL, body = '', deleted_at = gone.deleted_at
         FROM gone WHERE comments.id = gone.id",
        &rows,
    )
    .await?;
    Ok(())
}

async fn count(counts: Counts, tx: &mut Tx) -> Result<(), StoreError> {
    let rows: Vec<[Value<'_>; 3]> = counts
        .into_iter()
        .map(|((movie, partition), change)| [movie.into(), partition.into(), change.into()])
        .collect();
    tx.execute_rows(
        "INSERT INTO comment_counts (movie_id, partition, comments) VALUES $rows
         ON CONFLICT (movie_id, partition) DO UPDATE SET comments = comment_counts.comments + excluded.comments",
        &rows,
    )
    .await?;
    Ok(())
}
