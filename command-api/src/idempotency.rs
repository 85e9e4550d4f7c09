use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::Response;
use balcony_domain::Event;
use balcony_http::{Identity, Problem};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use crate::CommandApi;
use crate::command::Command;

/// The keyed commands that this process is at: one at a time under each key.
#[derive(Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>>);

/// Holds a key until it is dropped.
struct Turn {
    in_flight: InFlight,
    id: Uuid,
    guard: Option<OwnedMutexGuard<()>>,
}

/// How long a command waits for the one before it under its key.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

impl InFlight {
    async fn turn(&self, id: Uuid, patience: Duration) -> Result<Turn, Problem> {
        let lock = self.lock(id);
        // From here on the entry is removed whatever happens.
        let mut turn = Turn { in_flight: self.clone(), id, guard: None };
        let guard = tokio::time::timeout(patience, lock.lock_owned()).await;
        turn.guard = Some(guard.map_err(|_| Problem::in_progress())?);
        Ok(turn)
    }

    fn lock(&self, id: Uuid) -> Arc<tokio::sync::Mutex<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default().clone()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = self.in_flight.0.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.get(&self.id).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.id);
        }
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
        &self,
        command: &Command,
        identity: &Identity,
        collection: &str,
        request: &impl Serialize,
        event: impl FnOnce(Uuid) -> Event,
    ) -> Result<Response, Problem> {
        let Some(id) = command.derived_id(identity) else {
            let mut written = self.register(identity, command).await?;
            // Made after the registration, so that it sorts after it within a millisecond.
            let id = Uuid::now_v7();
            written.merge(&self.recorder.record(id, event(id), None, command).await?);
            return Ok(self.created(command, collection, id, &written));
        };

        let digest = digest(request);
        let _turn = self.in_flight.turn(id, TURN_TIMEOUT).await?;
        if let Some(first) = self.registry.request(id).await? {
            return self.again(command, collection, id, &digest, &first).await;
        }
        let mut written = self.register(identity, command).await?;
        written.merge(&self.recorder.record(id, event(id), Some(digest.clone()), command).await?);
        let first = self.registry.request_after(id, &written).await?;
        if first != digest {
            return Err(Problem::key_reused());
        }
        Ok(self.created(command, collection, id, &written))
    }

    async fn again(
        &self,
        command: &Command,
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
        Ok(self.created(command, collection, id, &written))
    }
}

/// The digest by which the same request is known again: of its fields, whatever their order and spacing was.
fn digest(request: &impl Serialize) -> String {
    use std::fmt::Write as _;

    let bytes = serde_json::to_vec(request).expect("requests have string keys and no fallible parts");
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_command_at_a_time_holds_a_key_and_nothing_is_left_behind() {
        let in_flight = InFlight::default();
        let id = Uuid::from_u128(1);
        let first = in_flight.turn(id, TURN_TIMEOUT).await.expect("a turn");
        let waiting = tokio::spawn({
            let in_flight = in_flight.clone();
            async move { in_flight.turn(id, TURN_TIMEOUT).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.expect("no panic").expect("a turn");
        assert!(in_flight.0.lock().expect("no panic").is_empty());
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_that_the_other_is_under_way() {
        let in_flight = InFlight::default();
        let id = Uuid::from_u128(1);
        let first = in_flight.turn(id, TURN_TIMEOUT).await.expect("a turn");
        assert_eq!(in_flight.turn(id, Duration::ZERO).await.err().map(|problem| problem.status().as_u16()), Some(409));
        drop(first);
        assert!(in_flight.0.lock().expect("no panic").is_empty());
    }
}
