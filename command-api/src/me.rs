use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use balcony_domain::event::{ProfileChanged, UserFavorited, UserUnfavorited};
use balcony_domain::{Event, UserId, may_favorite, name_from_token, request};
use balcony_event_log::Positions;
use balcony_http::{Identity, JsonBody, NoBody, PathId, Problem};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::CommandApi;
use crate::command::{Command, broken_rules};

/// A profile, whole.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeProfile {
    /// 1 to 200 characters.
    #[schema(required, nullable = false, min_length = 1, max_length = 200)]
    display_name: Option<String>,
    /// Up to 1,000 characters.
    about: Option<String>,
    /// Up to 100 characters.
    location: Option<String>,
}

/// Replaces one's own profile, whole.
#[utoipa::path(
    put, path = "/v1/me", tag = "me", operation_id = "change_profile",
    responses((status = 204, description = "Replaced")),
)]
pub(crate) async fn change_profile(
    State(api): State<Arc<CommandApi>>,
    me: Identity,
    command: Command,
    JsonBody(body): JsonBody<ChangeProfile>,
) -> Result<Response, Problem> {
    let profile = request::profile(body.display_name.as_deref(), body.about.as_deref(), body.location.as_deref());
    let profile = profile.map_err(broken_rules)?;
    let changed = ProfileChanged {
        user_id: UserId(me.user),
        display_name: profile.display_name,
        about: profile.about,
        location: profile.location,
        initial: false,
    };
    let written = api
        .recorder
        .record(Uuid::now_v7(), Event::ProfileChanged(changed), None, command.traceparent.as_deref())
        .await?;
    Ok(api.done(StatusCode::NO_CONTENT, &command, &written))
}

/// Makes a user one's favourite.
#[utoipa::path(
    put, path = "/v1/me/favorites/{user_id}", tag = "me", operation_id = "add_favorite", params(("user_id" = Uuid, Path, description = "The user")),
    responses(
        (status = 204, description = "A favourite, now or before"),
        (status = 422, description = "The user is oneself"),
    ),
)]
pub(crate) async fn favorite(
    State(api): State<Arc<CommandApi>>,
    me: Identity,
    PathId(followee_id): PathId<UserId>,
    command: Command,
    _: NoBody,
) -> Result<Response, Problem> {
    let pair = UserFavorited { follower_id: UserId(me.user), followee_id };
    api.word_on(&me, followee_id, Event::UserFavorited(pair), &command).await
}

/// Lets a favourite go.
#[utoipa::path(
    delete, path = "/v1/me/favorites/{user_id}", tag = "me", operation_id = "remove_favorite", params(("user_id" = Uuid, Path, description = "The user")),
    responses(
        (status = 204, description = "No favourite, now or before"),
        (status = 422, description = "The user is oneself"),
    ),
)]
pub(crate) async fn unfavorite(
    State(api): State<Arc<CommandApi>>,
    me: Identity,
    PathId(followee_id): PathId<UserId>,
    command: Command,
    _: NoBody,
) -> Result<Response, Problem> {
    let pair = UserUnfavorited { follower_id: UserId(me.user), followee_id };
    api.word_on(&me, followee_id, Event::UserUnfavorited(pair), &command).await
}

impl CommandApi {
    /// Records what `me` says of `followee`.
    async fn word_on(
        &self,
        me: &Identity,
        followee: UserId,
        event: Event,
        command: &Command,
    ) -> Result<Response, Problem> {
        if !may_favorite(UserId(me.user), followee) {
            return Err(Problem::broken_rule("nobody is a favourite of oneself"));
        }
        if !self.registry.user_exists(followee).await? {
            return Err(Problem::not_found("there is no user with this id"));
        }
        let mut written = self.introduce(me, command).await?;
        written.merge(&self.recorder.record(Uuid::now_v7(), event, None, command.traceparent.as_deref()).await?);
        Ok(self.done(StatusCode::NO_CONTENT, command, &written))
    }

    /// Records a user's first profile, by the token, before the user's first command, and gives what that wrote. It
    /// waits for the registry, so that whatever the user does next stands behind a user that every reader knows. A user
    /// may be introduced twice: the first introduction counts, and none replaces a profile.
    pub(crate) async fn introduce(&self, identity: &Identity, command: &Command) -> Result<Positions, Problem> {
        let user_id = UserId(identity.user);
        if self.registry.user_is_known(user_id).await? {
            return Ok(Positions::new());
        }
        let profile = ProfileChanged {
            user_id,
            display_name: name_from_token(identity.name.as_deref(), user_id),
            about: None,
            location: None,
            initial: true,
        };
        let written = self
            .recorder
            .record(Uuid::now_v7(), Event::ProfileChanged(profile), None, command.traceparent.as_deref())
            .await?;
        self.registry.wait_for(&written).await?;
        Ok(written)
    }
}
