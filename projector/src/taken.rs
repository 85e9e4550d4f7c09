//! Records as the steps of a process take them from the log: those that several steps take are kept once, and decoded
//! once.

use std::any::Any;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use balcony_event_log::{Incoming, Record};

use crate::decode::Decode;

/// Records that a step takes together.
pub(crate) type Batch = balcony_event_log::Batch<Taken>;

/// A record that a step takes.
#[derive(Debug, Clone)]
pub(crate) enum Taken {
    /// By itself.
    Own(Record),
    /// With others.
    Shared(Arc<Shared>),
}

/// A record that several steps take, and its event once one of them has decoded it.
#[derive(Debug)]
pub(crate) struct Shared {
    record: Record,
    event: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Taken {
    /// A record that several steps take.
    pub(crate) fn shared(record: Record) -> Self {
        Self::Shared(Arc::new(Shared { record, event: OnceLock::new() }))
    }

    /// Its event, as [`Decode::decode`] gives it. Steps that read the same type of event get the same one; where they read
    /// several, those of the first type do.
    pub(crate) fn event<E: Decode>(&self) -> Result<Option<Arc<E>>, String> {
        let decode = |record| Ok(E::decode(record)?.map(Arc::new));
        let Shared { record, event: known } = match self {
            Self::Own(record) => return decode(record),
            Self::Shared(shared) => shared.as_ref(),
        };
        if let Some(known) = known.get()
            && let Ok(event) = known.clone().downcast()
        {
            return Ok(Some(event));
        }
        let event = decode(record)?;
        if let Some(event) = &event {
            // Another may have been faster.
            let _ = known.set(event.clone());
        }
        Ok(event)
    }
}

impl Deref for Taken {
    type Target = Record;

    fn deref(&self) -> &Record {
        match self {
            Self::Own(record) => record,
            Self::Shared(shared) => &shared.record,
        }
    }
}

impl From<Record> for Taken {
    fn from(record: Record) -> Self {
        Self::Own(record)
    }
}

/// A batch of which nobody else takes anything.
pub(crate) fn own(batch: balcony_event_log::Batch) -> Batch {
    batch.map(Taken::Own)
}

/// The same of what a reader hands out.
pub(crate) fn own_of(incoming: Incoming) -> Incoming<Taken> {
    match incoming {
        Incoming::Assigned(partitions) => Incoming::Assigned(partitions),
        Incoming::Revoked(partitions) => Incoming::Revoked(partitions),
        Incoming::Records(batch) => Incoming::Records(own(batch)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use balcony_event_log::{Headers, TopicPartition};

    use super::*;

    /// How often [`Counted`] was decoded in this thread's test.
    static DECODED: AtomicUsize = AtomicUsize::new(0);

    #[derive(Debug, PartialEq)]
    struct Counted(Vec<u8>);

    impl Decode for Counted {
        fn decode(record: &Record) -> Result<Option<Self>, String> {
            DECODED.fetch_add(1, Ordering::Relaxed);
            match &*record.payload {
                [] => Ok(None),
                b"broken" => Err("broken".into()),
                payload => Ok(Some(Self(payload.to_vec()))),
            }
        }
    }

    fn record(payload: &[u8]) -> Record {
        Record {
            partition: TopicPartition::new("t", 0),
            offset: 0,
            timestamp: 0,
            key: Vec::new(),
            headers: Headers::new(),
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn an_event_is_decoded_once_for_all_steps_of_its_type() {
        let taken = Taken::shared(record(b"one"));
        let steps = [taken.clone(), taken.clone(), taken];
        let events = steps.map(|taken| taken.event::<Counted>().expect("decoded").expect("known"));
        assert_eq!(DECODED.load(Ordering::Relaxed), 1);
        assert!(events.iter().all(|event| Arc::ptr_eq(event, &events[0]) && event.0 == b"one"));
        for (payload, expected) in [(&b""[..], Ok(None)), (b"broken", Err("broken".to_owned()))] {
            let taken = Taken::shared(record(payload));
            assert_eq!(taken.event::<Counted>(), expected);
            assert_eq!(taken.clone().event::<Counted>(), expected);
        }
    }

    #[test]
    fn steps_of_other_types_decode_for_themselves() {
        let taken = Taken::shared(record(b"one"));
        let text = taken.event::<String>().expect("decoded").expect("a text");
        assert_eq!(taken.event::<Record>().expect("decoded").as_deref(), Some(&record(b"one")));
        assert!(Arc::ptr_eq(&taken.event::<String>().expect("decoded").expect("a text"), &text));
    }
}
