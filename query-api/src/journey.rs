use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use balcony_domain::{Deed, Timestamp, UserId};
use balcony_http::{PathId, Problem, Visitor};
use balcony_read_models::{Journeys, Registry};
use balcony_store::row;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::QueryApi;
use crate::comment::{CommentedMovie, NamedUser};
use crate::time::stored_time;
use crate::users;
use balcony_http::cursor::{Scope, TimeKey};
use balcony_http::list::{Page, PageParams, PageRequest};
use balcony_http::query::Query;

/// Something that a user did.
#[derive(Serialize, ToSchema)]
pub(crate) struct Step {
    /// `registered`, `profile.changed`, `comment.posted`, `comment.deleted`, `user.favorited`, `user.unfavorited`, or, in
    /// one's own journey alone, `movie.viewed`.
    r#type: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The comment that was posted or deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    comment_id: Option<Uuid>,
    /// The movie that was commented on or viewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    movie: Option<CommentedMovie>,
    /// The user who became a favourite, or is none any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<NamedUser>,
}

row! {
    struct StepRow {
        id: Uuid,
        at: i64,
        kind: String,
        comment_id: Option<Uuid>,
        movie_id: Option<Uuid>,
        movie_title: Option<String>,
        other_id: Option<Uuid>,
        other_name: Option<String>,
    }
}

/// What a user did, the newest first. Page views are shown to nobody but the user who viewed.
#[utoipa::path(
    get, path = "/v1/users/{id}/journey", tag = "users", operation_id = "list_journey_of_user",
    params(("id" = Uuid, Path, description = "The user"), PageParams),
    responses(
        (status = 200, description = "A page of what the user did, with an `ETag`", body = Page<Step>),
        (status = 304, description = "The client has this page already"),
    ),
)]
pub(crate) async fn list(
    State(api): State<Arc<QueryApi>>,
    PathId(id): PathId<UserId>,
    Visitor(visitor): Visitor,
    mut query: Query,
) -> Result<Response, Problem> {
    let wanted = PageRequest::take(&mut query.params, Scope::of("users/journey").with("user", id));
    let answer = query.wait(&api.read_models, &[Registry::NAME, Journeys::NAME]).await?;
    if visitor.is_some_and(|visitor| visitor.user == id.0) {
        return Ok(answer.json(page(&api, id, &own_steps(), &wanted).await));
    }
    Ok(answer.public_list(public(&api, id, &wanted).await))
}

/// The steps of a user that everybody may see, up to the page that is wanted.
const STEPS: &str = "
    SELECT id, at, kind, comment_id, movie_id, other_id FROM journey_entries
    WHERE user_id = $1 AND (at, id) < ($2, $3) ORDER BY at DESC, id DESC LIMIT $4";

/// The same with what the user alone may see.
fn own_steps() -> String {
    let viewed = Deed::ViewedMovie.name();
    format!(
        "
    SELECT * FROM (
        SELECT id, at, kind, comment_id, movie_id, other_id FROM journey_entries
        WHERE user_id = $1 AND (at, id) < ($2, $3) ORDER BY at DESC, id DESC LIMIT $4
    ) AS done
    UNION ALL
    SELECT * FROM (
        SELECT id, at, '{viewed}' AS kind, CAST(NULL AS UUID) AS comment_id, movie_id, CAST(NULL AS UUID) AS other_id
        FROM journey_views
        WHERE user_id = $1 AND (at, id) < ($2, $3) ORDER BY at DESC, id DESC LIMIT $4
    ) AS viewed"
    )
}

async fn public(api: &QueryApi, id: UserId, wanted: &PageRequest<TimeKey>) -> Result<Page<Step>, Problem> {
    users::known(api, id).await?;
    page(api, id, STEPS, wanted).await
}

async fn page(api: &QueryApi, id: UserId, steps: &str, wanted: &PageRequest<TimeKey>) -> Result<Page<Step>, Problem> {
    let after = wanted.after.unwrap_or(TimeKey::LATEST);
    let sql = format!(
        "SELECT steps.id, at, kind, comment_id, movie_id, movies.title AS movie_title,
             other_id, users.display_name AS other_name
         FROM ({steps}) AS steps
         LEFT JOIN movies ON movies.id = movie_id
         LEFT JOIN users ON users.id = other_id
         ORDER BY at DESC, steps.id DESC LIMIT $4"
    );
    let params = [id.0.into(), after.at.into(), after.id.into(), wanted.rows().into()];
    let rows: Vec<StepRow> = api.reader.fetch(sql, &params).await?;
    wanted.page(rows, |row| TimeKey { at: row.at, id: row.id }).try_map(Step::try_from)
}

impl TryFrom<StepRow> for Step {
    type Error = Problem;

    fn try_from(row: StepRow) -> Result<Self, Problem> {
        Ok(Self {
            r#type: row.kind,
            at: stored_time(row.at)?,
            comment_id: row.comment_id,
            movie: row.movie_id.zip(row.movie_title).map(|(id, title)| CommentedMovie { id, title }),
            user: row.other_id.zip(row.other_name).map(|(id, display_name)| NamedUser { id, display_name }),
        })
    }
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema as _;

    use super::*;

    #[test]
    fn every_deed_is_described() {
        let described = serde_json::to_value(Step::schema()).expect("a schema");
        let text = described["properties"]["type"]["description"].as_str().expect("a description");
        for deed in Deed::ALL {
            assert!(text.contains(&format!("`{}`", deed.name())), "{deed:?} is missing in {text}");
        }
    }
}
