//! What the read models must hold: a plain fold of the log, written without looking at the projections.

use std::collections::{BTreeMap, BTreeSet};

use balcony_domain::{Event, Recorded, Role};
use balcony_event_log::{EventLog, Excerpt, Positions};
use uuid::Uuid;

use crate::deployment::Deployment;
use crate::read_models::ReadModels;

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
        let mut all = Excerpt::between(log, Positions::new(), ends.clone());
        let mut fold = Self::default();
        while let Some(records) = all.next().await.unwrap() {
            for record in &records {
                let decoded = Recorded::decode(|name| record.headers.get(name), &record.payload);
                if let Ok(Some(recorded)) = decoded {
                    fold.add(recorded.event);
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

    /// What the live generations hold.
    pub async fn read(read_models: &ReadModels) -> Self {
        let rows: Vec<(Uuid, Uuid, Uuid, i64)> = read_models
            .fetch(
                "comments",
                "SELECT id, movie_id, author_id, CAST(CASE WHEN deleted_at IS NULL THEN 0 ELSE 1 END AS BIGINT)
                 FROM comments",
            )
            .await;
        let comments: BTreeMap<_, _> =
            rows.iter().map(|&(id, movie, author, deleted)| (id, (movie, author, deleted == 1))).collect();
        assert_eq!(rows.len(), comments.len(), "no comment is there twice");
        let authors: Vec<(Uuid, Uuid)> =
            read_models.fetch("registry", "SELECT comment_id, author_id FROM comment_authors").await;
        let authors: BTreeMap<_, _> = authors.into_iter().collect();
        assert_eq!(authors, rows.iter().map(|&(id, _, author, _)| (id, author)).collect(), "the registry agrees");
        let counts: Vec<(Uuid, i64)> = read_models
            .fetch("comments", "SELECT movie_id, CAST(SUM(comments) AS BIGINT) FROM comment_counts GROUP BY movie_id")
            .await;
        let users: Vec<(Uuid, String)> = read_models.fetch("registry", "SELECT id, display_name FROM users").await;
        let pairs: Vec<(Uuid, Uuid)> =
            read_models.fetch("favorites", "SELECT follower_id, followee_id FROM favorites").await;
        Self {
            comments,
            counts: counts.into_iter().collect(),
            users: users.into_iter().collect(),
            favorites: pairs.into_iter().collect(),
        }
    }
}

/// Waits until the read models have come to the log's end, and checks that they hold what a plain fold of it does,
/// which it gives.
pub async fn equals_a_fold(deployment: &Deployment) -> Fold {
    let log = deployment.log_beside().await.expect("a log");
    let (fold, ends) = Fold::of(log.as_ref(), &deployment.topics().facts).await;
    let read_models = ReadModels::of(deployment).await;
    read_models.caught_up(&["comments", "registry", "favorites"], &ends).await;
    fold.assert_is(&Fold::read(&read_models).await);
    fold
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
