//! Commands that make something new, under an idempotency key or without one.

use std::ops::Deref;
use std::sync::Arc;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use balcony_domain::{Event, UserId, id_of_request};
use balcony_event_log::Positions;
use balcony_http::describe::{Describe, Description};
use balcony_http::{IdempotencyKey, Identity, Problem};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::CommandApi;
use crate::command::Command;
use crate::idempotency::{TURN_TIMEOUT, digest};

/// A command that is done once under each key. Other commands may be repeated as they are, and have none.
pub(crate) struct Creation {
    command: Command,
    key: Option<IdempotencyKey>,
    method: String,
    path: String,
}

/// What a command was sent as.
pub(crate) struct Request<'r> {
    /// The fields that its digest begins with ([`digest`]).
    pub(crate) first: &'static [&'static str],
    /// All fields that were sent.
    pub(crate) sent: &'r Map<String, Value>,
}

/// The answer to a command that made something.
#[derive(Serialize, ToSchema)]
pub(crate) struct Created {
    /// The id of what was made.
    id: Uuid,
}

impl Creation {
    /// The id of what this command of `user` makes when it carries a key.
    pub(crate) fn derived_id(&self, user: UserId) -> Option<Uuid> {
        let Self { key, method, path, .. } = self;
        key.as_ref().map(|key| id_of_request(user, method, path, key.as_str()))
    }
}

impl Deref for Creation {
    type Target = Command;

    fn deref(&self) -> &Command {
        &self.command
    }
}

impl FromRequestParts<Arc<CommandApi>> for Creation {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<CommandApi>) -> Result<Self, Problem> {
        Ok(Self {
            command: Command::from_request_parts(parts, api).await?,
            key: IdempotencyKey::take(&parts.headers)?,
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
        })
    }
}

impl Describe for Creation {
    fn describe(description: &mut Description<'_>) {
        IdempotencyKey::describe(description);
        Command::describe(description);
    }
}

impl CommandApi {
    /// Makes something new: appends the event that `event` gives for the new id, and answers 201.
    ///
    /// Under an idempotency key the id is derived from the key, so a repetition names the same thing:
    ///
    /// | the registry, read up to the log's end, has | then |
    /// |---|---|
    /// | nothing under the id | the event is appended, and the registry is read again once it has come there |
    /// | the same request | its answer is given again |
    /// | another request | 422 |
    ///
    /// Two instances may append under one key at the same time. Every consumer takes the first record of an id and
    /// drops the second; asking the registry after the append tells whose was first.
    pub(crate) async fn create(
        self: &Arc<Self>,
        creation: &Creation,
        identity: &Identity,
        collection: &str,
        request: Request<'_>,
        event: impl FnOnce(Uuid) -> Event,
    ) -> Result<Response, Problem> {
        let Some(id) = creation.derived_id(UserId(identity.user)) else {
            let mut written = self.introduce(identity, creation).await?;
            // Made after the introduction, so that it sorts after it within a millisecond.
            let id = Uuid::now_v7();
            written.merge(&self.recorder.record(id, event(id), None, creation.traceparent.as_deref()).await?);
            return Ok(self.created(creation, collection, id, &written));
        };

        let digest = digest(request.first, request.sent);
        let turn = self.in_flight.turn(id, TURN_TIMEOUT).await?;
        if let Some(first) = self.registry.request(id).await? {
            return self.again(creation, collection, id, &digest, &first).await;
        }
        let mut written = self.introduce(identity, creation).await?;
        // When a client has left and comes again, its turn comes after this one's.
        let (api, event, traceparent) = (self.clone(), event(id), creation.traceparent.clone());
        let request_digest = Some(digest.clone());
        let recording = turn.finish(async move {
            let recorded = api.recorder.record(id, event, request_digest, traceparent.as_deref()).await?;
            let first = api.registry.request_after(id, &recorded).await?;
            Ok::<_, Problem>((recorded, first))
        });
        let (recorded, first) = recording.await??;
        written.merge(&recorded);
        if first != digest {
            return Err(Problem::key_reused());
        }
        Ok(self.created(creation, collection, id, &written))
    }

    /// Answers a command whose id the registry has, made by the request with the digest `first`.
    async fn again(
        &self,
        creation: &Creation,
        collection: &str,
        id: Uuid,
        digest: &str,
        first: &str,
    ) -> Result<Response, Problem> {
        if first != digest {
            return Err(Problem::key_reused());
        }
        // Whoever reads with this token sees what has become of it since, such as its deletion.
        let written = self.recorder.ends().await?;
        Ok(self.created(creation, collection, id, &written))
    }

    /// 201, with where the new thing is.
    fn created(&self, command: &Command, collection: &str, id: Uuid, written: &Positions) -> Response {
        let location = (header::LOCATION, format!("{}/v1/{collection}/{id}", self.query_api_url));
        let (name, value) = self.token(command, written);
        let mut response = (StatusCode::CREATED, [location], Json(Created { id })).into_response();
        response.headers_mut().insert(name, value);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes the futures have that `make` makes.
    fn size<A, F: Future>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    /// Each request's future is moved several times before it is where it stays. Waiting for a database takes much room, and
    /// few commands do.
    #[test]
    fn a_command_does_not_carry_what_few_commands_need() {
        let size =
            size(|(api, creation, identity): (&'static Arc<CommandApi>, &'static Creation, &'static Identity)| {
                let request = Request { first: &[], sent: Box::leak(Box::default()) };
                api.create(creation, identity, "things", request, |_| unreachable!())
            });
        assert!(size < 2_048, "{size}");
    }
}
