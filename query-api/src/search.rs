use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use balcony_domain::{MovieId, Timestamp, UserId};
use balcony_http::{Client, Problem};
use balcony_read_models::{Comments, Registry};
use balcony_search::{Cursor, Snippets, Sort};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::QueryApi;
use crate::comment::{self, Comment, CommentRow};
use crate::index::unavailable;
use balcony_http::cursor::{Key, Scope};
use balcony_http::list::{PageParams, PageRequest};
use balcony_http::query::Query;

/// The place of a comment among those that were found.
#[derive(Clone, Copy)]
struct FoundKey(Cursor);

/// A comment that was found.
#[derive(Debug, Serialize, ToSchema)]
struct Found {
    comment: Comment,
    /// How well it matches; comparable within one search.
    score: f32,
    /// The part of it with most of what was looked for, as HTML: everything is escaped but `<mark>`, which stands
    /// around what was found.
    snippet: String,
}

/// A page of what was found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FoundPage {
    items: Vec<Found>,
    /// What to send as `cursor` for the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<String>,
    /// How many comments match, on all pages; counted up to 10,000.
    total: u64,
    /// Whether that is all of them.
    total_is_exact: bool,
}

/// The order of what is found.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes the parameter, which is read by name")]
enum Order {
    Relevance,
    Newest,
}

#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters, which are read one by one")]
struct SearchParams {
    /// What to look for: words, all of which have to be there; `"words in a row"`, `-without`, `begin*`. No text is
    /// an error.
    q: String,
    /// Only comments on this movie.
    movie: Option<Uuid>,
    /// Only comments by this user.
    author: Option<Uuid>,
    /// Only comments posted at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Only comments posted before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The order; the best first when absent.
    #[param(inline)]
    sort: Option<Order>,
}

/// What is read: the index, and the comments that it names.
const READS: &[&str] = &[Registry::NAME, Comments::NAME, balcony_read_models::Search::NAME];
/// How long the words of a page are marked. What is not marked by then is shown from its beginning.
const LONGEST_MARKING: Duration = Duration::from_millis(250);

/// Comments by what they say, in whatever language.
#[utoipa::path(
    get, path = "/v1/search", tag = "comments", operation_id = "search_comments",
    params(SearchParams, PageParams),
    responses(
        (status = 200, description = "A page of what was found, with an `ETag`", body = FoundPage),
        (status = 304, description = "The client has this page already"),
        (status = 503, description = "The index is being built, or too many are searching"),
    ),
)]
pub(crate) async fn search(
    State(api): State<Arc<QueryApi>>,
    client: Client,
    mut query: Query,
) -> Result<Response, Problem> {
    let params = &mut query.params;
    let text = params.text("q");
    if text.is_none() {
        params.refuse("q", "is missing: what is to be looked for?");
    }
    let text = text.unwrap_or_default();
    let mut wanted = balcony_search::Query::new(&text);
    let movie = params.parsed::<MovieId>("movie");
    let author = params.parsed::<UserId>("author");
    let since = params.parsed::<Timestamp>("since");
    let until = params.parsed::<Timestamp>("until");
    (wanted.movie, wanted.author) = (movie.map(Uuid::from), author.map(Uuid::from));
    (wanted.since, wanted.until) = (since.map(Timestamp::milliseconds), until.map(Timestamp::milliseconds));
    wanted.sort = params.choice("sort", &[("relevance", Sort::Relevance), ("newest", Sort::Newest)]);
    let scope = Scope::of("search")
        .with("q", &text)
        .with("sort", format!("{:?}", wanted.sort))
        .with_any("movie", movie)
        .with_any("author", author)
        .with_any("since", since)
        .with_any("until", until);
    let page = PageRequest::take(params, scope);
    (wanted.limit, wanted.after) = (page.limit(), page.after.map(|FoundKey(after)| after));

    let answer = query.wait(&api.read_models, READS).await?;
    Ok(answer.public_list(find(&api, client, wanted, &page).await))
}

async fn find(
    api: &QueryApi,
    client: Client,
    wanted: balcony_search::Query,
    page: &PageRequest<FoundKey>,
) -> Result<FoundPage, Problem> {
    let index = api.search.index()?;
    let searching = api.search.in_turn(client, move || {
        let found = index.search(&wanted);
        (wanted, found)
    });
    let (wanted, found) = searching.await?;
    let found = found.map_err(|error| {
        tracing::error!(%error, "a search failed");
        unavailable("its index cannot be read")
    })?;

    let ids: Vec<Uuid> = found.hits.iter().map(|hit| hit.id).collect();
    let mut comments = comments(api, &ids).await?;
    let mut listed = Vec::with_capacity(found.hits.len());
    for hit in found.hits {
        // What was deleted since is in the index for a moment longer.
        let Some(row) = comments.remove(&hit.id) else { continue };
        listed.push((Comment::try_from(row)?, hit.score));
    }
    let items = api.search.in_turn(client, move || with_snippets(&wanted, listed)).await?;
    let next_cursor = found.next.map(|next| page.cursor(&FoundKey(next)));
    Ok(FoundPage { items, next_cursor, total: found.total, total_is_exact: found.total_is_exact })
}

async fn comments(api: &QueryApi, ids: &[Uuid]) -> Result<HashMap<Uuid, CommentRow>, Problem> {
    let rows = comment::standing(&api.reader, ids).await?;
    Ok(rows.into_iter().map(|row| (row.id(), row)).collect())
}

fn with_snippets(query: &balcony_search::Query, comments: Vec<(Comment, f32)>) -> Vec<Found> {
    let mut snippets = query.snippets(Some(Instant::now() + LONGEST_MARKING));
    let found = |(comment, score)| Found { snippet: snippet(&mut snippets, &comment), comment, score };
    comments.into_iter().map(found).collect()
}

/// Of the body, unless what was looked for stands in the title alone.
fn snippet(snippets: &mut Snippets<'_>, comment: &Comment) -> String {
    let body = snippets.of(comment.body());
    if body.contains("<mark>") {
        return body;
    }
    match comment.title().map(|title| snippets.of(title)) {
        Some(title) if title.contains("<mark>") => title,
        _ => body,
    }
}

impl Key for FoundKey {
    fn write(&self, bytes: &mut Vec<u8>) {
        let Self(Cursor { key, snapshot, id }) = self;
        bytes.extend_from_slice(&key.to_be_bytes());
        bytes.extend_from_slice(&snapshot.to_be_bytes());
        bytes.extend_from_slice(id.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk()?;
        let (snapshot, id) = rest.split_first_chunk()?;
        let id = Uuid::from_slice(id).ok()?;
        Some(Self(Cursor { key: i64::from_be_bytes(*key), id, snapshot: u64::from_be_bytes(*snapshot) }))
    }
}
