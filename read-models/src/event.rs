use std::ops::Deref;

use balcony_domain::Recorded;
use balcony_event_log::{Headers, Message, Record};
use balcony_projector::Decode;

/// An event of Balcony as it goes into the log and comes out of it. Its fields are those of [`Recorded`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged(pub Recorded);

impl Logged {
    /// The record for it: its attributes as headers, the id of what it is about as key, its data as payload.
    pub fn message(&self) -> Message {
        let mut headers = Headers::new();
        for (name, value) in self.headers() {
            headers.push(name, value.as_bytes());
        }
        Message { key: self.event.aggregate().to_string().into_bytes(), headers, payload: self.event.data() }
    }
}

impl Deref for Logged {
    type Target = Recorded;

    fn deref(&self) -> &Recorded {
        &self.0
    }
}

impl Decode for Logged {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let recorded = Recorded::decode(|name| record.headers.get(name), &record.payload);
        recorded.map(|recorded| recorded.map(Self)).map_err(|error| error.to_string())
    }
}
