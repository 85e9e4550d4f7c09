use axum::extract::State;
use axum::response::Response;
use balcony_domain::{CommentId, MovieId, Timestamp, UserId};
use balcony_http::{Params, PathId, Problem};
use balcony_store::StoreError;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::QueryApi;
use crate::comment::{self, COLUMNS, Comment, CommentRow, TABLES};
use crate::conditions::Conditions;
use crate::cursor::{AuthorKey, NameKey, Scope, TimeKey};
use crate::page::{Page, PageParams, PageRequest};
use crate::query::{Query, ReadModel, TokenHeader, WaitParams};

/// What is read for any list of comments.
pub(crate) const READS: &[ReadModel] = &[ReadModel::Registry, ReadModel::Comments];

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

/// Comments, the newest first unless asked otherwise.
#[utoipa::path(
    get, path = "/v1/comments", tag = "comments", operation_id = "list_comments",
    params(FilterParams, PageParams, WaitParams, TokenHeader),
    responses(
        (status = 200, description = "A page of comments, with an `ETag`", body = Page<Comment>),
        (status = 304, description = "The client has this page already"),
        (status = 422, description = "A parameter or the token is wrong", body = Problem),
        (status = 503, description = "The read model is behind the token, or not available", body = Problem),
    ),
)]
pub(crate) async fn list(State(api): State<QueryApi>, mut query: Query) -> Result<Response, Problem> {
    let filter = Filter::take(&mut query.params);
    let sorts = [("newest", Sort::Newest), ("oldest", Sort::Oldest), ("author", Sort::Author)];
    let sort = query.params.choice("sort", &sorts);
    let scope = filter.scope(sort);
    if sort == Sort::Author {
        let wanted = PageRequest::take(&mut query.params, scope);
        let answer = query.wait(&api, READS).await?;
        return Ok(answer.public_list(by_author(&api, &filter, &wanted).await));
    }
    let wanted = PageRequest::take(&mut query.params, scope);
    let answer = query.wait(&api, READS).await?;
    Ok(answer.public_list(match sort {
        Sort::Oldest => oldest(&api, &filter, &wanted).await,
        Sort::Newest | Sort::Author => newest(&api, &filter, &wanted).await,
    }))
}

/// One comment.
#[utoipa::path(
    get, path = "/v1/comments/{id}", tag = "comments", operation_id = "get_comment",
    params(("id" = Uuid, Path, description = "The comment"), WaitParams, TokenHeader),
    responses(
        (status = 200, description = "The comment", body = Comment),
        (status = 404, description = "There is no such comment", body = Problem),
        (status = 410, description = "The comment was deleted", body = Problem),
        (status = 422, description = "A parameter or the token is wrong", body = Problem),
        (status = 503, description = "The read model is behind the token, or not available", body = Problem),
    ),
)]
pub(crate) async fn get(
    State(api): State<QueryApi>,
    PathId(id): PathId<CommentId>,
    query: Query,
) -> Result<Response, Problem> {
    let answer = query.wait(&api, READS).await?;
    Ok(answer.json(find(&api, id).await))
}

async fn find(api: &QueryApi, id: CommentId) -> Result<Comment, Problem> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE comments.id = $1 AND comments.deleted_at IS NULL");
    let rows: Vec<CommentRow> = api.reader.fetch(sql, &[id.0.into()]).await?;
    if let Some(row) = rows.into_iter().next() {
        return row.try_into();
    }
    let sql = "SELECT id FROM comments WHERE id = $1 AND deleted_at IS NOT NULL";
    let deleted: Vec<(Uuid,)> = api.reader.fetch(sql, &[id.0.into()]).await?;
    Err(match deleted.is_empty() {
        true => Problem::not_found("there is no comment with this id"),
        false => Problem::gone("this comment was deleted"),
    })
}

/// A page of the comments that pass `filter`, the newest first.
pub(crate) async fn newest(
    api: &QueryApi,
    filter: &Filter,
    wanted: &PageRequest<TimeKey>,
) -> Result<Page<Comment>, Problem> {
    let mut conditions = filter.conditions();
    if let Some(after) = wanted.after {
        conditions.and("(comments.posted_at, comments.id) < (?, ?)", [after.at.into(), after.id.into()]);
    }
    let rows = select(api, conditions, "comments.posted_at DESC, comments.id DESC", wanted.rows()).await?;
    comment::page(wanted, rows, CommentRow::time_key)
}

/// A page of the comments that pass `filter`, the oldest first.
async fn oldest(api: &QueryApi, filter: &Filter, wanted: &PageRequest<TimeKey>) -> Result<Page<Comment>, Problem> {
    let mut conditions = filter.conditions();
    if let Some(after) = wanted.after {
        conditions.and("(comments.posted_at, comments.id) > (?, ?)", [after.at.into(), after.id.into()]);
    }
    let rows = select(api, conditions, "comments.posted_at, comments.id", wanted.rows()).await?;
    comment::page(wanted, rows, CommentRow::time_key)
}

/// A page of the comments that pass `filter`, by author: what is left of the author with whom the page before ended,
/// then the authors after that one. Each of the two is a range of one index.
async fn by_author(api: &QueryApi, filter: &Filter, wanted: &PageRequest<AuthorKey>) -> Result<Page<Comment>, Problem> {
    let mut rows = Vec::new();
    if let Some(AuthorKey { author, comment }) = &wanted.after {
        let mut rest = filter.conditions();
        rest.and("users.id = ? AND users.display_name_key = ?", [author.id.into(), author.name.clone().into()]);
        rest.and("(comments.posted_at, comments.id) < (?, ?)", [comment.at.into(), comment.id.into()]);
        rows = select(api, rest, "comments.posted_at DESC, comments.id DESC", wanted.rows()).await?;
    }
    let missing = wanted.rows_beyond(rows.len());
    if missing > 0 {
        let after = wanted.after.as_ref().map_or(NameKey::FIRST, |after| after.author.clone());
        let mut others = filter.conditions();
        others.and("(users.display_name_key, users.id) > (?, ?)", [after.name.into(), after.id.into()]);
        let order = "users.display_name_key, users.id, comments.posted_at DESC, comments.id DESC";
        rows.extend(select(api, others, order, missing).await?);
    }
    comment::page(wanted, rows, CommentRow::author_key)
}

async fn select(
    api: &QueryApi,
    mut conditions: Conditions,
    order: &str,
    limit: i64,
) -> Result<Vec<CommentRow>, StoreError> {
    let limit = conditions.bind(limit.into());
    let conditions_text = conditions.text();
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE {conditions_text} ORDER BY {order} LIMIT {limit}");
    api.reader.fetch(sql, conditions.params()).await
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

    fn scope(&self, sort: Sort) -> Scope {
        let mut scope = Scope::of("comments").with("sort", format!("{sort:?}"));
        if let Some(movie) = self.movie {
            scope = scope.with("movie", movie);
        }
        if let Some(author) = self.author {
            scope = scope.with("author", author);
        }
        if let Some(location) = &self.author_location {
            scope = scope.with("author_location", location);
        }
        if let Some(since) = self.since {
            scope = scope.with("since", since);
        }
        if let Some(until) = self.until {
            scope = scope.with("until", until);
        }
        scope
    }

    fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::new("comments.deleted_at IS NULL");
        if let Some(movie) = self.movie {
            conditions.and("comments.movie_id = ?", [movie.0.into()]);
        }
        if let Some(author) = self.author {
            conditions.and("comments.author_id = ?", [author.0.into()]);
        }
        if let Some(location) = &self.author_location {
            conditions.and("users.location = ?", [location.clone().into()]);
        }
        if let Some(since) = self.since {
            conditions.and("comments.posted_at >= ?", [since.milliseconds().into()]);
        }
        if let Some(until) = self.until {
            conditions.and("comments.posted_at < ?", [until.milliseconds().into()]);
        }
        conditions
    }
}
