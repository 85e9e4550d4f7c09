//! Commands under idempotency keys: their turns, and the digests by which a repeated request is known.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use balcony_http::Problem;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

/// The commands with a key that this process is doing, by the ids of what they make: one at a time for each id.
#[derive(Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>>);

/// Keeps other commands under the same key waiting until it is dropped.
pub(crate) struct Turn {
    in_flight: InFlight,
    id: Uuid,
    guard: Option<OwnedMutexGuard<()>>,
}

/// How long a command waits for the one before it under its key.
pub(crate) const TURN_TIMEOUT: Duration = Duration::from_secs(5);

impl InFlight {
    /// Waits until no other command makes `id`.
    ///
    /// # Errors
    /// 409 when another is still doing so after `patience`.
    pub(crate) async fn turn(&self, id: Uuid, patience: Duration) -> Result<Turn, Problem> {
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

impl Turn {
    /// Does `work` to its end, although whoever waits for it may leave, and then ends the turn.
    ///
    /// # Errors
    /// 500 when it panics.
    pub(crate) async fn finish<T: Send + 'static>(
        self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let done = tokio::spawn(async move {
            let _turn = self;
            work.await
        });
        done.await.map_err(|error| Problem::internal(&error))
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

/// The SHA-256 of what was sent, in hexadecimal: the same for the same fields, whatever their order, spacing and escapes
/// were, and whether those that have no value are left out or null.
///
/// It is over a JSON object: first the fields `first`, in that order, with null for those that have no value, then what
/// else has one, by name. `first` is what digests in logs were made of when the command had no other fields; it
/// never changes, and a field that the command gets later does not change what is digested without it.
pub(crate) fn digest(first: &[&str], sent: &Map<String, Value>) -> String {
    use std::fmt::Write as _;

    let text = |name: &str| Value::from(name).to_string();
    let known = first.iter().map(|name| format!("{}:{}", text(name), sent.get(*name).unwrap_or(&Value::Null)));
    let others: BTreeMap<_, _> =
        sent.iter().filter(|(name, value)| !first.contains(&name.as_str()) && !value.is_null()).collect();
    let others = others.into_iter().map(|(name, value)| format!("{}:{value}", text(name)));
    let canonical = format!("{{{}}}", known.chain(others).collect::<Vec<_>>().join(","));
    Sha256::digest(canonical).iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Poll;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_was_begun_in_a_turn_is_done_before_the_next_though_whoever_asked_leaves() {
        let (in_flight, id, patience) = (InFlight::default(), Uuid::from_u128(1), Duration::from_secs(60));
        let turn = in_flight.turn(id, patience).await.expect("a turn");
        let (is_begun, begun) = oneshot::channel();
        let (go, may_go) = oneshot::channel();
        let done = Arc::new(AtomicBool::new(false));
        let of_work = done.clone();
        let asking = tokio::spawn(turn.finish(async move {
            is_begun.send(()).expect("the test waits");
            may_go.await.expect("the test goes on");
            of_work.store(true, Ordering::SeqCst);
        }));
        begun.await.expect("it begins");
        asking.abort();
        assert!(asking.await.is_err_and(|error| error.is_cancelled()));

        let mut next = pin!(in_flight.turn(id, patience));
        assert!(poll_fn(|context| Poll::Ready(next.as_mut().poll(context).is_pending())).await);
        go.send(()).expect("it goes on");
        next.await.expect("a turn");
        assert!(done.load(Ordering::SeqCst));
    }

    fn digest_of(json: &str) -> String {
        digest(&["title", "body"], &serde_json::from_str(json).expect("an object"))
    }

    #[test]
    fn a_digest_is_what_logs_have_it_as() {
        // Of `{"title":null,"body":"The last battle!"}`, the form that programs of before gave the request.
        let posted = "db4e9523417c65763cc4358dc4b0632873c4fdec8c3400cc59dbbd74a51c0e1b";
        assert_eq!(digest_of(r#"{"body":"The last battle!"}"#), posted);
    }

    #[test]
    fn a_digest_is_of_what_was_sent_and_not_of_how() {
        let plain = digest_of(r#"{"title":"a","body":"b"}"#);
        assert_eq!(digest_of(r#" { "body" : "\u0062", "title":"a" } "#), plain);
        assert_ne!(digest_of(r#"{"title":"b","body":"a"}"#), plain);
        assert_ne!(digest_of(r#"{"title":"a","body":"b "}"#), plain);
        assert_eq!(digest_of(r#"{"body":"b"}"#), digest_of(r#"{"body":"b","title":null}"#));
        // Whatever the command may learn to take.
        assert_eq!(digest_of(r#"{"title":"a","body":"b","stars":null}"#), plain);
        let stars = digest_of(r#"{"title":"a","body":"b","stars":{"y":1,"x":2},"colour":"red"}"#);
        assert_eq!(digest_of(r#"{"colour":"red","stars":{"x":2,"y":1},"title":"a","body":"b"}"#), stars);
        assert_ne!(stars, plain);
    }

    #[tokio::test]
    async fn one_command_at_a_time_holds_a_key_and_nothing_is_left_behind() {
        let in_flight = InFlight::default();
        let id = Uuid::from_u128(1);
        let first = in_flight.turn(id, TURN_TIMEOUT).await.expect("a turn");
        let mut second = pin!(in_flight.turn(id, TURN_TIMEOUT));
        let waits = poll_fn(|context| Poll::Ready(second.as_mut().poll(context).is_pending())).await;
        assert!(waits);
        drop(first);
        drop(second.await.expect("a turn"));
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
