//! What a record says of itself as a CloudEvent in binary mode, for programs whose events are some.
//!
//! Nobody has to write CloudEvents, but whatever the library appends by itself is one, and operators see these headers.

use std::ops::Deref;

use balcony_event_log::{Headers, Message, Record};
use balcony_store::{StoreError, Tx};
use uuid::Uuid;

use crate::decode::Decode;
use crate::moment::Moment;
use crate::received::Received;

/// An event, and the id by which it is known however often it stands in the log. The event's own fields and methods are
/// reached directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified<E> {
    /// The record's `ce_id`.
    pub id: Uuid,
    /// The event.
    pub event: E,
}

impl<E> Identified<E> {
    /// Those of `events` that stand in the log for the first time, of all that were asked for with this `table`: it keeps their
    /// ids, in a column `id UUID` that is its primary key, in the transaction of the rows that are made of them.
    ///
    /// # Errors
    /// As [`Tx::insert_new`].
    pub async fn new_ones<'e>(
        events: &'e [Received<Self>],
        table: &'static str,
        tx: &mut Tx,
    ) -> Result<impl Iterator<Item = &'e Self>, StoreError> {
        let ids: Vec<_> = events.iter().map(|event| [event.id.into()]).collect();
        let new = tx.insert_new(table, &["id"], ["id"], &ids).await?;
        Ok(events.iter().zip(new).filter(|(_, is_new)| *is_new).map(|(event, _)| &**event))
    }
}

/// The headers of an event: `id`, where it comes from, what it is called, and when it happened.
pub fn headers(id: Uuid, source: &str, of_type: &str, time: Moment) -> Headers {
    let (id, time) = (id.to_string(), time.to_string());
    let attributes =
        [("ce_specversion", "1.0"), ("ce_id", &id), ("ce_source", source), ("ce_type", of_type), ("ce_time", &time)];
    attributes.into_iter().collect()
}

/// An event without an id, which it gets from whoever publishes it: a reactor's [`Publisher`](crate::Publisher), an
/// [`Intake`](crate::Intake). It happened now. A payload in JSON is called so.
pub fn message(source: &str, of_type: &str, key: &[u8], payload: Vec<u8>) -> Message {
    let time = Moment::now().to_string();
    let attributes = [("ce_specversion", "1.0"), ("ce_source", source), ("ce_type", of_type), ("ce_time", &time)];
    let mut headers = Headers::from_iter(attributes);
    if serde_json::from_slice::<serde::de::IgnoredAny>(&payload).is_ok() {
        headers.push("content-type", b"application/json");
    }
    Message { key: key.to_vec(), headers, payload }
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

/// Whether the record is an event of one of these types, or anything at all where there are none.
pub fn is_of_one_of(record: &Record, types: &[impl AsRef<str>]) -> bool {
    types.is_empty() || types.iter().any(|one| is_of_type(record, one.as_ref()))
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
        assert!(is_of_one_of(&written, &[] as &[&str]) && is_of_one_of(&written, &["shop.sold.v2", "shop.sold.v1"]));
        assert!(!is_of_one_of(&written, &["shop.sold.v2"]));
        let event = Identified::<String>::decode(&written).unwrap().unwrap();
        assert_eq!((event.id, event.as_str()), (at, "tea"));
    }

    #[test]
    fn what_others_give_an_id_has_all_else() {
        let Message { key, headers, payload } = message("/shop", "shop.sold.v1", b"7", b"{}".to_vec());
        assert_eq!((&key[..], headers.get("content-type")), (&b"7"[..], Some(&b"application/json"[..])));
        let written = record(headers, &payload);
        assert!(is_of_type(&written, "shop.sold.v1") && time(&written).is_ok() && id(&written).is_err());
        assert_eq!(message("/shop", "shop.sold.v1", b"7", b"tea".to_vec()).headers.get("content-type"), None);
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
