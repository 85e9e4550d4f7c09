//! Records on their way to becoming events.

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;

use balcony_event_log::{Record, TopicPartition};

use crate::decode::Decode;
use crate::taken::Taken;

/// An event and where it stands in the log. The event's own fields and methods are reached directly.
#[derive(Debug, Clone)]
pub struct Received<E> {
    /// The partition it was read from.
    pub partition: TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// When its record was appended, in milliseconds since 1970; 0 when the log does not know.
    pub appended_at: i64,
    /// The event, which other steps may read at the same time.
    pub value: Arc<E>,
}

impl<E> Deref for Received<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.value
    }
}

/// Events of the type that their step reads, as it decoded them: a `Vec<Received<Event>>` behind [`Any`].
pub(crate) struct Events {
    of_its_type: Box<dyn Any + Send + Sync>,
    count: usize,
}

/// What became of a record that was to be decoded.
pub(crate) enum Verdict {
    /// It is among the events now.
    Applies,
    /// Its type is not known here.
    Unknown,
    /// It should be an event and is not, for this reason.
    Broken(String),
}

/// How the records of one step become events, whatever their type is.
pub(crate) trait Reads: Send + Sync {
    /// No events yet, and room for some.
    fn events(&self, capacity: usize) -> Events;

    /// Whether the record could matter to the step.
    fn wants(&self, record: &Record) -> bool;

    /// Decodes a record that is wanted and adds it to `events`.
    fn decode(&self, record: &Taken, events: &mut Events) -> Verdict;
}

const SAME_TYPE: &str = "events stay with the step that decoded them";

impl Events {
    pub(crate) fn with_capacity<E: Decode>(capacity: usize) -> Self {
        Self { of_its_type: Box::new(Vec::<Received<E>>::with_capacity(capacity)), count: 0 }
    }

    pub(crate) fn decode<E: Decode>(&mut self, record: &Taken) -> Verdict {
        match record.event::<E>() {
            Ok(Some(value)) => {
                let events: &mut Vec<Received<E>> = self.of_its_type.downcast_mut().expect(SAME_TYPE);
                let Record { partition, offset, timestamp, .. } = &**record;
                events.push(Received { partition: partition.clone(), offset: *offset, appended_at: *timestamp, value });
                self.count += 1;
                Verdict::Applies
            }
            Ok(None) => Verdict::Unknown,
            Err(error) => Verdict::Broken(error),
        }
    }

    pub(crate) fn of<E: Decode>(&self) -> &[Received<E>] {
        let events: &Vec<Received<E>> = self.of_its_type.downcast_ref().expect(SAME_TYPE);
        events
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}
