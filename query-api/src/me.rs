use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use balcony_domain::{Timestamp, UserId, name_from_token};
use balcony_http::{Identity, Problem};
use balcony_read_models::{Comments, Favorites, Registry};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::QueryApi;
use crate::comment::{Comment, NamedUser};
use crate::keys::NameKey;
use crate::timeline::{self, Sources};
use crate::{hot, users};
use balcony_http::cursor::Scope;
use balcony_http::list::{Page, PageParams, PageRequest};
use balcony_http::query::Query;

/// What is read for the comments of one's favourites.
pub(crate) const READS: &[&str] = &[Registry::NAME, Comments::NAME, Favorites::NAME];

/// Oneself: the profile, or what the token says of whoever has done nothing yet.
#[derive(Serialize, ToSchema)]
pub(crate) struct Me {
    id: Uuid,
    display_name: String,
    /// A text about oneself.
    #[schema(required)]
    about: Option<String>,
    /// Where one is.
    #[schema(required)]
    location: Option<String>,
    /// When one did something for the first time.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    registered_at: Option<Timestamp>,
    /// What the token allows: `user`, `moderator` or `admin`.
    role: &'static str,
}

/// Oneself.
#[utoipa::path(
    get, path = "/v1/me", tag = "me", operation_id = "get_me",
    responses((status = 200, description = "One's profile and role", body = Me)),
)]
pub(crate) async fn get(State(api): State<Arc<QueryApi>>, me: Identity, query: Query) -> Result<Response, Problem> {
    let answer = query.wait(&api.read_models, &[Registry::NAME]).await?;
    Ok(answer.json(profile(&api, me).await))
}

/// One's favourite users, by name.
#[utoipa::path(
    get, path = "/v1/me/favorites", tag = "me", operation_id = "list_favorites",
    params(PageParams),
    responses((status = 200, description = "A page of users, by display name, code point by code point", body = Page<NamedUser>)),
)]
pub(crate) async fn list_favorites(
    State(api): State<Arc<QueryApi>>,
    me: Identity,
    mut query: Query,
) -> Result<Response, Problem> {
    let me = UserId(me.user);
    let wanted = PageRequest::take(&mut query.params, Scope::of("me/favorites").with("user", me));
    let answer = query.wait(&api.read_models, &[Registry::NAME, Favorites::NAME]).await?;
    Ok(answer.json(favorites(&api, me, &wanted).await))
}

/// The comments of one's favourite users, the newest first.
#[utoipa::path(
    get, path = "/v1/me/timeline", tag = "me", operation_id = "get_timeline",
    params(PageParams),
    responses((
        status = 200, description = "A page of comments", body = Page<Comment>,
        headers(("Last-Event-ID" = String, description = "Where it was read: the stream of the timeline goes on from there"))
    )),
)]
pub(crate) async fn timeline(
    State(api): State<Arc<QueryApi>>,
    me: Identity,
    mut query: Query,
) -> Result<Response, Problem> {
    let me = UserId(me.user);
    let wanted = PageRequest::take(&mut query.params, Scope::of("me/timeline").with("user", me));
    let answer = query.wait(&api.read_models, READS).await?;
    Ok(hot::json(answer, timeline::newest(&api, Sources::FavoritesOf(me), &wanted).await))
}

async fn profile(api: &QueryApi, me: Identity) -> Result<Me, Problem> {
    let (id, role) = (UserId(me.user), me.role.as_str());
    Ok(match users::find(api, id).await? {
        Some(user) => Me {
            id: user.id,
            display_name: user.display_name,
            about: user.about,
            location: user.location,
            registered_at: Some(user.registered_at),
            role,
        },
        None => {
            let display_name = name_from_token(me.name.as_deref(), id);
            Me { id: id.0, display_name, about: None, location: None, registered_at: None, role }
        }
    })
}

async fn favorites(api: &QueryApi, user: UserId, wanted: &PageRequest<NameKey>) -> Result<Page<NamedUser>, Problem> {
    let sql = "SELECT users.id, users.display_name
               FROM favorites JOIN users ON users.id = favorites.followee_id
               WHERE favorites.follower_id = $1 AND (users.display_name_key, users.id) > ($2, $3)
               ORDER BY users.display_name_key, users.id LIMIT $4";
    let after = wanted.after.clone().unwrap_or(NameKey::FIRST);
    let params = [user.0.into(), after.name.into(), after.id.into(), wanted.rows().into()];
    let rows: Vec<NamedUser> = api.reader.fetch(sql, &params).await?;
    Ok(wanted.page(rows, |user| NameKey { name: user.display_name.clone().into_bytes(), id: user.id }))
}
