use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use balcony_domain::{Timestamp, UserId};
use balcony_http::{PathId, Problem};
use balcony_read_models::Registry;
use balcony_store::row;
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

/// A user's profile.
#[derive(Serialize, ToSchema)]
pub(crate) struct User {
    pub(crate) id: Uuid,
    pub(crate) display_name: String,
    /// A text about oneself.
    #[schema(required)]
    pub(crate) about: Option<String>,
    /// Where one is.
    #[schema(required)]
    pub(crate) location: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) registered_at: Timestamp,
}

row! {
    struct UserRow {
        id: Uuid,
        display_name: String,
        about: Option<String>,
        location: Option<String>,
        registered_at: i64,
    }
}

/// One user.
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "users", operation_id = "get_user",
    params(("id" = Uuid, Path, description = "The user")),
    responses((status = 200, description = "The user's profile", body = User)),
)]
pub(crate) async fn get(
    State(api): State<Arc<QueryApi>>,
    PathId(id): PathId<UserId>,
    query: Query,
) -> Result<Response, Problem> {
    let answer = query.wait(&api.read_models, &[Registry::NAME]).await?;
    Ok(answer.json(known(&api, id).await))
}

/// The comments by a user, the newest first.
#[utoipa::path(
    get, path = "/v1/users/{id}/comments", tag = "users", operation_id = "list_comments_by_user",
    params(("id" = Uuid, Path, description = "The user"), PageParams),
    responses(
        (status = 200, description = "A page of comments, with an `ETag`", body = Page<Comment>),
        (status = 304, description = "The client has this page already"),
    ),
)]
pub(crate) async fn list_comments(
    State(api): State<Arc<QueryApi>>,
    PathId(id): PathId<UserId>,
    mut query: Query,
) -> Result<Response, Problem> {
    let wanted = PageRequest::take(&mut query.params, Scope::of("users/comments").with("user", id));
    let answer = query.wait(&api.read_models, comments::READS).await?;
    Ok(hot::public_list(answer, comments_by(&api, id, &wanted).await))
}

/// The profile of the user `id`, if there is one.
pub(crate) async fn find(api: &QueryApi, id: UserId) -> Result<Option<User>, Problem> {
    let sql = "SELECT id, display_name, about, location, registered_at FROM users WHERE id = $1";
    let rows: Vec<UserRow> = api.reader.fetch(sql, &[id.0.into()]).await?;
    rows.into_iter().next().map(User::try_from).transpose()
}

pub(crate) async fn known(api: &QueryApi, id: UserId) -> Result<User, Problem> {
    find(api, id).await?.ok_or_else(|| Problem::not_found("there is no user with this id"))
}

async fn comments_by(
    api: &QueryApi,
    id: UserId,
    wanted: &PageRequest<TimeKey>,
) -> Result<Found<Page<Comment>>, Problem> {
    let found = comments::by_time(api, &Filter::by(id), Direction::Newest, wanted).await?;
    // A comment that is listed is by a user whom there is.
    if found.is_empty() {
        known(api, id).await?;
    }
    Ok(found)
}

impl TryFrom<UserRow> for User {
    type Error = Problem;

    fn try_from(row: UserRow) -> Result<Self, Problem> {
        Ok(Self {
            id: row.id,
            display_name: row.display_name,
            about: row.about,
            location: row.location,
            registered_at: stored_time(row.registered_at)?,
        })
    }
}
