//! A record that is no event of ours, inside an event that only lines know.

use anyhow::{Context as _, anyhow};
use balcony_domain::Timestamp;
use balcony_domain::cloud_event::SOURCE;
use balcony_event_log::{Headers, Message, Record};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::line::without_line;
use super::place::Place;

/// The type of a wrapper. It is never in a log.
pub(super) const TYPE: &str = "balcony.log.record.v1";

/// The record. Bytes are in base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    key: String,
    /// Names and values, in order.
    headers: Vec<(String, String)>,
    payload: String,
}

#[derive(Serialize)]
struct Wrapper {
    specversion: &'static str,
    id: String,
    source: &'static str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    datacontenttype: &'static str,
    balconyposition: String,
    data: Data,
}

/// The line of `record`, which stands at `place`.
pub(super) fn encode(place: Place, record: &Record) -> Vec<u8> {
    let data = Data {
        key: STANDARD.encode(&record.key),
        headers: record.headers.iter().map(|(name, value)| (name.to_owned(), STANDARD.encode(value))).collect(),
        payload: STANDARD.encode(&record.payload),
    };
    let wrapper = Wrapper {
        specversion: "1.0",
        id: place.to_string(),
        source: SOURCE,
        r#type: TYPE,
        time: Timestamp::from_milliseconds(record.timestamp).ok(),
        datacontenttype: "application/json",
        balconyposition: place.to_string(),
        data,
    };
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
