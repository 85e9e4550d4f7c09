//! One record as one line: a CloudEvent in the JSON format's structured mode.
//!
//! Headers become attributes in their order, the key the extension `partitionkey`, the payload `data`, verbatim.
//! An extension that is called after the program (`ordersposition`) says where the record stood. A record that such a
//! line would not give back byte for byte goes into a [`wrapper`].
//!
//! Source: CloudEvents 1.0.2, its JSON format, and its Partitioning and Distributed Tracing extensions.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{BufRead, Read as _};

use anyhow::{Context as _, anyhow, bail, ensure};
use balcony_event_log::{Message, Record};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::digest::{RecordDigest, of_record};
use super::format::{Format, without_line};
use super::place::{RecordPlace, Topic};
use super::wrapper;

/// Bytes of a line. The largest record, 1 MiB, takes less, even when every character of its headers is escaped.
pub(super) const LINE_LIMIT: usize = 8 << 20;

const KEY: &str = "partitionkey";
const DATA: &str = "data";
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) topic: Topic,
    /// Where the record stood in the log it comes from; `None` in lines of other origin.
    pub(super) place: Option<RecordPlace>,
    pub(super) message: Message,
}

impl Line {
    pub(super) fn digest(&self, format: &Format) -> RecordDigest {
        of_record(self.topic.name(&format.topics), &self.message.key, &self.message.headers, &self.message.payload)
    }
}

/// The line of `record`, which stands at `place`; without the line's end.
pub(in crate::operations) fn encode(place: RecordPlace, record: &Record, format: &Format) -> Vec<u8> {
    plain(place, record, format).unwrap_or_else(|| wrapper::encode(place, record, format))
}

/// The line in which attributes are attributes and data is data; `None` when it would not give the record back.
fn plain(place: RecordPlace, record: &Record, format: &Format) -> Option<Vec<u8>> {
    let mut line = Vec::with_capacity(512 + record.payload.len());
    line.push(b'{');
    for (name, value) in record.headers.iter() {
        push(&mut line, attribute_of(name)?, std::str::from_utf8(value).ok()?);
    }
    if !record.key.is_empty() {
        push(&mut line, KEY, std::str::from_utf8(&record.key).ok()?);
    }
    push(&mut line, &format.position, &place.text(&format.topics));
    if record.payload.is_empty() {
        line.pop();
    } else {
        line.extend_from_slice(b"\"data\":");
        line.extend_from_slice(&record.payload);
    }
    line.push(b'}');

    let read = decode(&line, format).ok()?;
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
/// What is wrong, to be put behind the line's number, and what the program says to be wrong with an event.
pub(super) fn decode(line: &[u8], format: &Format) -> anyhow::Result<Line> {
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
            name if name == format.position => {
                let read = RecordPlace::parse(&value, &format.topics);
                place = Some(read.with_context(|| format!("the attribute {name}"))?);
            }
            _ => message.headers.push(&header_of(name)?, value.as_bytes()),
        }
    }
    for name in REQUIRED {
        let value = message.headers.get(&format!("ce_{name}"));
        ensure!(value.is_some_and(|value| !value.is_empty()), "is no CloudEvent: the attribute {name} is missing");
    }
    let topic = if message.headers.get("ce_type") == Some(format.wrapper_type.as_bytes()) {
        message = wrapper::decode(&message.payload)?;
        Some(Topic::FIRST)
    } else {
        format.check(&message)?
    };
    let topic = place.map_or_else(|| format.only_topic(topic), |place| Ok(place.topic))?;
    Ok(Line { topic, place, message })
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

    use super::super::format::tests::{format_of, orders};
    use super::*;
    use crate::{Application, Catalogue, TopicSpec};

    const PLACE: RecordPlace = RecordPlace { topic: Topic::FIRST, partition: 3, offset: 41 };
    const ADDED: &str =
        r#"{"order_id":"00000000-0000-0000-0000-000000000005","item_id":"00000000-0000-0000-0000-000000000003"}"#;

    fn record(key: &[u8], headers: &[(&str, &[u8])], payload: &[u8]) -> Record {
        let mut written = Headers::new();
        headers.iter().for_each(|(name, value)| written.push(name, value));
        Record {
            partition: TopicPartition::new("orders.events", PLACE.partition),
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
            ("ce_source", b"/orders"),
            ("ce_type", event_type),
            ("ce_subject", b"00000000-0000-0000-0000-000000000005"),
            ("ce_time", b"2026-01-31T18:30:00.123Z"),
            ("content-type", b"application/json"),
            ("ce_requestdigest", b"abc"),
            ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ]
    }

    const WRAPPER: &str = "orders.log.record.v1";
    const KNOWN: &[u8] = b"orders.item.added.v1";
    const UNKNOWN: &[u8] = b"orders.item.added.v99";
    const KEY: &[u8] = b"00000000-0000-0000-0000-000000000005";

    #[track_caller]
    fn round_trip(record: &Record) -> String {
        let line = String::from_utf8(encode(PLACE, record, &format_of(&orders()))).unwrap();
        assert!(!line.contains('\n'), "{line}");
        let read = decode(line.as_bytes(), &format_of(&orders())).unwrap();
        let Record { key, headers, payload, .. } = record.clone();
        assert_eq!(read, Line { topic: Topic::FIRST, place: Some(PLACE), message: Message { key, headers, payload } });
        line
    }

    #[test]
    fn an_event_is_a_line_that_other_programs_can_read() {
        let line = round_trip(&record(KEY, &event(KNOWN), ADDED.as_bytes()));
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            read,
            serde_json::json!({
                "specversion": "1.0",
                "id": "00000000-0000-0000-0000-000000000063",
                "source": "/orders",
                "type": "orders.item.added.v1",
                "subject": "00000000-0000-0000-0000-000000000005",
                "time": "2026-01-31T18:30:00.123Z",
                "datacontenttype": "application/json",
                "requestdigest": "abc",
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "partitionkey": "00000000-0000-0000-0000-000000000005",
                "ordersposition": "events/3/41",
                "data": serde_json::from_str::<serde_json::Value>(ADDED).unwrap(),
            })
        );
        assert!(line.contains(ADDED), "the data is verbatim: {line}");
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
            record(KEY, &event(KNOWN), b"{\"order_id\":"),
            record(KEY, &event(KNOWN), b"{}"),
            record(b"", &event(KNOWN), ADDED.as_bytes()),
            record(KEY, &event(UNKNOWN), b"{\n}"),
            record(KEY, &event(UNKNOWN), b" {}"),
            record(KEY, &event(UNKNOWN), b"1,\"ce\":2"),
            record(KEY, &event(UNKNOWN), b"1}"),
            record(KEY, &event(UNKNOWN)[1..], b"{}"),
            record(KEY, &event(b"orders.log.record.v1"), br#"{"key":"","headers":[],"payload":""}"#),
            record(KEY, &twice, b"{}"),
            record(KEY, &binary, b"{}"),
            record(KEY, &with("other"), b"{}"),
            record(KEY, &with("ce_Upper"), b"{}"),
            record(KEY, &with("ce_data"), b"{}"),
            record(KEY, &with("ce_partitionkey"), b"{}"),
            record(KEY, &with("ce_ordersposition"), b"{}"),
            record(KEY, &with("ce_traceparent"), b"{}"),
            record(KEY, &with("ce_"), b"{}"),
        ]
        .iter()
        .enumerate()
        {
            let line = round_trip(record);
            assert!(line.contains(WRAPPER) && line.contains("\"payload\":"), "{number}: {line}");
        }
    }

    #[test]
    fn an_event_of_a_newer_version_stays_what_it_is() {
        for payload in [&b""[..], b"null", b"{\"a\": 1.00, \"a\":[]}"] {
            let line = round_trip(&record(KEY, &event(UNKNOWN), payload));
            assert!(!line.contains(WRAPPER), "{line}");
        }
        round_trip(&record(b"", &event(UNKNOWN), b"1"));
    }

    #[test]
    fn lines_of_other_origin_need_no_position() {
        let line = format!(
            r#"{{"data":{ADDED},"type":"orders.item.added.v1","id":"00000000-0000-0000-0000-000000000063",
            "source":"/elsewhere","specversion":"1.0","time":"2026-01-31T18:30:00Z","partitionkey":"k","level":3,"no":null}}"#
        )
        .replace('\n', " ");
        let read = decode(line.as_bytes(), &format_of(&orders())).unwrap();
        assert_eq!((read.topic, read.place, &read.message.key[..]), (Topic::FIRST, None, &b"k"[..]));
        assert_eq!((read.message.headers.get("ce_level"), read.message.headers.get("ce_no")), (Some(&b"3"[..]), None));
        let view = line.replace("item.added", "page.viewed").replace("order_id", "page_id");
        assert_eq!(
            decode(view.as_bytes(), &format_of(&orders())).unwrap().topic,
            Topic::called("views", &format_of(&orders()).topics).unwrap()
        );
    }

    #[test]
    fn without_a_check_every_cloud_event_is_taken_and_its_topic_is_asked_for_when_there_are_several() {
        let program = |topics: &[&'static str]| {
            let topics = topics.iter().map(|topic| TopicSpec::forever(*topic));
            format_of(&Application::new("shop", topics, |_| Catalogue::new()))
        };
        let (one, several) = (program(&["sales"]), program(&["sales", "stock"]));
        let line = r#"{"specversion":"1.0","id":"1","source":"/x","type":"orders.item.added.v1","data":[]}"#;
        assert_eq!(decode(line.as_bytes(), &one).unwrap().topic, Topic::FIRST);
        let error = decode(line.as_bytes(), &several).unwrap_err().to_string();
        assert!(error.contains("the attribute shopposition is missing"), "{error}");
        let placed = line.replace("\"data\"", "\"shopposition\":\"stock/0/7\",\"data\"");
        let read = decode(placed.as_bytes(), &several).unwrap();
        assert_eq!(read.place.unwrap().text(&several.topics), "stock/0/7");
        let older = line.replace("1.0", "0.3");
        let error = decode(older.as_bytes(), &one).unwrap_err().to_string();
        assert_eq!(error, "is no CloudEvent: the attribute specversion is \"0.3\", not 1.0");
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let good =
            String::from_utf8(encode(PLACE, &record(KEY, &event(KNOWN), ADDED.as_bytes()), &format_of(&orders())))
                .unwrap();
        for (line, part) in [
            ("", "is empty"),
            ("x", "is not JSON: expected value at column 1"),
            (&good[..good.len() - 1], "is not JSON"),
            (&format!("{good}{good}"), "is not JSON: trailing characters"),
            ("[]", "is no CloudEvent"),
            ("{}", "is no CloudEvent: the attribute specversion is missing"),
            (&good.replace("\"1.0\"", "\"0.3\""), "the attribute specversion is"),
            (&good.replace("\"source\":\"/orders\"", "\"source\":\"\""), "the attribute source is missing"),
            (&good.replace("\"time\"", "\"when\""), "the attribute time is missing"),
            (&good.replace("\"time\"", "\"id\""), "the attribute id is there twice"),
            (&good.replace("\"time\"", "\"the time\""), "\"the time\" is not an attribute's name"),
            (&good.replace("\"abc\"", "[]"), "the attribute requestdigest is neither"),
            (&good.replace("\"abc\"", "1.5"), "the attribute requestdigest is neither"),
            (&good.replace("\"partitionkey\"", "\"other\""), "the attribute partitionkey is missing"),
            (
                &good.replace("events/3/41", "others/3/41"),
                "\"others\" is not a topic of this program; there are events",
            ),
            (&good.replace("events/3/41", "events/3"), "the attribute ordersposition: \"events/3\" is not"),
            (&good.replace("item_id", "other"), "the data is no orders.item.added.v1: missing field"),
            (&good.replace("item.added", "log.record"), "the data is no record"),
        ] {
            let error = format!("{:#}", decode(line.as_bytes(), &format_of(&orders())).unwrap_err());
            assert!(error.contains(part) && !error.contains("line 1"), "{part:?} in {error:?} of {line}");
        }
        assert!(decode(b"{\"\xff\":1}", &format_of(&orders())).is_err());
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
            Just(ADDED.as_bytes().to_vec()),
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
            let _ = decode(&line, &format_of(&orders()));
        }
    }
}
