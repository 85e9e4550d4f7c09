use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use balcony_event_log::{AppendError, EventLog, Headers, Message, Position};
use uuid::Uuid;

use super::error::ReactError;
use crate::backoff::Backoff;

/// The header that holds an event's id.
const ID: &str = "ce_id";

/// Appends to the log what a reactor publishes about one delivery.
pub struct Publisher {
    /// `None` where nothing can be appended: beside the process that has the log.
    log: Option<Arc<dyn EventLog>>,
    /// The id of the delivery.
    delivery: Uuid,
    published: AtomicU32,
    /// Whether something was to be published that could not be.
    refused: AtomicBool,
}

impl Publisher {
    pub(super) fn new(log: Arc<dyn EventLog>, delivery: Uuid) -> Self {
        Self::of(Some(log), delivery)
    }

    /// One that refuses whatever is published.
    pub(super) fn without_log(delivery: Uuid) -> Self {
        Self::of(None, delivery)
    }

    fn of(log: Option<Arc<dyn EventLog>>, delivery: Uuid) -> Self {
        Self { log, delivery, published: AtomicU32::new(0), refused: AtomicBool::new(false) }
    }

    /// Whether something was to be published that could not be.
    pub(super) fn has_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Appends a message to a topic and says where it stands. It gets a `ce_id` of its own, in place of any it has,
    /// made of the delivery's id and of how many messages were published about the delivery before: a reactor that
    /// publishes the same messages in the same order at every attempt gives each its id again. So whoever reads the
    /// topic drops repeats by that id, and steps can be chained: a reactor that reads the topic delivers under an id
    /// made of this one.
    ///
    /// While the log is away this waits, as long as the attempt may take.
    ///
    /// # Errors
    /// [`ReactError::Refused`] for a message that is larger than the log takes, for a topic that it does not have, and
    /// for every message where an operator retries a record beside the process that alone appends to the log.
    pub fn publish(
        &self,
        topic: &str,
        mut message: Message,
    ) -> impl Future<Output = Result<Position, ReactError>> + Send {
        // Counted when it is called, not when it is awaited: messages may be published at the same time.
        let before = self.published.fetch_add(1, Ordering::Relaxed);
        let id = Uuid::new_v5(&self.delivery, &before.to_be_bytes());
        message.headers = with_id(&message.headers, id);
        async move {
            let Some(log) = &self.log else {
                self.refused.store(true, Ordering::Relaxed);
                return Err(ReactError::Refused("another process has the log".to_owned()));
            };
            let mut backoff = Backoff::new();
            loop {
                match log.append(topic, message.clone()).await {
                    Ok(position) => return Ok(position),
                    Err(error @ (AppendError::TooLarge | AppendError::UnknownTopic { .. })) => {
                        return Err(ReactError::Refused(error.to_string()));
                    }
                    // Whether it was written or not: it is the same message under the same id.
                    Err(error @ (AppendError::Unavailable(_) | AppendError::Unknown(_) | AppendError::Foreign(_))) => {
                        tracing::warn!(topic, %error, "a message waits for the log");
                        backoff.pause().await;
                    }
                }
            }
        }
    }
}

/// `headers` with this id and no other.
fn with_id(headers: &Headers, id: Uuid) -> Headers {
    let mut with_id = Headers::new();
    with_id.push(ID, id.to_string().as_bytes());
    for (name, value) in headers.iter().filter(|(name, _)| *name != ID) {
        with_id.push(name, value);
    }
    with_id
}
