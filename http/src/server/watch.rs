//! What the two ends of a connection know of each other: the socket below the HTTP library, and the requests above it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use tokio::net::TcpStream;
use tokio::time::Instant;

/// What happens on a connection.
#[derive(Default)]
pub(super) struct Watch {
    /// Requests so far.
    requests: AtomicU64,
    /// Requests whose answers have been handed over whole.
    answered: AtomicU64,
    /// Answers that are there for the client, and since when it has read nothing of them. Only HTTP/2 has them: on
    /// HTTP/1.1 the socket itself stalls.
    waiting: Mutex<HashMap<u64, Instant>>,
    /// Who waits for an answer to end.
    waiter: Mutex<Option<Waker>>,
    returned: Mutex<Option<TcpStream>>,
}

impl Watch {
    /// A request came; gives its number.
    pub(super) fn begin(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::AcqRel)
    }

    /// A request was answered, or given up.
    pub(super) fn end(&self) {
        self.answered.fetch_add(1, Ordering::AcqRel);
        if let Some(waiter) = self.waiter.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waiter.wake();
        }
    }

    /// Wakes `waker` when a request was answered.
    pub(super) fn wake_at_end(&self, waker: &Waker) {
        *self.waiter.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    /// How many requests have come.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Acquire)
    }

    /// Whether a request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        // In this order an answer in between counts as busy.
        let answered = self.answered.load(Ordering::Acquire);
        self.requests() > answered
    }

    /// Something of the answer to request `number` is there for the client.
    pub(super) fn offer(&self, number: u64) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Instant::now());
    }

    /// The client takes what is there of the answer to request `number`.
    pub(super) fn take(&self, number: u64) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// Since when a client has taken nothing of an answer.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).values().min().copied()
    }

    /// Keeps a socket that the HTTP library is done with.
    pub(super) fn give_back(&self, stream: TcpStream) {
        *self.returned.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }

    /// The socket, when its other end is still there.
    pub(super) fn take_back(&self) -> Option<TcpStream> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
