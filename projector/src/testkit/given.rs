use balcony_domain::{Event, Recorded, Timestamp};
use balcony_event_log::{Headers, Message};
use uuid::Uuid;

/// What may stand in the log of a scenario. Records of one key stay in order; records without a key, and those of
/// different keys, may be in different partitions.
pub trait Given {
    /// The record for it, which is the scenario's `number`th, counted from 0.
    fn message(self, number: usize) -> Message;
}

impl Given for Message {
    fn message(self, _: usize) -> Message {
        self
    }
}

/// A key and a payload.
impl<K: Into<Vec<u8>>, P: Into<Vec<u8>>> Given for (K, P) {
    fn message(self, _: usize) -> Message {
        Message { key: self.0.into(), headers: Headers::new(), payload: self.1.into() }
    }
}

/// As the command side writes it.
impl Given for Recorded {
    fn message(self, _: usize) -> Message {
        let mut headers = Headers::new();
        for (name, value) in self.headers() {
            headers.push(name, value.as_bytes());
        }
        Message { key: self.event.aggregate().to_string().into_bytes(), headers, payload: self.event.data() }
    }
}

/// An event whose time is its number, in milliseconds since 1970, and whose id is made of it.
impl Given for Event {
    fn message(self, number: usize) -> Message {
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes());
        let milliseconds = i64::try_from(number).unwrap_or(i64::MAX);
        let time = Timestamp::from_milliseconds(milliseconds).expect("a scenario is not that long");
        Recorded { id, time, request_digest: None, traceparent: None, event: self }.message(number)
    }
}
