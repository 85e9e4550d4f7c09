use balcony_event_log::{Headers, Message};

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
