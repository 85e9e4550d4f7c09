//! A record that is no CloudEvent or not a well-formed one, inside an event that only lines know.

use anyhow::{Context as _, anyhow};
use balcony_event_log::{Headers, Message, Record};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};

use super::format::{Format, without_line};
use super::place::RecordPlace;
use crate::moment::Moment;

/// The record. Bytes are in base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    key: String,
    /// Names and values, in order.
    headers: Vec<(String, String)>,
    payload: String,
}

/// An event with a record in it.
struct Wrapper<'f> {
    format: &'f Format,
    place: String,
    time: Option<Moment>,
    data: Data,
}

impl Serialize for Wrapper<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", &self.place)?;
        map.serialize_entry("source", &self.format.source)?;
        map.serialize_entry("type", &self.format.wrapper_type)?;
        if let Some(time) = &self.time {
            map.serialize_entry("time", time)?;
        }
        map.serialize_entry("datacontenttype", "application/json")?;
        map.serialize_entry(&self.format.position, &self.place)?;
        map.serialize_entry("data", &self.data)?;
        map.end()
    }
}

/// The line of `record`, which stands at `place`.
pub(super) fn encode(place: RecordPlace, record: &Record, format: &Format) -> Vec<u8> {
    let data = Data {
        key: STANDARD.encode(&record.key),
        headers: record.headers.iter().map(|(name, value)| (name.to_owned(), STANDARD.encode(value))).collect(),
        payload: STANDARD.encode(&record.payload),
    };
    let time = Moment::in_range(record.timestamp);
    let wrapper = Wrapper { format, place: place.text(&format.topics), time, data };
    serde_json::to_vec(&wrapper).expect("texts under names have nothing that cannot be written")
}

/// The record in a wrapper's data.
pub(super) fn decode(data: &[u8]) -> anyhow::Result<Message> {
    let data: Data = serde_json::from_slice(data)
        .map_err(|error| anyhow!("the data is no record: {}", without_line(&error.to_string())))?;
    let bytes = |text: &str| STANDARD.decode(text).context("the data is no record: it is not base64");
    let mut headers = Headers::new();
    for (name, value) in &data.headers {
        headers.push(name, &bytes(value)?);
    }
    Ok(Message { key: bytes(&data.key)?, headers, payload: bytes(&data.payload)? })
}
