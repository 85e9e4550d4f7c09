use std::sync::Arc;

use balcony_event_log::{EventLog, Record};
use tokio::sync::{Semaphore, watch};

use super::{AnyReactor, DeliveryPolicy, Publisher, ReactError};
use crate::keeper::catch_panic;
use crate::observer::{Backoff, Observer};
use crate::worker::told_to;

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
    /// It is to be parked, for this reason.
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
        let id = self.reactor.delivery_id(&record);
        let mut backoff = Backoff::between(self.policy.first_pause, self.policy.longest_pause);
        let mut attempt = 1;
        loop {
            let place = tokio::select! {
                biased;
                () = told_to(&mut closing) => return Outcome::Interrupted,
                place = self.places.acquire() => place,
            };
            let publisher = Publisher::new(self.log.clone(), id);
            let attempted = catch_panic(self.reactor.attempt(&record, id, attempt, &publisher));
            let attempted = tokio::time::timeout(self.policy.patience, attempted).await;
            drop(place);

            let reason = match attempted {
                Ok(Some(Ok(true))) => return Outcome::Delivered,
                Ok(Some(Ok(false))) => return Outcome::Unknown,
                Ok(Some(Err(ReactError::Refused(reason)))) => return Outcome::Failed(reason),
                Ok(Some(Err(ReactError::Retry(reason)))) => reason,
                Ok(None) => "it panicked; the message is in the log".to_owned(),
                Err(_) => format!("it took longer than {:?}", self.policy.patience),
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
