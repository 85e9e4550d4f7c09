use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use balcony_domain::event::{CommentDeleted, CommentPosted};
use balcony_domain::{CommentId, Event, MovieId, UserId, id_of_deletion, may_delete_comment, request};
use balcony_http::{Identity, NoBody, PathId, Problem, Role, SentJson};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::CommandApi;
use crate::command::{Command, broken_rules};
use crate::creating::{Created, Creation, Request};

/// A comment to post.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostComment {
    /// Up to 200 characters; none when empty.
    title: Option<String>,
    /// 1 to 10,000 characters after trimming.
    #[schema(required, nullable = false, min_length = 1)]
    body: Option<String>,
}

/// What digests of these requests begin with.
const FIELDS: &[&str] = &["title", "body"];

/// Posts a comment on a movie.
#[utoipa::path(
    post, path = "/v1/movies/{id}/comments", tag = "comments", operation_id = "post_comment",
    params(("id" = Uuid, Path, description = "The movie")),
    responses((status = 201, description = "Posted; `Location` says where", body = Created)),
)]
pub(crate) async fn post(
    State(api): State<Arc<CommandApi>>,
    author: Identity,
    PathId(movie_id): PathId<MovieId>,
    creation: Creation,
    SentJson { fields: body, sent }: SentJson<PostComment>,
) -> Result<Response, Problem> {
    let text = request::comment(body.title.as_deref(), body.body.as_deref());
    let text = text.map_err(broken_rules)?;
    if !api.registry.movie_exists(movie_id).await? {
        return Err(Problem::not_found("there is no movie with this id"));
    }
    api.create(&creation, &author, "comments", Request { first: FIELDS, sent: &sent }, |id| {
        Event::CommentPosted(CommentPosted {
            comment_id: CommentId(id),
            movie_id,
            author_id: UserId(author.user),
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
        (status = 403, description = "The user is neither the author nor a moderator"),
    ),
)]
pub(crate) async fn delete(
    State(api): State<Arc<CommandApi>>,
    who: Identity,
    PathId(comment_id): PathId<CommentId>,
    command: Command,
    _: NoBody,
) -> Result<Response, Problem> {
    let Some(comment) = api.registry.comment(comment_id).await? else {
        return Err(Problem::not_found("there is no comment with this id"));
    };
    let (user, role) = (UserId(who.user), recorded(who.role));
    if !may_delete_comment(comment.author, user, role) {
        return Err(Problem::forbidden("only its author and moderators may delete a comment"));
    }
    let written = if comment.deleted {
        // What the registry has read includes the deletion.
        api.registry.reached().await?
    } else {
        let mut written = api.introduce(&who, &command).await?;
        let deletion = CommentDeleted { comment_id, deleted_by: user, role };
        written.merge(
            &api.recorder
                .record(
                    id_of_deletion(comment_id, user),
                    Event::CommentDeleted(deletion),
                    None,
                    command.traceparent.as_deref(),
                )
                .await?,
        );
        written
    };
    Ok(api.done(StatusCode::NO_CONTENT, &command, &written))
}

/// A token's role as events record it.
fn recorded(role: Role) -> balcony_domain::Role {
    match role {
        Role::User => balcony_domain::Role::User,
        Role::Moderator => balcony_domain::Role::Moderator,
        Role::Admin => balcony_domain::Role::Admin,
    }
}
