//! What the read models must hold: a plain fold of the log, written without looking at the projections.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use balcony_domain::{Event, Recorded, Role};
use balcony_event_log::{Delivery, EventLog, Positions, TopicPartition};
use sqlx::{Executor, FromRow};
use uuid::Uuid;

use crate::client::eventually;
use crate::deployment::Deployment;

/// How long everything in these tests may take to be caught up with.
const CATCH_UP: Duration = Duration::from_secs(120);

/// The state that the events of a log lead to.
#[derive(Debug, Default)]
pub struct Fold {
    /// Movie, author and whether it was deleted, by comment.
    pub comments: BTreeMap<Uuid, (Uuid, Uuid, bool)>,
    /// Standing comments by movie.
    pub counts: BTreeMap<Uuid, i64>,
    pub users: BTreeMap<Uuid, String>,
    pub favorites: BTreeSet<(Uuid, Uuid)>,
}

impl Fold {
    /// Checks that the read models `found` hold exactly this, and names the first thing that differs.
    #[track_caller]
    pub fn assert_is(&self, found: &Self) {
        let difference = None
            .or_else(|| first_difference("comment", &self.comments, &found.comments))
            .or_else(|| first_difference("count of movie", &self.standing_counts(), &found.standing_counts()))
            .or_else(|| first_difference("user", &self.users, &found.users));
        assert_eq!(difference, None);
        let difference = self.favorites.symmetric_difference(&found.favorites).next();
        assert_eq!(difference, None, "a favourite that is in one alone");
    }

    /// A movie whose comments are all gone may have a count of nothing, or none.
    fn standing_counts(&self) -> BTreeMap<Uuid, i64> {
        self.counts.iter().filter(|(_, count)| **count != 0).map(|(movie, count)| (*movie, *count)).collect()
    }

    /// Reads a log to its end.
    pub async fn of(log: &dyn EventLog, topic: &std::sync::Arc<str>) -> (Self, Positions) {
        let ends = log.ends(std::slice::from_ref(topic)).await.unwrap();
        let from: Positions = ends.partitions().map(|partition| (partition.clone(), 0)).collect();
        let mut reader = log.read(from);
        let mut fold = Self::default();
        let mut reached = Positions::new();
        while !reached.covers(&ends) {
            if let Delivery::Records(batch) = reader.next().await.unwrap() {
                reached.merge(&batch.reached);
                for record in &batch.records {
                    let decoded = Recorded::decode(|name| record.headers.get(name), &record.payload);
                    if let Ok(Some(recorded)) = decoded {
                        fold.add(recorded.event);
                    }
                }
            }
        }
        (fold, ends)
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::CommentPosted(post) => {
                let movie = post.movie_id.0;
                self.comments.entry(post.comment_id.0).or_insert_with(|| {
                    *self.counts.entry(movie).or_default() += 1;
                    (movie, post.author_id.0, false)
                });
            }
            Event::CommentDeleted(deletion) => {
                if let Some((movie, author, deleted)) = self.comments.get_mut(&deletion.comment_id.0)
                    && !*deleted
                    && (*author == deletion.deleted_by.0 || deletion.role != Role::User)
                {
                    *deleted = true;
                    *self.counts.entry(*movie).or_default() -= 1;
                }
            }
            Event::ProfileChanged(profile) if profile.initial => {
                self.users.entry(profile.user_id.0).or_insert(profile.display_name);
            }
            Event::ProfileChanged(profile) => {
                self.users.insert(profile.user_id.0, profile.display_name);
            }
            Event::UserFavorited(pair) => {
                self.favorites.insert((pair.follower_id.0, pair.followee_id.0));
            }
            Event::UserUnfavorited(pair) => {
                self.favorites.remove(&(pair.follower_id.0, pair.followee_id.0));
            }
            _ => {}
        }
    }

    /// What the read models in PostgreSQL hold.
    pub async fn in_postgres(deployment: &Deployment) -> Self {
        let mut database = deployment.database().await;
        Self::read(&mut database, ["comments_1.", "registry_1.", "favorites_1."]).await
    }

    async fn read<'c, E, D>(database: &'c mut E, [comments, registry, favorites]: [&str; 3]) -> Self
    where
        D: sqlx::Database,
        for<'a> &'a mut E: Executor<'a, Database = D>,
        (Uuid, Uuid, Uuid, i64): for<'r> FromRow<'r, D::Row>,
        (Uuid, i64): for<'r> FromRow<'r, D::Row>,
        (Uuid, String): for<'r> FromRow<'r, D::Row>,
        (Uuid, Uuid): for<'r> FromRow<'r, D::Row>,
        <D as sqlx::Database>::Arguments: sqlx::IntoArguments<D>,
    {
        let sql = |text: String| sqlx::AssertSqlSafe(text);
        let deleted = "CAST(CASE WHEN deleted_at IS NULL THEN 0 ELSE 1 END AS BIGINT)";
        let rows: Vec<(Uuid, Uuid, Uuid, i64)> =
            sqlx::query_as(sql(format!("SELECT id, movie_id, author_id, {deleted} FROM {comments}comments")))
                .fetch_all(&mut *database)
                .await
                .unwrap();
        let comments_by_id: BTreeMap<_, _> =
            rows.iter().map(|&(id, movie, author, deleted)| (id, (movie, author, deleted == 1))).collect();
        assert_eq!(rows.len(), comments_by_id.len(), "no comment is there twice");
        let authors: Vec<(Uuid, Uuid)> =
            sqlx::query_as(sql(format!("SELECT comment_id, author_id FROM {registry}comment_authors")))
                .fetch_all(&mut *database)
                .await
                .unwrap();
        let authors: BTreeMap<_, _> = authors.into_iter().collect();
        assert_eq!(authors, rows.iter().map(|&(id, _, author, _)| (id, author)).collect(), "the registry agrees");
        let counts: Vec<(Uuid, i64)> = sqlx::query_as(sql(format!(
            "SELECT movie_id, CAST(SUM(comments) AS BIGINT) FROM {comments}comment_counts GROUP BY movie_id"
        )))
        .fetch_all(&mut *database)
        .await
        .unwrap();
        let users: Vec<(Uuid, String)> = sqlx::query_as(sql(format!("SELECT id, display_name FROM {registry}users")))
            .fetch_all(&mut *database)
            .await
            .unwrap();
        let pairs: Vec<(Uuid, Uuid)> =
            sqlx::query_as(sql(format!("SELECT follower_id, followee_id FROM {favorites}favorites")))
                .fetch_all(&mut *database)
                .await
                .unwrap();
        Self {
            comments: comments_by_id,
            counts: counts.into_iter().collect(),
            users: users.into_iter().collect(),
            favorites: pairs.into_iter().collect(),
        }
    }

    /// What the read models in the data folder hold, while nobody writes them.
    pub async fn in_sqlite(data_dir: &std::path::Path) -> Self {
        use sqlx::Connection as _;

        let file = |name: &str| format!("sqlite:{}", data_dir.join("read-models").join(name).display());
        let mut database = sqlx::SqliteConnection::connect(&file("comments_1.db")).await.unwrap();
        for name in ["registry_1", "favorites_1"] {
            let path = data_dir.join("read-models").join(format!("{name}.db"));
            let attach = format!("ATTACH '{}' AS {name}", path.display());
            sqlx::raw_sql(sqlx::AssertSqlSafe(attach)).execute(&mut database).await.unwrap();
        }
        Self::read(&mut database, ["", "registry_1.", "favorites_1."]).await
    }
}

fn first_difference<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &BTreeMap<Uuid, T>,
    found: &BTreeMap<Uuid, T>,
) -> Option<String> {
    let ids: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let id = ids.into_iter().find(|id| expected.get(id) != found.get(id))?;
    let numbers = (expected.len(), found.len());
    Some(format!("{what} {id}: expected {:?}, found {:?}, of {numbers:?}", expected.get(id), found.get(id)))
}

/// Waits until every read model in PostgreSQL has come to `ends`.
pub async fn caught_up(deployment: &Deployment, ends: &Positions) {
    let mut database = deployment.database().await;
    for namespace in ["comments_1", "registry_1", "favorites_1"] {
        eventually(&format!("{namespace} catches up"), CATCH_UP, async || {
            let sql = format!("SELECT topic, partition, next_offset FROM {namespace}.checkpoints");
            let rows: Vec<(String, i64, i64)> =
                sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&mut database).await.ok()?;
            let reached: Positions = rows
                .into_iter()
                .map(|(topic, partition, next)| (TopicPartition::new(topic, i32::try_from(partition).unwrap()), next))
                .collect();
            reached.covers(ends).then_some(())
        })
        .await;
    }
}

#[test]
fn the_fold_tells_a_wrong_read_model_from_a_right_one() {
    use balcony_domain::event::{CommentDeleted, CommentPosted};
    use balcony_domain::{CommentId, MovieId, UserId};

    let id = Uuid::from_u128;
    let post = Event::CommentPosted(CommentPosted {
        comment_id: CommentId(id(1)),
        movie_id: MovieId(id(2)),
        author_id: UserId(id(3)),
        title: None,
        body: "x".into(),
    });
    let by_another = Event::CommentDeleted(CommentDeleted {
        comment_id: CommentId(id(1)),
        deleted_by: UserId(id(4)),
        role: Role::User,
    });
    let mut fold = Fold::default();
    for event in [post.clone(), post, by_another.clone()] {
        fold.add(event);
    }
    assert_eq!(fold.counts[&id(2)], 1);
    let Event::CommentDeleted(mut deletion) = by_another else { unreachable!() };
    deletion.role = Role::Moderator;
    fold.add(Event::CommentDeleted(deletion));
    assert_eq!((fold.counts[&id(2)], fold.comments[&id(1)].2), (0, true));
    fold.assert_is(&Fold { comments: fold.comments.clone(), ..Fold::default() });
    assert!(std::panic::catch_unwind(|| fold.assert_is(&Fold::default())).is_err());
}
