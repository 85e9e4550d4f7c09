//! What is kept of a parked record beside its place, key and payload, in one text: its headers, and when it was appended.

use balcony_event_log::{Headers, Record};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The text, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    Whole {
        /// In milliseconds since 1970; 0 when the log does not know.
        appended_at: i64,
        /// In their order; a name may be there more than once.
        headers: Vec<(String, Value)>,
    },
    /// Headers alone, each once and as a text: how they were kept before.
    Texts(serde_json::Map<String, serde_json::Value>),
}

/// The value of a header.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Bytes { base64: String },
}

/// The text that is kept of `record`.
pub(crate) fn keep(record: &Record) -> String {
    let value = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => Value::Text(text.to_owned()),
        Err(_) => Value::Bytes { base64: STANDARD.encode(bytes) },
    };
    let headers = record.headers.iter().map(|(name, bytes)| (name.to_owned(), value(bytes))).collect();
    let kept = Kept::Whole { appended_at: record.timestamp, headers };
    serde_json::to_string(&kept).expect("texts and numbers are plain JSON")
}

/// The headers that were kept, and when the record was appended; none and 0 where the text is of nobody who keeps
/// records.
pub(crate) fn read(text: &str) -> (Headers, i64) {
    let mut read = Headers::new();
    match serde_json::from_str::<Kept>(text) {
        Ok(Kept::Whole { appended_at, headers }) => {
            for (name, value) in headers {
                match value {
                    Value::Text(text) => read.push(&name, text.as_bytes()),
                    Value::Bytes { base64 } => read.push(&name, &STANDARD.decode(base64).unwrap_or_default()),
                }
            }
            (read, appended_at)
        }
        Ok(Kept::Texts(headers)) => {
            for (name, value) in &headers {
                read.push(name, value.as_str().unwrap_or_default().as_bytes());
            }
            (read, 0)
        }
        Err(_) => (read, 0),
    }
}

#[cfg(test)]
mod tests {
    use balcony_event_log::TopicPartition;

    use super::*;

    fn record(headers: &[(&str, &[u8])]) -> Record {
        let mut all = Headers::new();
        headers.iter().for_each(|(name, value)| all.push(name, value));
        Record {
            partition: TopicPartition::new("t", 3),
            offset: 7,
            timestamp: 1_700_000_000_123,
            key: Vec::new(),
            headers: all,
            payload: Vec::new(),
        }
    }

    #[test]
    fn headers_come_back_whatever_is_in_them_and_so_does_the_time() {
        for headers in [
            &[][..],
            &[("ce_id", &b"1"[..]), ("a \"b\"\n", b"\0"), ("", b"")],
            &[("twice", b"1"), ("twice", b"2"), ("bytes", &[0xff, 0, 0xfe]), ("base64", b"text")],
        ] {
            let record = record(headers);
            assert_eq!(read(&keep(&record)), (record.headers, record.timestamp));
        }
    }

    #[test]
    fn what_was_kept_before_is_read() {
        let (headers, appended_at) = read(r#"{"ce_id":"1","headers":"x","appended_at":"y"}"#);
        assert_eq!((headers.get("ce_id"), headers.len(), appended_at), (Some(&b"1"[..]), 3, 0));
        for nothing in ["[]", "", "{}", "7"] {
            assert_eq!(read(nothing), (Headers::new(), 0), "{nothing}");
        }
    }
}
