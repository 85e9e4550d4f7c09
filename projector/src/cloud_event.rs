//! What a record says of itself as a CloudEvent in binary mode, for programs whose events are some.
//!
//! Nobody has to write CloudEvents, but whatever the library appends by itself is one, and operators see these headers.

use std::ops::Deref;

use balcony_event_log::{Headers, Record};
use uuid::Uuid;

use crate::moment::Moment;
use crate::received::Decode;

/// An event, and the id by which it is known however often it stands in the log. The event's own fields and methods are
/// reached directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified<E> {
    /// The record's `ce_id`.
    pub id: Uuid,
    /// The event.
    pub event: E,
}

/// The headers of an event: `id`, where it comes from, what it is called, and when it happened.
pub fn headers(id: Uuid, source: &str, of_type: &str, time: Moment) -> Headers {
    let (id, time) = (id.to_string(), time.to_string());
    let attributes =
        [("ce_specversion", "1.0"), ("ce_id", &id), ("ce_source", source), ("ce_type", of_type), ("ce_time", &time)];
    attributes.into_iter().collect()
}

/// The record's id.
///
/// # Errors
/// When it has none that is a UUID.
pub fn id(record: &Record) -> Result<Uuid, String> {
    let id = record.headers.get("ce_id").ok_or("ce_id is missing")?;
    Uuid::try_parse_ascii(id).map_err(|_| "ce_id is not a UUID".to_owned())
}

/// When what the record says happened.
///
/// # Errors
/// When it does not say, or not as a time of RFC 3339.
pub fn time(record: &Record) -> Result<Moment, String> {
    let time = record.headers.get("ce_time").ok_or("ce_time is missing")?;
    let time = std::str::from_utf8(time).ok().and_then(|time| time.parse().ok());
    time.ok_or_else(|| "ce_time is not a time of RFC 3339".to_owned())
}

/// Whether the record is an event of this type.
pub fn is_of_type(record: &Record, of_type: &str) -> bool {
    record.headers.get("ce_type") == Some(of_type.as_bytes())
}

impl<E: Decode> Decode for Identified<E> {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let id = id(record)?;
        Ok(E::decode(record)?.map(|event| Self { id, event }))
    }
}

impl<E> Deref for Identified<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.event
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use balcony_event_log::TopicPartition;

    use super::*;

    fn record(headers: Headers, payload: &[u8]) -> Record {
        let partition = TopicPartition::new("orders", 0);
        Record { partition, offset: 0, timestamp: 0, key: Vec::new(), headers, payload: payload.to_vec() }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (at, time) = (Uuid::from_u128(7), Moment::from_milliseconds(1_580_000_000_123));
        let written = record(headers(at, "/shop", "shop.sold.v1", time), b"tea");
        assert_eq!((id(&written), super::time(&written)), (Ok(at), Ok(time)));
        assert!(is_of_type(&written, "shop.sold.v1") && !is_of_type(&written, "shop.sold.v2"));
        let event = Identified::<String>::decode(&written).unwrap().unwrap();
        assert_eq!((event.id, event.as_str()), (at, "tea"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let bare = record(Headers::new(), b"tea");
        assert_eq!(id(&bare), Err("ce_id is missing".to_owned()));
        assert_eq!(time(&bare), Err("ce_time is missing".to_owned()));
        let wrong = record([("ce_id", "7"), ("ce_time", "noon")].into_iter().collect(), b"\xff");
        assert_eq!(id(&wrong), Err("ce_id is not a UUID".to_owned()));
        assert_eq!(time(&wrong), Err("ce_time is not a time of RFC 3339".to_owned()));
        assert!(Identified::<String>::decode(&wrong).is_err() && String::decode(&wrong).is_err());
    }
}
