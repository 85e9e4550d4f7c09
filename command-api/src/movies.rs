use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use balcony_domain::event::{MovieRegistered, MovieViewed};
use balcony_domain::{Event, MovieId, UserId, request};
use balcony_http::{Admin, FieldError, NoBody, PathId, Problem, SentJson, Visitor};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::CommandApi;
use crate::command::{Command, broken_rules};
use crate::creating::{Created, Creation, Request};

/// A movie to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterMovie {
    /// 1 to 200 characters.
    #[schema(required, nullable = false, min_length = 1, max_length = 200)]
    title: Option<String>,
    /// The company it belongs to.
    #[schema(format = "uuid")]
    company_id: Option<String>,
    /// The day it came out.
    #[schema(format = "date")]
    released_on: Option<String>,
}

/// What digests of these requests begin with.
const FIELDS: &[&str] = &["title", "company_id", "released_on"];

/// Registers a movie.
#[utoipa::path(
    post, path = "/v1/movies", tag = "movies", operation_id = "register_movie",
    responses(
        (status = 201, description = "Registered; `Location` says where", body = Created),
        (status = 422, description = "The company is unknown"),
    ),
)]
pub(crate) async fn register(
    State(api): State<Arc<CommandApi>>,
    Admin(admin): Admin,
    creation: Creation,
    SentJson { fields: body, sent }: SentJson<RegisterMovie>,
) -> Result<Response, Problem> {
    let movie = request::movie(body.title.as_deref(), body.company_id.as_deref(), body.released_on.as_deref());
    let movie = movie.map_err(broken_rules)?;
    if let Some(company) = movie.company
        && !api.registry.company_exists(company).await?
    {
        return Err(Problem::invalid(vec![FieldError::field("company_id", "is not the id of a company")]));
    }
    api.create(&creation, &admin, "movies", Request { first: FIELDS, sent: &sent }, |id| {
        Event::MovieRegistered(MovieRegistered {
            movie_id: MovieId(id),
            title: movie.title,
            company_id: movie.company,
            released_on: movie.released_on,
        })
    })
    .await
}

/// Notes that a movie's page was viewed.
#[utoipa::path(
    post, path = "/v1/movies/{id}/views", tag = "movies", operation_id = "view_movie", params(("id" = Uuid, Path, description = "The movie")),
    responses((status = 202, description = "Noted")),
)]
pub(crate) async fn view(
    State(api): State<Arc<CommandApi>>,
    PathId(movie_id): PathId<MovieId>,
    Visitor(visitor): Visitor,
    command: Command,
    _: NoBody,
) -> Result<Response, Problem> {
    if !api.registry.movie_exists(movie_id).await? {
        return Err(Problem::not_found("there is no movie with this id"));
    }
    let view = MovieViewed { movie_id, viewer_id: visitor.map(|identity| UserId(identity.user)) };
    let written =
        api.recorder.record(Uuid::now_v7(), Event::MovieViewed(view), None, command.traceparent.as_deref()).await?;
    Ok(api.done(StatusCode::ACCEPTED, &command, &written))
}
