use std::sync::Arc;

use balcony_event_log::{EventLog, Record};
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::error::ReactError;
use super::publisher::Publisher;
use super::spec::{AnyReactor, DeliveryPolicy};
use crate::backoff::Backoff;
use crate::observer::Observer;
use crate::supervise::{catch_panic, told_to};

/// Delivers records, each until it is done or given up.
pub(super) struct Deliverer {
    reactor: AnyReactor,
    policy: DeliveryPolicy,
    log: Arc<dyn EventLog>,
    /// One for each attempt that may be under way.
    places: Semaphore,
    /// Whether no attempt may begin any more.
    closing: watch::Sender<bool>,
    observer: Observer,
}

/// What became of a record.
#[derive(Debug)]
pub(super) enum Outcome {
    Delivered,
    /// Its type is not known here.
    Unknown,
    /// It is no event, for this reason, and is to be parked.
    Broken(String),
    /// Whoever would have the effect refuses it for good, for this reason, and it is to be parked.
    Refused(String),
    /// It is to be parked for now, for this reason, and tried again from there.
    Later(String),
    /// It failed at every attempt, the last for this reason, and is to be parked.
    Failed(String),
    /// No attempt may begin any more.
    Interrupted,
}

impl Deliverer {
    pub(super) fn new(reactor: AnyReactor, log: Arc<dyn EventLog>, observer: Observer) -> Self {
        let policy = reactor.policy();
        let places = Semaphore::new(policy.in_flight.clamp(1, Semaphore::MAX_PERMITS));
        Self { reactor, policy, log, places, closing: watch::Sender::new(false), observer }
    }

    /// Lets no attempt begin any more. Those under way may end.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Delivers one record. While it waits for its next attempt it takes no other's place.
    pub(super) async fn deliver(self: Arc<Self>, record: Arc<Record>) -> Outcome {
        let mut closing = self.closing.subscribe();
        let mut backoff = Backoff::between(self.policy.first_pause, self.policy.longest_pause);
        if let Some(reason) = self.reactor.broken(&record) {
            return Outcome::Broken(reason);
        }
        let id = self.reactor.delivery_id(&record);
        let mut attempt = 1;
        loop {
            let place = tokio::select! {
                biased;
                () = told_to(&mut closing) => return Outcome::Interrupted,
                place = self.places.acquire() => place,
            };
            let publisher = Publisher::new(self.log.clone(), id);
            let attempted = attempt_once(&self.reactor, &record, id, attempt, &publisher).await;
            drop(place);

            let reason = match attempted {
                Ok(true) => return Outcome::Delivered,
                Ok(false) => return Outcome::Unknown,
                Err(ReactError::Refused(reason)) => return Outcome::Refused(reason),
                Err(ReactError::Later(reason)) => return Outcome::Later(reason),
                Err(ReactError::Retry(reason)) => reason,
            };
            if attempt >= self.policy.attempts {
                return Outcome::Failed(format!("{reason} ({attempt} attempts)"));
            }
            self.observer.retrying(&record, attempt, &reason);
            attempt += 1;
            tokio::select! {
                () = backoff.pause() => {}
                () = told_to(&mut closing) => return Outcome::Interrupted,
            }
        }
    }
}

/// Makes one attempt that takes no longer than the policy allows. `false` is an event of a type that is not known here.
pub(super) async fn attempt_once(
    reactor: &AnyReactor,
    record: &Record,
    id: Uuid,
    attempt: u32,
    publisher: &Publisher,
) -> Result<bool, ReactError> {
    let patience = reactor.policy().patience;
    match tokio::time::timeout(patience, catch_panic(reactor.attempt(record, id, attempt, publisher))).await {
        Ok(Some(attempted)) => attempted,
        Ok(None) => Err(ReactError::Retry("it panicked; the message is in the log".to_owned())),
        Err(_) => Err(ReactError::Retry(format!("it took longer than {patience:?}"))),
    }
}
