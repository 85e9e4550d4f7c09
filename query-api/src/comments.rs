use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use balcony_domain::{CommentId, MovieId, Timestamp, UserId};
use balcony_http::{Params, PathId, Problem};
use balcony_read_models::{Comments, Registry};
use balcony_store::StoreError;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::QueryApi;
use crate::comment::{self, COLUMNS, Comment, CommentRow, MaybeNamed, NAMED_COLUMNS, TABLES, TABLES_AS_FAR};
use crate::conditions::Conditions;
use crate::hot::{self, Concern, Found};
use crate::keys::{AuthorKey, NameKey};
use crate::time_range::{Direction, TimeRange};
use crate::timeline::{self, Sources};
use balcony_http::cursor::{Scope, TimeKey};
use balcony_http::list::{Page, PageParams, PageRequest};
use balcony_http::query::Query;

/// What is read for any list of comments.
pub(crate) const READS: &[&str] = &[Registry::NAME, Comments::NAME];

/// Which comments are wanted.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    movie: Option<MovieId>,
    author: Option<UserId>,
    author_location: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// The order of a list of comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
enum Sort {
    Newest,
    Oldest,
    /// By display name, code point by code point, then by the author's id, then the newest first.
    Author,
}

#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters, which are read one by one")]
struct FilterParams {
    /// Only comments on this movie.
    movie: Option<Uuid>,
    /// Only comments by this user.
    author: Option<Uuid>,
    /// Only comments by users whose location is this.
    #[param(pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    author_location: Option<String>,
    /// Only comments posted at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Only comments posted before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The order; `newest` first when absent.
    #[param(inline)]
    sort: Option<Sort>,
}

/// How many users are looked at one by one.
const FEW_USERS: i64 = 10_000;

/// [`TABLES`], joined in an order that SQLite keeps: it does not know that a user has few of all comments.
const TABLES_BY_AUTHOR: &str = "users CROSS JOIN comments JOIN movies ON movies.id = comments.movie_id";

/// Comments, the newest first unless asked otherwise.
#[utoipa::path(
    get, path = "/v1/comments", tag = "comments", operation_id = "list_comments",
    params(FilterParams, PageParams),
    responses(
        (status = 200, description = "A page of comments, with an `ETag`", body = Page<Comment>),
        (status = 304, description = "The client has this page already"),
    ),
)]
pub(crate) async fn list(State(api): State<Arc<QueryApi>>, mut query: Query) -> Result<Response, Problem> {
    let filter = Filter::take(&mut query.params);
    let sorts = [("newest", Sort::Newest), ("oldest", Sort::Oldest), ("author", Sort::Author)];
    let sort = query.params.choice("sort", &sorts);
    let scope = filter.scope(sort);
    let direction = match sort {
        Sort::Newest => Direction::Newest,
        Sort::Oldest => Direction::Oldest,
        Sort::Author => {
            let wanted = PageRequest::take(&mut query.params, scope);
            let answer = query.wait(&api.read_models, READS).await?;
            return Ok(hot::public_list(answer, by_author(&api, &filter, &wanted).await.map(Found::passing)));
        }
    };
    let wanted = PageRequest::take(&mut query.params, scope);
    let answer = query.wait(&api.read_models, READS).await?;
    Ok(hot::public_list(answer, by_time(&api, &filter, direction, &wanted).await))
}

/// One comment.
#[utoipa::path(
    get, path = "/v1/comments/{id}", tag = "comments", operation_id = "get_comment",
    params(("id" = Uuid, Path, description = "The comment")),
    responses(
        (status = 200, description = "The comment", body = Comment),
        (status = 410, description = "The comment was deleted"),
    ),
)]
pub(crate) async fn get(
    State(api): State<Arc<QueryApi>>,
    PathId(id): PathId<CommentId>,
    query: Query,
) -> Result<Response, Problem> {
    let answer = query.wait(&api.read_models, READS).await?;
    Ok(hot::json(answer, find(&api, id).await))
}

async fn find(api: &QueryApi, id: CommentId) -> Result<Found<Comment>, Problem> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE comments.id = $1 AND comments.deleted_at IS NULL");
    let rows: Vec<CommentRow> = api.reader.fetch(sql, &[id.0.into()]).await?;
    let shown = hot::shown(&rows);
    if let Some(row) = rows.into_iter().next() {
        return row.try_into().map(|comment| Found::showing(comment, [], &shown));
    }
    let sql = "SELECT id FROM comments WHERE id = $1 AND deleted_at IS NOT NULL";
    let deleted: Vec<(Uuid,)> = api.reader.fetch(sql, &[id.0.into()]).await?;
    Err(match deleted.is_empty() {
        true => Problem::not_found("there is no comment with this id"),
        false => Problem::gone("this comment was deleted"),
    })
}

/// A page of the comments that pass `filter`, by time.
pub(crate) async fn by_time(
    api: &QueryApi,
    filter: &Filter,
    direction: Direction,
    wanted: &PageRequest<TimeKey>,
) -> Result<Found<Page<Comment>>, Problem> {
    let range = TimeRange::new(direction, wanted.after, filter.since, filter.until);
    let order = direction.order();
    let order = format!("comments.posted_at {order}, comments.id {order}");
    let mut conditions = filter.conditions(range);
    if filter.author_location.is_none() {
        let rows = select_named(api, conditions.clone(), &order, wanted.rows()).await?;
        if let Some(rows) = rows {
            let shown = hot::shown(&rows);
            let page = comment::page(wanted, rows, CommentRow::time_key)?;
            return Ok(Found::showing(page, [filter.concern()], &shown));
        }
    }
    let rows = match &filter.author_location {
        Some(location) if filter.movie.is_none() && filter.author.is_none() && has_few_users(api, location).await? => {
            timeline::select(api, Sources::UsersAt(location), range, wanted.rows()).await?.rows
        }
        location => {
            if let Some(location) = location {
                // Not in a form that an index serves: a movie, an author or the time leads to the comments more surely.
                conditions.and("users.location || '' = ?", [location.clone().into()]);
            }
            select(api, TABLES, conditions, &order, wanted.rows()).await?
        }
    };
    comment::page(wanted, rows, CommentRow::time_key).map(Found::passing)
}

/// A page of the comments that pass `filter`, by author: what is left of the author with whom the page before ended,
/// then the authors after that one. Each of the two is a range of one index.
async fn by_author(api: &QueryApi, filter: &Filter, wanted: &PageRequest<AuthorKey>) -> Result<Page<Comment>, Problem> {
    let conditions = |after: Option<TimeKey>| {
        let range = TimeRange::new(Direction::Newest, after, filter.since, filter.until);
        let mut conditions = filter.conditions(range);
        if let Some(location) = &filter.author_location {
            conditions.and("users.location = ?", [location.clone().into()]);
        }
        conditions
    };
    let mut rows = Vec::new();
    if let Some(AuthorKey { author, comment }) = &wanted.after {
        let mut rest = conditions(Some(*comment));
        rest.and("users.id = ? AND users.display_name_key = ?", [author.id.into(), author.name.clone().into()]);
        rows = select(api, TABLES, rest, "comments.posted_at DESC, comments.id DESC", wanted.rows()).await?;
    }
    let missing = wanted.rows_beyond(rows.len());
    if missing > 0 {
        let after = wanted.after.as_ref().map_or(NameKey::FIRST, |after| after.author.clone());
        let mut others = conditions(None);
        others.and("(users.display_name_key, users.id) > (?, ?)", [after.name.into(), after.id.into()]);
        others.and("comments.author_id = users.id", []);
        let order = "users.display_name_key, users.id, comments.posted_at DESC, comments.id DESC";
        let tables = if filter.movie.is_some() { TABLES } else { TABLES_BY_AUTHOR };
        rows.extend(select(api, tables, others, order, missing).await?);
    }
    comment::page(wanted, rows, CommentRow::author_key)
}

/// The first `limit` comments, if each of them names a movie and a user that there are. One that does not is in no list
/// until its movie or its user is registered.
async fn select_named(
    api: &QueryApi,
    mut conditions: Conditions,
    order: &str,
    limit: i64,
) -> Result<Option<Vec<CommentRow>>, StoreError> {
    let limit = conditions.bind(limit.into());
    let all = conditions.text();
    let sql = format!("SELECT {NAMED_COLUMNS} FROM {TABLES_AS_FAR} WHERE {all} ORDER BY {order} LIMIT {limit}");
    let rows: Vec<MaybeNamed> = api.reader.fetch(sql, conditions.params()).await?;
    let named = rows.into_iter().map(|row| row.is_named.then_some(row.comment));
    Ok(named.collect())
}

async fn select(
    api: &QueryApi,
    tables: &str,
    mut conditions: Conditions,
    order: &str,
    limit: i64,
) -> Result<Vec<CommentRow>, StoreError> {
    let limit = conditions.bind(limit.into());
    let all = conditions.text();
    let sql = format!("SELECT {COLUMNS} FROM {tables} WHERE {all} ORDER BY {order} LIMIT {limit}");
    api.reader.fetch(sql, conditions.params()).await
}

/// Whether it is quick to look at the comments of each user at `location`. Where it is not, the users there are so many
/// that their comments are found among all.
async fn has_few_users(api: &QueryApi, location: &str) -> Result<bool, StoreError> {
    let sql = "SELECT COUNT(*) FROM (SELECT id FROM users WHERE location = $1 LIMIT $2) AS found";
    let (found,): (i64,) = api.reader.fetch(sql, &[location.into(), (FEW_USERS + 1).into()]).await?.remove(0);
    Ok(found <= FEW_USERS)
}

impl Filter {
    /// Comments on `movie`.
    pub(crate) fn on(movie: MovieId) -> Self {
        Self { movie: Some(movie), ..Self::default() }
    }

    /// Comments by `author`.
    pub(crate) fn by(author: UserId) -> Self {
        Self { author: Some(author), ..Self::default() }
    }

    /// Takes the parameters that say which comments are wanted.
    fn take(params: &mut Params) -> Self {
        let author_location = params.text("author_location");
        if author_location.as_deref().is_some_and(|location| location.contains(char::is_control)) {
            params.refuse("author_location", "contains a control character");
        }
        Self {
            movie: params.parsed("movie"),
            author: params.parsed("author"),
            author_location,
            since: params.parsed("since"),
            until: params.parsed("until"),
        }
    }

    /// What decides which comments pass, beside each comment itself.
    fn concern(&self) -> Concern {
        match (self.movie, self.author) {
            (Some(movie), _) => Concern::CommentsOn(movie.0),
            (None, Some(author)) => Concern::CommentsBy(author.0),
            (None, None) => Concern::Comments,
        }
    }

    fn scope(&self, sort: Sort) -> Scope {
        Scope::of("comments")
            .with("sort", format!("{sort:?}"))
            .with_any("movie", self.movie)
            .with_any("author", self.author)
            .with_any("author_location", self.author_location.as_ref())
            .with_any("since", self.since)
            .with_any("until", self.until)
    }

    /// The conditions of all filters but the location.
    fn conditions(&self, range: TimeRange) -> Conditions {
        let mut conditions = Conditions::new("comments.deleted_at IS NULL");
        if let Some(movie) = self.movie {
            conditions.and("comments.movie_id = ?", [movie.0.into()]);
        }
        if let Some(author) = self.author {
            conditions.and("comments.author_id = ?", [author.0.into()]);
        }
        let TimeRange { direction, after, last } = range;
        let beyond = format!("(comments.posted_at, comments.id) {} (?, ?)", direction.beyond());
        conditions.and(&beyond, [after.at.into(), after.id.into()]);
        if let Some(last) = last {
            conditions.and(&format!("comments.posted_at {} ?", direction.up_to()), [last.into()]);
        }
        conditions
    }
}
