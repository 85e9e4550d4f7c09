use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use balcony_domain::{MovieId, Timestamp};
use balcony_http::{PathId, Problem};
use balcony_read_models::{Comments, Registry, Statistics};
use balcony_statistics::Tally;
use balcony_store::{Value, row};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::QueryApi;
use crate::comment::Comment;
use crate::comments::{self, Filter};
use crate::hot::{self, Found};
use crate::time::stored_time;
use crate::time_range::Direction;
use balcony_http::cursor::{Scope, TimeKey};
use balcony_http::list::{Page, PageParams, PageRequest};
use balcony_http::query::Query;

/// A movie.
#[derive(Serialize, ToSchema)]
pub(crate) struct Movie {
    id: Uuid,
    title: String,
    /// The company it belongs to.
    #[schema(required)]
    company: Option<NamedCompany>,
    /// The day it came out.
    #[schema(required, format = "date")]
    released_on: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    registered_at: Timestamp,
    /// How many comments it has.
    comment_count: i64,
    /// How often its page was viewed.
    view_count: i64,
}

/// A company by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct NamedCompany {
    id: Uuid,
    name: String,
}

row! {
    struct MovieRow {
        id: Uuid,
        title: String,
        company_id: Option<Uuid>,
        company_name: Option<String>,
        released_on: Option<String>,
        registered_at: i64,
        comment_count: i64,
    }
}

/// What a movie's counts are read from.
const READS: &[&str] = &[Registry::NAME, Comments::NAME, Statistics::NAME];

const SELECT: &str = "
    SELECT movies.id, movies.title, companies.id AS company_id, companies.name AS company_name,
           movies.released_on, movies.registered_at,
           CAST(COALESCE((
               SELECT SUM(comments) FROM comment_counts WHERE comment_counts.movie_id = movies.id
           ), 0) AS BIGINT) AS comment_count
    FROM movies LEFT JOIN companies ON companies.id = movies.company_id";

/// Movies, the one registered last first.
#[utoipa::path(
    get, path = "/v1/movies", tag = "movies", operation_id = "list_movies",
    params(PageParams),
    responses(
        (status = 200, description = "A page of movies, with an `ETag`", body = Page<Movie>),
        (status = 304, description = "The client has this page already"),
    ),
)]
pub(crate) async fn list(State(api): State<Arc<QueryApi>>, mut query: Query) -> Result<Response, Problem> {
    let wanted = PageRequest::take(&mut query.params, Scope::of("movies"));
    let answer = query.wait(&api.read_models, READS).await?;
    Ok(answer.public_list(newest(&api, &wanted).await))
}

/// One movie.
#[utoipa::path(
    get, path = "/v1/movies/{id}", tag = "movies", operation_id = "get_movie",
    params(("id" = Uuid, Path, description = "The movie")),
    responses((status = 200, description = "The movie", body = Movie)),
)]
pub(crate) async fn get(
    State(api): State<Arc<QueryApi>>,
    PathId(id): PathId<MovieId>,
    query: Query,
) -> Result<Response, Problem> {
    let answer = query.wait(&api.read_models, READS).await?;
    Ok(answer.json(find(&api, id).await))
}

/// The comments on a movie, the newest first.
#[utoipa::path(
    get, path = "/v1/movies/{id}/comments", tag = "movies", operation_id = "list_comments_on_movie",
    params(("id" = Uuid, Path, description = "The movie"), PageParams),
    responses(
        (
            status = 200, description = "A page of comments, with an `ETag`", body = Page<Comment>,
            headers(("Last-Event-ID" = String, description = "Where it was read: a stream of the movie goes on from there"))
        ),
        (status = 304, description = "The client has this page already"),
    ),
)]
pub(crate) async fn list_comments(
    State(api): State<Arc<QueryApi>>,
    PathId(id): PathId<MovieId>,
    mut query: Query,
) -> Result<Response, Problem> {
    let wanted = PageRequest::take(&mut query.params, Scope::of("movies/comments").with("movie", id));
    let answer = query.wait(&api.read_models, comments::READS).await?;
    Ok(hot::public_list(answer, comments_on(&api, id, &wanted).await))
}

async fn newest(api: &QueryApi, wanted: &PageRequest<TimeKey>) -> Result<Page<Movie>, Problem> {
    let sql = format!(
        "{SELECT} WHERE (movies.registered_at, movies.id) < ($1, $2)
         ORDER BY movies.registered_at DESC, movies.id DESC LIMIT $3"
    );
    let after = wanted.after.unwrap_or(TimeKey::LATEST);
    let rows: Vec<MovieRow> = api.reader.fetch(sql, &[after.at.into(), after.id.into(), wanted.rows().into()]).await?;
    let views = views_of(api, &rows).await?;
    let page = wanted.page(rows, |row| TimeKey { at: row.registered_at, id: row.id });
    page.try_map(|row| Movie::new(row, &views))
}

async fn find(api: &QueryApi, id: MovieId) -> Result<Movie, Problem> {
    let rows: Vec<MovieRow> = api.reader.fetch(format!("{SELECT} WHERE movies.id = $1"), &[id.0.into()]).await?;
    let views = views_of(api, &rows).await?;
    Movie::new(rows.into_iter().next().ok_or_else(unknown)?, &views)
}

/// How often the page of each was viewed.
async fn views_of(api: &QueryApi, movies: &[MovieRow]) -> Result<HashMap<String, Tally>, Problem> {
    let ids: Vec<String> = movies.iter().map(|movie| movie.id.to_string()).collect();
    Ok(balcony_statistics::of_all_time(&api.reader, &Statistics::views(), &ids).await?)
}

async fn comments_on(
    api: &QueryApi,
    id: MovieId,
    wanted: &PageRequest<TimeKey>,
) -> Result<Found<Page<Comment>>, Problem> {
    let found = comments::by_time(api, &Filter::on(id), Direction::Newest, wanted).await?;
    // A comment that is listed is on a movie that there is.
    if found.is_empty() {
        check_known(api, id).await?;
    }
    Ok(found)
}

/// Whether there is such a movie.
pub(crate) async fn check_known(api: &QueryApi, id: MovieId) -> Result<(), Problem> {
    let known: Vec<(Uuid,)> = api.reader.fetch("SELECT id FROM movies WHERE id = $1", &[Value::from(id.0)]).await?;
    if known.is_empty() { Err(unknown()) } else { Ok(()) }
}

fn unknown() -> Problem {
    Problem::not_found("there is no movie with this id")
}

impl Movie {
    fn new(row: MovieRow, views: &HashMap<String, Tally>) -> Result<Self, Problem> {
        let company = row.company_id.zip(row.company_name).map(|(id, name)| NamedCompany { id, name });
        Ok(Self {
            id: row.id,
            title: row.title,
            company,
            released_on: row.released_on,
            registered_at: stored_time(row.registered_at)?,
            comment_count: row.comment_count,
            view_count: views.get(&row.id.to_string()).map_or(0, |views| views.count),
        })
    }
}
