use std::collections::{BTreeMap, HashMap};

use balcony_domain::event::{CommentDeleted, ProfileChanged};
use balcony_domain::{CompanyId, Event, Recorded, Topics, UserId, mailbox, may_delete_comment};
use balcony_projector::{Projection, Received};
use balcony_store::{ReadModel, StoreError, Tx, Value};
use uuid::Uuid;

use crate::Logged;
use crate::repetitions::first_times;

/// Who and what is there: companies, movies, users, who wrote which comment, and what was made under which
/// idempotency key.
pub struct Registry {
    model: ReadModel,
}

impl Registry {
    /// The name of the read model.
    pub const NAME: &'static str = "registry";

    /// The projection of the facts in `topics`.
    pub fn new(topics: &Topics) -> Self {
        Self {
            model: ReadModel::new(Self::NAME, 4, [topics.facts.clone()], include_str!("../../migrations/registry.sql")),
        }
    }
}

impl Projection for Registry {
    type Event = Logged;

    fn read_model(&self) -> &ReadModel {
        &self.model
    }

    /// Each table is changed by events that have its key as theirs, so the tables may be written one after the other.
    async fn apply(&self, events: &[Received<Logged>], tx: &mut Tx) -> Result<(), StoreError> {
        let mut rows = Rows::default();
        for recorded in events {
            rows.add(recorded);
        }
        let changes = events.iter().filter(|received| matches!(received.event, Event::ProfileChanged(_)));
        for recorded in first_times(changes, "profile_changes", tx).await? {
            rows.change(recorded);
        }
        let columns = ["id", "name", "contact_email", "mailbox", "registered_at"];
        tx.insert_new("companies", &["id"], columns, &rows.companies).await?;
        unsubscribe(&rows.unsubscriptions, tx).await?;
        tx.insert_new("movies", &["id"], ["id", "title", "company_id", "released_on", "registered_at"], &rows.movies)
            .await?;
        tx.insert_new("comment_authors", &["comment_id"], ["comment_id", "author_id"], &rows.authors).await?;
        tx.insert_new("requests", &["id"], ["id", "digest"], &rows.requests).await?;
        change_profiles(&rows.profiles, tx).await?;
        delete_comments(&rows.deletions, tx).await
    }
}

/// What a batch writes into each table.
#[derive(Default)]
struct Rows<'a> {
    companies: Vec<[Value<'a>; 5]>,
    /// When each company unsubscribed last.
    unsubscriptions: BTreeMap<CompanyId, i64>,
    movies: Vec<[Value<'a>; 5]>,
    authors: Vec<[Value<'a>; 2]>,
    requests: Vec<[Value<'a>; 2]>,
    /// The change that counts for each user, and when the first one was.
    profiles: BTreeMap<UserId, (&'a ProfileChanged, i64)>,
    /// Comment, who deleted it, when.
    deletions: Vec<(&'a CommentDeleted, i64)>,
}

impl<'a> Rows<'a> {
    fn add(&mut self, recorded: &'a Recorded) {
        let time = recorded.time.milliseconds();
        match &recorded.event {
            Event::CompanyRegistered(company) => self.companies.push([
                company.company_id.0.into(),
                company.name.as_str().into(),
                company.contact_email.as_str().into(),
                mailbox(&company.contact_email).into(),
                time.into(),
            ]),
            Event::CompanyUnsubscribed(company) => {
                let last = self.unsubscriptions.entry(company.company_id).or_insert(time);
                *last = time.max(*last);
            }
            Event::MovieRegistered(movie) => self.movies.push([
                movie.movie_id.0.into(),
                movie.title.as_str().into(),
                movie.company_id.map(Uuid::from).into(),
                movie.released_on.as_deref().into(),
                time.into(),
            ]),
            Event::CommentPosted(post) => self.authors.push([post.comment_id.0.into(), post.author_id.0.into()]),
            Event::CommentDeleted(deletion) => self.deletions.push((deletion, time)),
            Event::ProfileChanged(_) | Event::UserFavorited(_) | Event::UserUnfavorited(_) | Event::MovieViewed(_) => {}
        }
        if let Some(digest) = &recorded.request_digest {
            self.requests.push([recorded.id.into(), digest.as_str().into()]);
        }
    }

    /// Adds a change of a profile, which comes for the first time.
    fn change(&mut self, recorded: &'a Recorded) {
        if let Event::ProfileChanged(profile) = &recorded.event {
            let counts = self.profiles.entry(profile.user_id).or_insert((profile, recorded.time.milliseconds()));
            if !profile.initial {
                counts.0 = profile;
            }
        }
    }
}

async fn unsubscribe(unsubscriptions: &BTreeMap<CompanyId, i64>, tx: &mut Tx) -> Result<(), StoreError> {
    let rows: Vec<[Value<'_>; 2]> =
        unsubscriptions.iter().map(|(company, at)| [company.0.into(), (*at).into()]).collect();
    let sql = "INSERT INTO unsubscriptions (company_id, unsubscribed_at) VALUES $rows
               ON CONFLICT (company_id) DO UPDATE SET unsubscribed_at = excluded.unsubscribed_at
               WHERE excluded.unsubscribed_at > unsubscriptions.unsubscribed_at";
    tx.execute_rows(sql, &rows).await.map(drop)
}

async fn change_profiles(profiles: &BTreeMap<UserId, (&ProfileChanged, i64)>, tx: &mut Tx) -> Result<(), StoreError> {
    let rows = |initial: bool| -> Vec<[Value<'_>; 6]> {
        profiles
            .values()
            .filter(|(profile, _)| profile.initial == initial)
            .map(|(profile, registered_at)| {
                [
                    profile.user_id.0.into(),
                    profile.display_name.as_str().into(),
                    profile.display_name.as_bytes().into(),
                    profile.about.as_deref().into(),
                    profile.location.as_deref().into(),
                    (*registered_at).into(),
                ]
            })
            .collect()
    };
    let columns = ["id", "display_name", "display_name_key", "about", "location", "registered_at"];
    tx.insert_new("users", &["id"], columns, &rows(true)).await?;
    tx.execute_rows(
        "INSERT INTO users (id, display_name, display_name_key, about, location, registered_at) VALUES $rows
         ON CONFLICT (id) DO UPDATE SET
             display_name = excluded.display_name, display_name_key = excluded.display_name_key,
             about = excluded.about, location = excluded.location",
        &rows(false),
    )
    .await?;
    Ok(())
}

async fn delete_comments(deletions: &[(&CommentDeleted, i64)], tx: &mut Tx) -> Result<(), StoreError> {
    if deletions.is_empty() {
        return Ok(());
    }
    let ids: Vec<[Value<'_>; 1]> = deletions.iter().map(|(deletion, _)| [deletion.comment_id.0.into()]).collect();
    let standing: Vec<(Uuid, Uuid)> = tx
        .fetch_rows(
            "SELECT comment_id, author_id FROM comment_authors
             WHERE deleted_at IS NULL AND comment_id IN (VALUES $rows)",
            &ids,
        )
        .await?;
    let mut standing: HashMap<Uuid, UserId> = standing.into_iter().map(|(id, author)| (id, UserId(author))).collect();

    let mut rows: Vec<[Value<'_>; 2]> = Vec::new();
    for (deletion, deleted_at) in deletions {
        let id = deletion.comment_id.0;
        let Some(&author) = standing.get(&id) else { continue };
        if may_delete_comment(author, deletion.deleted_by, deletion.role) {
            standing.remove(&id);
            rows.push([id.into(), (*deleted_at).into()]);
        }
    }
    tx.execute_rows(
        "WITH gone (id, deleted_at) AS (VALUES $rows)
         UPDATE comment_authors SET deleted_at = gone.deleted_at FROM gone WHERE comment_id = gone.id",
        &rows,
    )
    .await?;
    Ok(())
}
