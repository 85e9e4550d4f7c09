//! Balcony's own projections: every schedule leaves the same rows, and they are those that a plain fold of the events
//! gives.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use balcony_domain::event::{
    CommentDeleted, CommentPosted, CompanyRegistered, CompanyUnsubscribed, MovieRegistered, MovieViewed,
    ProfileChanged, UserFavorited, UserUnfavorited,
};
use balcony_domain::{CommentId, CompanyId, Event, MovieId, Recorded, Role, Timestamp, Topics, UserId};
use balcony_projector::Projection;
use balcony_projector::testkit::{Applied, Scenario};
use balcony_read_models::{Comments, Favorites, Journeys, Logged, Registry, Statistics};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

/// Histories that each projection is given, and schedules for each.
const HISTORIES: u64 = 2;
const SCHEDULES: u64 = 8;

fn topics() -> Topics {
    Topics::with_prefix("balcony.")
}

/// Draws what happens, with everything that may: the same thing posted again, deletions by who may and who may not,
/// favourites that were so before.
struct History {
    dice: StdRng,
    ids: u128,
    movies: Vec<Uuid>,
    companies: Vec<Uuid>,
    users: Vec<Uuid>,
    comments: Vec<(Uuid, Uuid)>,
    events: Vec<Recorded>,
}

impl History {
    fn drawn(seed: u64, length: usize) -> Vec<Recorded> {
        let dice = StdRng::seed_from_u64(seed);
        let mut history = Self {
            dice,
            ids: 0,
            movies: Vec::new(),
            companies: Vec::new(),
            users: Vec::new(),
            comments: Vec::new(),
            events: Vec::new(),
        };
        history.users = (0..5).map(|_| history.new_id()).collect();
        history.companies = vec![history.new_id(), history.new_id()];
        history.movies = (0..3).map(|_| history.new_id()).collect();
        while history.events.len() < length {
            history.happen();
        }
        history.events
    }

    fn happen(&mut self) {
        let id = self.new_id();
        let user = UserId(pick(&mut self.dice, &self.users));
        let kind = self.dice.random_range(0..100);
        let event = match kind {
            0..40 => {
                self.comments.push((id, user.0));
                let movie_id = MovieId(pick(&mut self.dice, &self.movies));
                let title = self.dice.random_bool(0.5).then(|| format!("title {kind}"));
                let body = format!("body {}", self.ids);
                Event::CommentPosted(CommentPosted {
                    comment_id: CommentId(id),
                    movie_id,
                    author_id: user,
                    title,
                    body,
                })
            }
            40..60 if !self.comments.is_empty() => {
                let (comment, author) = pick(&mut self.dice, &self.comments);
                let role = [Role::User, Role::User, Role::Moderator, Role::Admin][self.dice.random_range(0..4)];
                let deleted_by = if self.dice.random_bool(0.5) { UserId(author) } else { user };
                Event::CommentDeleted(CommentDeleted { comment_id: CommentId(comment), deleted_by, role })
            }
            60..72 => {
                let followee_id = UserId(pick(&mut self.dice, &self.users));
                Event::UserFavorited(UserFavorited { follower_id: user, followee_id })
            }
            72..80 => {
                let followee_id = UserId(pick(&mut self.dice, &self.users));
                Event::UserUnfavorited(UserUnfavorited { follower_id: user, followee_id })
            }
            80..88 => Event::ProfileChanged(ProfileChanged {
                user_id: user,
                display_name: format!("name {}", self.ids),
                about: self.dice.random_bool(0.5).then(|| "about".into()),
                location: self.dice.random_bool(0.5).then(|| "Oslo".into()),
                initial: self.dice.random_bool(0.5),
            }),
            88..94 => {
                let movie_id = MovieId(pick(&mut self.dice, &self.movies));
                Event::MovieViewed(MovieViewed { movie_id, viewer_id: self.dice.random_bool(0.5).then_some(user) })
            }
            94..97 => {
                let movie_id = MovieId(pick(&mut self.dice, &self.movies));
                let company_id = self.dice.random_bool(0.5).then(|| CompanyId(pick(&mut self.dice, &self.companies)));
                let released_on = self.dice.random_bool(0.5).then(|| "1954-04-26".into());
                let title = format!("movie {}", self.ids);
                Event::MovieRegistered(MovieRegistered { movie_id, title, company_id, released_on })
            }
            97 => {
                let company_id = CompanyId(pick(&mut self.dice, &self.companies));
                Event::CompanyUnsubscribed(CompanyUnsubscribed { company_id })
            }
            _ => Event::CompanyRegistered(CompanyRegistered {
                company_id: CompanyId(pick(&mut self.dice, &self.companies)),
                name: format!("company {}", self.ids),
                contact_email: pick(&mut self.dice, &["press@company.example", "press@Bücher.EXAMPLE"]).into(),
            }),
        };
        let time = Timestamp::from_milliseconds(self.dice.random_range(0..1_000)).unwrap();
        let request_digest = self.dice.random_bool(0.3).then(|| format!("digest {}", self.ids));
        let recorded = Recorded { id, time, request_digest, traceparent: None, event };
        self.repeat(&recorded);
        self.events.push(recorded);
    }

    /// What makes something new may stand in the log again later: under its id and key, with another time, and with
    /// another content when two instances took two requests under one key.
    fn repeat(&mut self, recorded: &Recorded) {
        let earlier: Vec<&Recorded> = self.events.iter().filter(|earlier| is_keyed(&earlier.event)).collect();
        if earlier.is_empty() || !self.dice.random_bool(0.15) {
            return;
        }
        let mut again = pick(&mut self.dice, &earlier).clone();
        again.time = recorded.time;
        if let Event::CommentPosted(post) = &mut again.event
            && self.dice.random_bool(0.3)
        {
            post.body.push_str(", in other words");
            again.request_digest = Some("another digest".into());
        }
        self.events.push(again);
    }

    fn new_id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::new_v5(&Uuid::NAMESPACE_OID, &self.ids.to_be_bytes())
    }
}

/// Whether the event may have been made under an idempotency key.
fn is_keyed(event: &Event) -> bool {
    matches!(event, Event::CommentPosted(_) | Event::MovieRegistered(_) | Event::CompanyRegistered(_))
}

fn pick<T: Clone>(dice: &mut StdRng, choices: &[T]) -> T {
    choices[dice.random_range(0..choices.len())].clone()
}

/// Applies histories to the projection that `make` gives, and hands over what came of each with the events that it
/// reads.
async fn of_histories<P: Projection>(
    make: impl Fn(&Topics) -> P + Clone + Send + Sync + 'static,
    check: impl AsyncFn(Applied, &[Recorded]),
) {
    let model = make(&topics()).read_model().clone();
    for seed in 0..HISTORIES {
        // The last is long enough for the database's bulk path.
        let length = if seed + 1 == HISTORIES { 160 } else { 50 };
        let mut history = History::drawn(seed, length);
        history.retain(|recorded| model.topics.contains(topics().of(&recorded.event)));
        assert!(!history.is_empty(), "{} has something to read", model.name);
        let make = make.clone();
        let scenario = Scenario::of(move || make(&topics()))
            .given(history.iter().map(|recorded| Logged(recorded.clone()).message()));
        // Statistics keep how far they have counted, which a repeated record moves on.
        let scenario = if *model.name == *Statistics::NAME { scenario } else { scenario.with_repetitions() };
        check(scenario.every_schedule(SCHEDULES).await, &history).await;
    }
}

#[tokio::test]
async fn comments_are_as_the_fold_has_them() {
    type Comment = (Uuid, Uuid, Uuid, Option<String>, String, i64, Option<i64>);

    of_histories(Comments::new, async |applied, history| {
        let mut comments: BTreeMap<Uuid, Comment> = BTreeMap::new();
        for Recorded { time, event, .. } in history {
            let at = time.milliseconds();
            match event.clone() {
                Event::CommentPosted(CommentPosted { comment_id, movie_id, author_id, title, body }) => {
                    let comment = (comment_id.0, movie_id.0, author_id.0, title, body, at, None);
                    comments.entry(comment_id.0).or_insert(comment);
                }
                Event::CommentDeleted(CommentDeleted { comment_id, deleted_by, role }) => {
                    let comment = comments.get_mut(&comment_id.0).filter(|comment| comment.6.is_none());
                    if let Some(comment) = comment.filter(|comment| comment.2 == deleted_by.0 || role != Role::User) {
                        *comment = (comment.0, comment.1, comment.2, None, String::new(), comment.5, Some(at));
                    }
                }
                _ => {}
            }
        }
        let mut counts: BTreeMap<Uuid, i64> = BTreeMap::new();
        for (_, movie, .., deleted_at) in comments.values() {
            *counts.entry(*movie).or_default() += i64::from(deleted_at.is_none());
        }
        let expected: Vec<Comment> = comments.into_values().collect();
        let sql = "SELECT id, movie_id, author_id, title, body, posted_at, deleted_at FROM comments ORDER BY id";
        applied.expect_rows(sql, expected).await;
        let sql = "SELECT movie_id, CAST(SUM(comments) AS BIGINT) FROM comment_counts
                   GROUP BY movie_id ORDER BY movie_id";
        applied.expect_rows(sql, counts.into_iter().collect::<Vec<_>>()).await;
    })
    .await;
}

#[tokio::test]
async fn the_registry_is_as_the_fold_has_it() {
    type User = (Uuid, String, Vec<u8>, Option<String>, Option<String>, i64);

    of_histories(Registry::new, async |applied, history| {
        let mut companies = BTreeMap::new();
        let mut unsubscriptions: BTreeMap<Uuid, i64> = BTreeMap::new();
        let mut movies = BTreeMap::new();
        let mut users: BTreeMap<Uuid, User> = BTreeMap::new();
        let mut authors: BTreeMap<Uuid, (Uuid, Uuid, Option<i64>)> = BTreeMap::new();
        let mut requests = BTreeMap::new();
        for Recorded { id, time, request_digest, event, .. } in history {
            let at = time.milliseconds();
            if let Some(digest) = request_digest.clone() {
                requests.entry(*id).or_insert((*id, digest));
            }
            match event.clone() {
                Event::CompanyRegistered(CompanyRegistered { company_id: CompanyId(id), name, contact_email }) => {
                    let is_spelled = contact_email == "press@Bücher.EXAMPLE";
                    let mailbox = if is_spelled { "press@xn--bcher-kva.example".into() } else { contact_email.clone() };
                    companies.entry(id).or_insert((id, name, contact_email, mailbox, at));
                }
                Event::CompanyUnsubscribed(CompanyUnsubscribed { company_id }) => {
                    let last = unsubscriptions.entry(company_id.0).or_insert(at);
                    *last = at.max(*last);
                }
                Event::MovieRegistered(MovieRegistered { movie_id: MovieId(id), title, company_id, released_on }) => {
                    movies.entry(id).or_insert((id, title, company_id.map(Uuid::from), released_on, at));
                }
                Event::ProfileChanged(profile) => {
                    let id = profile.user_id.0;
                    if !profile.initial || !users.contains_key(&id) {
                        let registered_at = users.get(&id).map_or(at, |user| user.5);
                        let key = profile.display_name.clone().into_bytes();
                        let user = (id, profile.display_name, key, profile.about, profile.location, registered_at);
                        users.insert(id, user);
                    }
                }
                Event::CommentPosted(post) => {
                    authors.entry(post.comment_id.0).or_insert((post.comment_id.0, post.author_id.0, None));
                }
                Event::CommentDeleted(CommentDeleted { comment_id, deleted_by, role }) => {
                    if let Some((_, author, deleted_at)) = authors.get_mut(&comment_id.0)
                        && (*author == deleted_by.0 || role != Role::User)
                    {
                        deleted_at.get_or_insert(at);
                    }
                }
                _ => {}
            }
        }
        let sql = "SELECT id, name, contact_email, mailbox, registered_at FROM companies ORDER BY id";
        applied.expect_rows(sql, companies.into_values().collect::<Vec<_>>()).await;
        let sql = "SELECT company_id, unsubscribed_at FROM unsubscriptions ORDER BY company_id";
        applied.expect_rows(sql, unsubscriptions.into_iter().collect::<Vec<_>>()).await;
        let sql = "SELECT id, title, company_id, released_on, registered_at FROM movies ORDER BY id";
        applied.expect_rows(sql, movies.into_values().collect::<Vec<_>>()).await;
        let sql = "SELECT id, display_name, display_name_key, about, location, registered_at FROM users ORDER BY id";
        applied.expect_rows(sql, users.into_values().collect::<Vec<_>>()).await;
        let sql = "SELECT comment_id, author_id, deleted_at FROM comment_authors ORDER BY comment_id";
        applied.expect_rows(sql, authors.into_values().collect::<Vec<_>>()).await;
        let sql = "SELECT id, digest FROM requests ORDER BY id";
        applied.expect_rows(sql, requests.into_values().collect::<Vec<_>>()).await;
    })
    .await;
}

#[tokio::test]
async fn favorites_are_as_the_fold_has_them() {
    of_histories(Favorites::new, async |applied, history| {
        let mut favorites: BTreeMap<(Uuid, Uuid), i64> = BTreeMap::new();
        for Recorded { time, event, .. } in history {
            match event {
                Event::UserFavorited(pair) if pair.follower_id != pair.followee_id => {
                    favorites.entry((pair.follower_id.0, pair.followee_id.0)).or_insert(time.milliseconds());
                }
                Event::UserUnfavorited(pair) => {
                    favorites.remove(&(pair.follower_id.0, pair.followee_id.0));
                }
                _ => {}
            }
        }
        let expected: Vec<_> = favorites.into_iter().map(|((one, other), since)| (one, other, since)).collect();
        let sql = "SELECT follower_id, followee_id, favorited_at FROM favorites ORDER BY follower_id, followee_id";
        applied.expect_rows(sql, expected).await;
    })
    .await;
}

#[tokio::test]
async fn journeys_have_every_step_once_and_one_registration() {
    of_histories(Journeys::new, async |applied, history| {
        let mut steps = BTreeMap::new();
        let (mut met, mut favorites) = (BTreeSet::new(), BTreeSet::new());
        for Recorded { id, time, event, .. } in history {
            // A wish that changes nothing is no step.
            let is_step = match event {
                _ if !met.insert(*id) => false,
                Event::UserFavorited(pair) => favorites.insert((pair.follower_id, pair.followee_id)),
                Event::UserUnfavorited(pair) => favorites.remove(&(pair.follower_id, pair.followee_id)),
                _ => true,
            };
            if !is_step {
                continue;
            }
            let (user, kind) = match event {
                Event::ProfileChanged(change) if change.initial => (change.user_id, "registered"),
                Event::ProfileChanged(change) => (change.user_id, "profile.changed"),
                Event::CommentPosted(post) => (post.author_id, "comment.posted"),
                Event::CommentDeleted(deletion) => (deletion.deleted_by, "comment.deleted"),
                Event::UserFavorited(pair) => (pair.follower_id, "user.favorited"),
                Event::UserUnfavorited(pair) => (pair.follower_id, "user.unfavorited"),
                _ => continue,
            };
            // A comment that somebody deletes again was deleted once.
            let id = match event {
                Event::CommentDeleted(deletion) => deletion.comment_id.0,
                _ if kind == "registered" => user.0,
                _ => *id,
            };
            steps.entry((id, user.0, kind)).or_insert((id, user.0, time.milliseconds(), kind.to_owned()));
        }
        let sql = "SELECT CASE kind WHEN 'registered' THEN user_id WHEN 'comment.deleted' THEN comment_id ELSE id END,
                       user_id, at, kind
                   FROM journey_entries ORDER BY 1, 2, 3";
        let mut steps: Vec<(Uuid, Uuid, i64, String)> = steps.into_values().collect();
        steps.sort_unstable();
        applied.expect_rows(sql, steps).await;

        let mut views: BTreeMap<Uuid, (Uuid, Uuid, i64, Uuid)> = BTreeMap::new();
        for Recorded { id, time, event, .. } in history {
            if let Event::MovieViewed(MovieViewed { movie_id, viewer_id: Some(viewer) }) = event {
                views.entry(*id).or_insert((*id, viewer.0, time.milliseconds(), movie_id.0));
            }
        }
        let sql = "SELECT id, user_id, at, movie_id FROM journey_views ORDER BY id";
        applied.expect_rows(sql, views.into_values().collect::<Vec<_>>()).await;
    })
    .await;
}

#[tokio::test]
async fn statistics_count_every_event_once() {
    of_histories(Statistics::new, async |applied, history| {
        let mut met = BTreeSet::new();
        let mut counts: BTreeMap<(String, String), i64> = BTreeMap::new();
        for Recorded { id, event, .. } in history {
            if !met.insert(*id) {
                continue;
            }
            let mut count = |series: &str, value: String| {
                *counts.entry((series.to_owned(), value)).or_default() += 1;
            };
            count("events/type", event.type_name().to_owned());
            match event {
                Event::MovieViewed(view) => count("views/movie", view.movie_id.to_string()),
                Event::CommentPosted(post) => {
                    count("comments/movie", post.movie_id.to_string());
                    count("comments/author", post.author_id.to_string());
                }
                _ => {}
            }
        }
        // All of it happened in one second, so that every window of the first minute, hour and day holds all of it.
        let expected: Vec<_> = counts.into_iter().map(|((series, value), count)| (series, value, count)).collect();
        for span in [0, 60_000, 3_600_000, 86_400_000] {
            let sql = format!(
                "SELECT series, value, CAST(SUM(counted) AS BIGINT) FROM window_counts
                 WHERE span = {span} AND window_start = 0 GROUP BY series, value"
            );
            let mut found: Vec<(String, String, i64)> = applied.rows(&format!("{sql} ORDER BY 1, 2")).await;
            found.sort();
            assert_eq!(found, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn the_step_of_a_registration_comes_before_what_is_done_in_its_millisecond() {
    let (user, time) = (UserId(Uuid::from_u128(7)), Timestamp::from_milliseconds(1_000).unwrap());
    let recorded =
        |id: u128, event| Recorded { id: Uuid::from_u128(id), time, request_digest: None, traceparent: None, event };
    let profile =
        ProfileChanged { user_id: user, display_name: "Mia".into(), about: None, location: None, initial: true };
    let post = CommentPosted {
        comment_id: CommentId(Uuid::from_u128(1 << 80)),
        movie_id: MovieId(Uuid::from_u128(8)),
        author_id: user,
        title: None,
        body: "x".into(),
    };
    // The least id that was made after 1970.
    let log = [recorded(u128::MAX, Event::ProfileChanged(profile)), recorded(1 << 80, Event::CommentPosted(post))];
    let scenario = Scenario::of(|| Journeys::new(&topics())).given(log.map(|recorded| Logged(recorded).message()));
    let sql = "SELECT kind FROM journey_entries ORDER BY at, id";
    let expected = [("registered".to_owned(),), ("comment.posted".to_owned(),)];
    scenario.every_schedule(1).await.expect_rows(sql, expected).await;
}
