//! One record as one line: a CloudEvent in the JSON format's structured mode.
//!
//! Headers become attributes in their order, the key the extension `partitionkey`, the payload `data`, verbatim.
//! [`balconyposition`](POSITION) says where the record stood. A record that such a line would not give back byte for byte
//! goes into a [`wrapper`].
//!
//! Source: CloudEvents 1.0.2, its JSON format, and its Partitioning and Distributed Tracing extensions.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{BufRead, Read as _};

use anyhow::{Context as _, anyhow, bail, ensure};
use balcony_domain::{DecodeError, Recorded};
use balcony_event_log::{Message, Record};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::digest::{RecordDigest, of_record};
use super::place::{Place, Topic};
use super::wrapper;

/// Bytes of a line. The largest record, 1 MiB, takes less, even when every character of its headers is escaped.
pub(super) const LINE_LIMIT: usize = 8 << 20;

/// The extension attribute that says where the record stood.
const POSITION: &str = "balconyposition";
const KEY: &str = "partitionkey";
const DATA: &str = "data";
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) topic: Topic,
    /// Where the record stood in the log it comes from; `None` in lines of other origin.
    pub(super) place: Option<Place>,
    pub(super) message: Message,
}

impl Line {
    pub(super) fn digest(&self) -> RecordDigest {
        of_record(self.topic, &self.message.key, &self.message.headers, &self.message.payload)
    }
}

/// The line of `record`, which stands at `place`; without the line's end.
pub(super) fn encode(place: Place, record: &Record) -> Vec<u8> {
    plain(place, record).unwrap_or_else(|| wrapper::encode(place, record))
}

/// The line in which attributes are attributes and data is data; `None` when it would not give the record back.
fn plain(place: Place, record: &Record) -> Option<Vec<u8>> {
    let mut line = Vec::with_capacity(512 + record.payload.len());
    line.push(b'{');
    for (name, value) in record.headers.iter() {
        push(&mut line, attribute_of(name)?, std::str::from_utf8(value).ok()?);
    }
    if !record.key.is_empty() {
        push(&mut line, KEY, std::str::from_utf8(&record.key).ok()?);
    }
    push(&mut line, POSITION, &place.to_string());
    if record.payload.is_empty() {
        line.pop();
    } else {
        line.extend_from_slice(b"\"data\":");
        line.extend_from_slice(&record.payload);
    }
    line.push(b'}');

    let read = decode(&line).ok()?;
    let same = read.place == Some(place)
        && read.message.key == record.key
        && read.message.headers == record.headers
        && read.message.payload == record.payload;
    (same && !line.contains(&b'\n') && line.len() < LINE_LIMIT).then_some(line)
}

/// Adds an attribute and a comma.
fn push(line: &mut Vec<u8>, name: &str, value: &str) {
    for text in [name, value] {
        serde_json::to_writer(&mut *line, text).expect("a text can be written to memory");
        line.push(b':');
    }
    line.pop();
    line.push(b',');
}

/// Reads a line, with or without its end.
///
/// # Errors
/// What is wrong, to be put behind the line's number. A known event type has to decode, an unknown one is taken as it is.
pub(super) fn decode(line: &[u8]) -> anyhow::Result<Line> {
    let text = std::str::from_utf8(line).context("is not UTF-8")?;
    ensure!(!text.trim_ascii().is_empty(), "is empty");
    let attributes: Attributes<'_> = serde_json::from_str(text).map_err(|error| not_read(&error))?;

    let mut message = Message::default();
    let mut place = None;
    let mut names = HashSet::new();
    for (name, value) in &attributes.0 {
        ensure!(names.insert(name), "is no CloudEvent: the attribute {name} is there twice");
        if name == DATA {
            message.payload = value.get().as_bytes().to_vec();
            continue;
        }
        let Some(value) = attribute_value(name, value)? else { continue };
        match name.as_str() {
            KEY => message.key = value.into_owned().into_bytes(),
            POSITION => place = Some(value.parse().with_context(|| format!("the attribute {POSITION}"))?),
            _ => message.headers.push(&header_of(name)?, value.as_bytes()),
        }
    }
    for name in REQUIRED {
        let value = message.headers.get(&format!("ce_{name}"));
        ensure!(value.is_some_and(|value| !value.is_empty()), "is no CloudEvent: the attribute {name} is missing");
    }
    if message.headers.get("ce_type") == Some(wrapper::TYPE.as_bytes()) {
        message = wrapper::decode(&message.payload)?;
        return Ok(Line { topic: topic_of(place, None), place, message });
    }
    let recorded = Recorded::decode(|name| message.headers.get(name), &message.payload).map_err(not_decoded)?;
    ensure!(
        recorded.is_none() || !message.key.is_empty(),
        "the attribute {KEY} is missing; it is the id of what the event is about"
    );
    Ok(Line { topic: topic_of(place, recorded.as_ref()), place, message })
}

fn topic_of(place: Option<Place>, recorded: Option<&Recorded>) -> Topic {
    match (place, recorded) {
        (Some(place), _) => place.topic,
        (None, Some(recorded)) if !recorded.event.is_fact() => Topic::Views,
        (None, _) => Topic::Facts,
    }
}

/// The attribute that a header becomes; `None` when it is no attribute.
fn attribute_of(header: &str) -> Option<&str> {
    match header {
        "content-type" => Some("datacontenttype"),
        "traceparent" => Some("traceparent"),
        _ => header.strip_prefix("ce_"),
    }
}

/// The header that an attribute becomes.
fn header_of(attribute: &str) -> anyhow::Result<Cow<'static, str>> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    ensure!(
        !attribute.is_empty() && attribute.bytes().all(legal),
        "is no CloudEvent: {attribute:?} is not an attribute's name of lower-case letters and digits"
    );
    Ok(match attribute {
        "datacontenttype" => "content-type".into(),
        "traceparent" => "traceparent".into(),
        _ => format!("ce_{attribute}").into(),
    })
}

/// An attribute's value as a header has it; `None` is null, which is none.
fn attribute_value<'a>(name: &str, value: &'a RawValue) -> anyhow::Result<Option<Cow<'a, str>>> {
    let raw = value.get();
    match raw.as_bytes().first() {
        Some(b'"') => {
            let text = serde_json::from_str(raw).map_err(|error| not_read(&error))?;
            Ok(Some(Cow::Owned(text)))
        }
        Some(b'n') => Ok(None),
        Some(b't' | b'f') => Ok(Some(raw.into())),
        _ if raw.parse::<i32>().is_ok() => Ok(Some(raw.into())),
        _ => bail!("is no CloudEvent: the attribute {name} is neither a text nor an integer nor true or false"),
    }
}

/// The parts of a line in their order.
struct Attributes<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Attributes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Attributes<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut attributes = Vec::new();
                while let Some(attribute) = map.next_entry()? {
                    attributes.push(attribute);
                }
                Ok(Attributes(attributes))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

fn not_read(error: &serde_json::Error) -> anyhow::Error {
    let text = error.to_string();
    let reason = without_line(&text);
    if error.is_data() {
        anyhow!("is no CloudEvent: {reason}")
    } else {
        anyhow!("is not JSON: {reason} at column {}", error.column())
    }
}

fn not_decoded(error: DecodeError) -> anyhow::Error {
    match error {
        DecodeError::Attribute { attribute, reason } => {
            anyhow!("is no CloudEvent: the attribute {} {reason}", attribute_of(attribute).unwrap_or(attribute))
        }
        DecodeError::Data { event_type, reason } => {
            anyhow!("the data is no {event_type}: {}", without_line(&reason))
        }
    }
}

/// To serde_json every line is line 1.
pub(super) fn without_line(reason: &str) -> &str {
    reason.rsplit_once(" at line ").map_or(reason, |(reason, _)| reason)
}

/// Reads the next line with its end into `line`, which is empty after the last one.
pub(super) fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> anyhow::Result<()> {
    line.clear();
    input.take(LINE_LIMIT as u64 + 1).read_until(b'\n', line).context("cannot be read")?;
    ensure!(line.len() <= LINE_LIMIT, "is longer than {LINE_LIMIT} bytes");
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use balcony_event_log::{Headers, TopicPartition};
    use proptest::prelude::*;

    use super::*;

    const PLACE: Place = Place { topic: Topic::Facts, partition: 3, offset: 41 };
    const FAVORITED: &str = r#"{"follower_id":"00000000-0000-0000-0000-000000000005","followee_id":"00000000-0000-0000-0000-000000000003"}"#;

    fn record(key: &[u8], headers: &[(&str, &[u8])], payload: &[u8]) -> Record {
        let mut written = Headers::new();
        headers.iter().for_each(|(name, value)| written.push(name, value));
        Record {
            partition: TopicPartition::new("balcony.events", PLACE.partition),
            offset: PLACE.offset,
            timestamp: 1_790_000_000_000,
            key: key.to_vec(),
            headers: written,
            payload: payload.to_vec(),
        }
    }

    fn event(event_type: &[u8]) -> Vec<(&str, &[u8])> {
        vec![
            ("ce_specversion", b"1.0"),
            ("ce_id", b"00000000-0000-0000-0000-000000000063"),
            ("ce_source", b"/balcony"),
            ("ce_type", event_type),
            ("ce_subject", b"00000000-0000-0000-0000-000000000005"),
            ("ce_time", b"2026-01-31T18:30:00.123Z"),
            ("content-type", b"application/json"),
            ("ce_requestdigest", b"abc"),
            ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ]
    }

    const KNOWN: &[u8] = b"balcony.user.favorited.v1";
    const UNKNOWN: &[u8] = b"balcony.user.favorited.v99";
    const KEY: &[u8] = b"00000000-0000-0000-0000-000000000005";

    #[track_caller]
    fn round_trip(record: &Record) -> String {
        let line = String::from_utf8(encode(PLACE, record)).unwrap();
        assert!(!line.contains('\n'), "{line}");
        let read = decode(line.as_bytes()).unwrap();
        let Record { key, headers, payload, .. } = record.clone();
        assert_eq!(read, Line { topic: Topic::Facts, place: Some(PLACE), message: Message { key, headers, payload } });
        line
    }

    #[test]
    fn an_event_is_a_line_that_other_programs_can_read() {
        let line = round_trip(&record(KEY, &event(KNOWN), FAVORITED.as_bytes()));
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            read,
            serde_json::json!({
                "specversion": "1.0",
                "id": "00000000-0000-0000-0000-000000000063",
                "source": "/balcony",
                "type": "balcony.user.favorited.v1",
                "subject": "00000000-0000-0000-0000-000000000005",
                "time": "2026-01-31T18:30:00.123Z",
                "datacontenttype": "application/json",
                "requestdigest": "abc",
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "partitionkey": "00000000-0000-0000-0000-000000000005",
                "balconyposition": "events/3/41",
                "data": serde_json::from_str::<serde_json::Value>(FAVORITED).unwrap(),
            })
        );
        assert!(line.contains(FAVORITED), "the data is verbatim: {line}");
    }

    #[test]
    fn what_a_plain_line_would_not_give_back_is_wrapped() {
        let mut twice = event(UNKNOWN);
        twice.push(("ce_requestdigest", b"again"));
        let mut binary = event(UNKNOWN);
        binary.push(("ce_odd", b"\xff"));
        let with = |name| [event(UNKNOWN), vec![(name, &b"x"[..])]].concat();
        for (number, record) in [
            record(b"", &[], b""),
            record(b"", &[], &[0, 159, 146, 150]),
            record(b"\xff", &event(UNKNOWN), b"{}"),
            record(KEY, &event(KNOWN), b"{\"follower_id\":"),
            record(KEY, &event(KNOWN), b"{}"),
            record(b"", &event(KNOWN), FAVORITED.as_bytes()),
            record(KEY, &event(UNKNOWN), b"{\n}"),
            record(KEY, &event(UNKNOWN), b" {}"),
            record(KEY, &event(UNKNOWN), b"1,\"ce\":2"),
            record(KEY, &event(UNKNOWN), b"1}"),
            record(KEY, &event(UNKNOWN)[1..], b"{}"),
            record(KEY, &event(b"balcony.log.record.v1"), br#"{"key":"","headers":[],"payload":""}"#),
            record(KEY, &twice, b"{}"),
            record(KEY, &binary, b"{}"),
            record(KEY, &with("other"), b"{}"),
            record(KEY, &with("ce_Upper"), b"{}"),
            record(KEY, &with("ce_data"), b"{}"),
            record(KEY, &with("ce_partitionkey"), b"{}"),
            record(KEY, &with("ce_balconyposition"), b"{}"),
            record(KEY, &with("ce_traceparent"), b"{}"),
            record(KEY, &with("ce_"), b"{}"),
        ]
        .iter()
        .enumerate()
        {
            let line = round_trip(record);
            assert!(line.contains(wrapper::TYPE) && line.contains("\"payload\":"), "{number}: {line}");
        }
    }

    #[test]
    fn an_event_of_a_newer_version_stays_what_it_is() {
        for payload in [&b""[..], b"null", b"{\"a\": 1.00, \"a\":[]}"] {
            let line = round_trip(&record(KEY, &event(UNKNOWN), payload));
            assert!(!line.contains(wrapper::TYPE), "{line}");
        }
        round_trip(&record(b"", &event(UNKNOWN), b"1"));
    }

    #[test]
    fn lines_of_other_origin_need_no_position() {
        let line = format!(
            r#"{{"data":{FAVORITED},"type":"balcony.user.favorited.v1","id":"00000000-0000-0000-0000-000000000063",
            "source":"/elsewhere","specversion":"1.0","time":"2026-01-31T18:30:00Z","partitionkey":"k","level":3,"no":null}}"#
        )
        .replace('\n', " ");
        let read = decode(line.as_bytes()).unwrap();
        assert_eq!((read.topic, read.place, &read.message.key[..]), (Topic::Facts, None, &b"k"[..]));
        assert_eq!((read.message.headers.get("ce_level"), read.message.headers.get("ce_no")), (Some(&b"3"[..]), None));
        let view = line.replace("user.favorited", "movie.viewed").replace("follower_id", "movie_id");
        assert_eq!(decode(view.as_bytes()).unwrap().topic, Topic::Views);
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let good = String::from_utf8(encode(PLACE, &record(KEY, &event(KNOWN), FAVORITED.as_bytes()))).unwrap();
        for (line, part) in [
            ("", "is empty"),
            ("x", "is not JSON: expected value at column 1"),
            (&good[..good.len() - 1], "is not JSON"),
            (&format!("{good}{good}"), "is not JSON: trailing characters"),
            ("[]", "is no CloudEvent"),
            ("{}", "is no CloudEvent: the attribute specversion is missing"),
            (&good.replace("\"1.0\"", "\"0.3\""), "the attribute specversion is"),
            (&good.replace("\"source\":\"/balcony\"", "\"source\":\"\""), "the attribute source is missing"),
            (&good.replace("\"time\"", "\"when\""), "the attribute time is missing"),
            (&good.replace("\"time\"", "\"id\""), "the attribute id is there twice"),
            (&good.replace("\"time\"", "\"the time\""), "\"the time\" is not an attribute's name"),
            (&good.replace("\"abc\"", "[]"), "the attribute requestdigest is neither"),
            (&good.replace("\"abc\"", "1.5"), "the attribute requestdigest is neither"),
            (&good.replace("\"partitionkey\"", "\"other\""), "the attribute partitionkey is missing"),
            (&good.replace("events/3/41", "events/3"), "the attribute balconyposition: \"events/3\" is not"),
            (&good.replace("followee_id", "other"), "the data is no balcony.user.favorited.v1: missing field"),
            (&good.replace("user.favorited", "log.record"), "the data is no record"),
        ] {
            let error = format!("{:#}", decode(line.as_bytes()).unwrap_err());
            assert!(error.contains(part) && !error.contains("line 1"), "{part:?} in {error:?} of {line}");
        }
        assert!(decode(b"{\"\xff\":1}").is_err());
    }

    #[test]
    fn a_line_has_a_limit() {
        let mut text = Vec::new();
        assert!(read_line(&mut &vec![b'x'; LINE_LIMIT + 1][..], &mut text).is_err());
        read_line(&mut &vec![b'x'; LINE_LIMIT][..], &mut text).unwrap();
        assert_eq!(text.len(), LINE_LIMIT);
        let largest = vec![1; (1 << 20) - 40];
        round_trip(&record(KEY, &[("ce_x", &largest)], b""));
        let text = String::from_utf8(largest).unwrap();
        let with_text = [event(UNKNOWN), vec![("ce_x", text.as_bytes())]].concat();
        assert!(round_trip(&record(KEY, &with_text, b"")).len() < LINE_LIMIT);
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("ce_id".to_owned()),
            Just("ce_type".to_owned()),
            Just("ce_data".to_owned()),
            Just("content-type".to_owned()),
            Just("traceparent".to_owned()),
            "ce_[a-z0-9]{0,4}",
            any::<String>(),
        ]
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            any::<Vec<u8>>(),
            any::<String>().prop_map(String::into_bytes),
            any::<String>().prop_map(|text| serde_json::to_vec(&text).expect("a text is JSON")),
            Just(FAVORITED.as_bytes().to_vec()),
        ]
    }

    proptest! {
        #[test]
        fn every_record_is_given_back(
            key in bytes(),
            whole in any::<bool>(),
            known in any::<bool>(),
            more in proptest::collection::vec((name(), bytes()), 0..4),
            payload in bytes(),
        ) {
            let mut headers = if whole { event(if known { KNOWN } else { UNKNOWN }) } else { Vec::new() };
            headers.extend(more.iter().map(|(name, value)| (name.as_str(), &value[..])));
            round_trip(&record(&key, &headers, &payload));
        }

        #[test]
        fn no_line_makes_decoding_panic(line in bytes()) {
            let _ = decode(&line);
        }
    }
}
