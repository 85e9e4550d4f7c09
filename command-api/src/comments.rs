use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use balcony_domain::event::{CommentDeleted, CommentPosted};
use balcony_domain::{CommentId, Event, MovieId, may_delete_comment, request};
use balcony_http::{Identity, JsonBody, PathId, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::CommandApi;
use crate::command::{Command, Created};

/// A comment to post.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostComment {
    /// Up to 200 characters; none when empty.
    title: Option<String>,
    /// 1 to 10,000 characters after trimming.
    #[schema(required, nullable = false)]
    body: Option<String>,
}

/// Posts a comment on a movie.
#[utoipa::path(
    post, path = "/v1/movies/{id}/comments", tag = "comments", operation_id = "post_comment", request_body = PostComment,
    params(
        ("id" = Uuid, Path, description = "The movie"),
        ("Idempotency-Key" = Option<String>, Header, description = "Under the same key the same request is done once"),
    ),
    responses(
        (status = 201, description = "Posted; `Location` says where", body = Created),
        (status = 401, description = "No token, or a bad one", body = Problem),
        (status = 404, description = "There is no such movie", body = Problem),
        (status = 422, description = "A field breaks a rule", body = Problem),
    ),
    security(("token" = [])),
)]
pub(crate) async fn post(
    State(api): State<Arc<CommandApi>>,
    author: Identity,
    PathId(movie_id): PathId<MovieId>,
    command: Command,
    JsonBody(body): JsonBody<PostComment>,
) -> Result<Response, Problem> {
    let text = request::comment(body.title.as_deref(), body.body.as_deref());
    let text = text.map_err(|violations| Problem::violations(&violations))?;
    if !api.registry.movie_exists(movie_id).await? {
        return Err(Problem::not_found("there is no movie with this id"));
    }
    api.create(&command, &author, "comments", &body, |id| {
        Event::CommentPosted(CommentPosted {
            comment_id: CommentId(id),
            movie_id,
            author_id: author.user,
            title: text.title,
            body: text.body,
        })
    })
    .await
}

/// Deletes a comment, for ever.
#[utoipa::path(
    delete, path = "/v1/comments/{id}", tag = "comments", operation_id = "delete_comment", params(("id" = Uuid, Path, description = "The comment")),
    responses(
        (status = 204, description = "Deleted, now or before"),
        (status = 401, description = "No token, or a bad one", body = Problem),
        (status = 403, description = "Neither the author nor a moderator", body = Problem),
        (status = 404, description = "There is no such comment", body = Problem),
    ),
    security(("token" = [])),
)]
pub(crate) async fn delete(
    State(api): State<Arc<CommandApi>>,
    who: Identity,
    PathId(comment_id): PathId<CommentId>,
    command: Command,
) -> Result<Response, Problem> {
    let Some(comment) = api.registry.comment(comment_id).await? else {
        return Err(Problem::not_found("there is no comment with this id"));
    };
    if !may_delete_comment(comment.author, who.user, who.role) {
        return Err(Problem::forbidden("only its author and moderators may delete a comment"));
    }
    let written = if comment.deleted {
        // What the registry has read includes the deletion.
        api.registry.reached().await?
    } else {
        let mut written = api.register(&who, &command).await?;
        let deletion = CommentDeleted { comment_id, deleted_by: who.user, role: who.role };
        written.merge(&api.recorder.record(Uuid::now_v7(), Event::CommentDeleted(deletion), None, &command).await?);
        written
    };
    Ok(api.done(StatusCode::NO_CONTENT, &command, &written))
}
