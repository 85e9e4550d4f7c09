//! Events as CloudEvents 1.0 in the Kafka binding's binary mode: the attributes are headers called `ce_…`, the data
//! is the value, as JSON.
//!
//! The type carries the version of the data (`balcony.comment.posted.v1`). Writing uses the newest version of each
//! type. Reading knows every version that was ever written: [`Recorded::decode`] has one line for each, and a version that is no
//! longer the newest is read into a struct of its own and upcast from there. `golden/` holds one file for
//! every version, and a test decodes them all.
//!
//! Source: CloudEvents 1.0.2 and its Kafka protocol binding.

use balcony_timestamp::{NotATime, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{DERIVED, Event};

/// The `source` of every event: with the id it names an event uniquely.
pub const SOURCE: &str = "/balcony";

/// An event with what its record says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// What the event is known by. A record that repeats it is the same event again and has no effect. It is the id of
    /// what has [`SOURCE`] for its source, and is made of source and id for what another has written.
    pub id: Uuid,
    /// When it happened, by the clock of the service that accepted it.
    pub time: Timestamp,
    /// For what was made under an `Idempotency-Key`: the digest of the request, so that the same key with another
    /// request can be told. An extension attribute.
    pub request_digest: Option<String>,
    /// The W3C trace context of the request. An extension attribute.
    pub traceparent: Option<String>,
    /// What happened.
    pub event: Event,
}

/// Why a record is not an event of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A required attribute is missing or malformed.
    #[error("is no CloudEvent: the attribute {attribute} {reason}")]
    Attribute {
        /// The attribute, as it is called in a header.
        attribute: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The data is not what its type says.
    #[error("the data is no {event_type}: {reason}")]
    Data {
        /// The type.
        event_type: String,
        /// What is wrong with it.
        reason: String,
    },
}

macro_rules! types {
    ($($variant:ident = $name:literal;)*) => {
        /// The newest version of each event type, as `ce_type` names it.
        pub const TYPES: &[&str] = &[$($name),*];

        impl Event {
            /// The event's type, as `ce_type` names it.
            pub fn type_name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }

            /// The event's data as JSON.
            pub fn data(&self) -> Vec<u8> {
                match self {
                    $(Self::$variant(data) => json(data),)*
                }
            }

            /// Reads the data of an event of the type `name`; `None` when the type is unknown.
            fn from_data(name: &str, data: &[u8]) -> Result<Option<Self>, serde_json::Error> {
                Ok(Some(match name {
                    $($name => Self::$variant(read(data)?),)*
                    _ => return Ok(None),
                }))
            }
        }
    };
}

types! {
    CompanyRegistered = "balcony.company.registered.v1";
    CompanyUnsubscribed = "balcony.company.unsubscribed.v1";
    MovieRegistered = "balcony.movie.registered.v1";
    ProfileChanged = "balcony.profile.changed.v1";
    CommentPosted = "balcony.comment.posted.v1";
    CommentDeleted = "balcony.comment.deleted.v1";
    UserFavorited = "balcony.user.favorited.v1";
    UserUnfavorited = "balcony.user.unfavorited.v1";
    MovieViewed = "balcony.movie.viewed.v1";
}

fn json(data: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(data).expect("event data has string keys and no fallible parts")
}

fn read<T: DeserializeOwned>(data: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(data)
}

impl Recorded {
    /// The attributes as headers, in the order in which they are written. The data is [`Event::data`].
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", self.id.to_string()),
            ("ce_source", SOURCE.to_owned()),
            ("ce_type", self.event.type_name().to_owned()),
            ("ce_subject", self.event.aggregate().to_string()),
            ("ce_time", self.time.to_string()),
            ("content-type", "application/json".to_owned()),
        ];
        headers.extend(self.request_digest.clone().map(|digest| ("ce_requestdigest", digest)));
        headers.extend(self.traceparent.clone().map(|traceparent| ("traceparent", traceparent)));
        headers
    }

    /// Reads an event from a record's headers and payload. `None` is an event of a type that this version does not
    /// know: somebody newer wrote it.
    ///
    /// # Errors
    /// [`DecodeError`] when it is no CloudEvent or its data is not what its type says.
    pub fn decode<'a>(header: impl Fn(&str) -> Option<&'a [u8]>, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        let version = required(&header, "ce_specversion")?;
        if version != "1.0" {
            return Err(attribute("ce_specversion", format!("is {version:?}, not 1.0")));
        }
        let event_type = required(&header, "ce_type")?;
        let id = required(&header, "ce_id")?;
        let id = Uuid::try_parse(id).map_err(|_| attribute("ce_id", "is not a UUID"))?;
        let id = match text(&header, "ce_source")? {
            None | Some(SOURCE) => id,
            Some(other) => Uuid::new_v5(&DERIVED, format!("event\0{other}\0{id}").as_bytes()),
        };
        let time = required(&header, "ce_time")?;
        let time = time.parse().map_err(|error: NotATime| attribute("ce_time", error.to_string()))?;
        let request_digest = text(&header, "ce_requestdigest")?.map(str::to_owned);
        let traceparent = text(&header, "traceparent")?.map(str::to_owned);

        match Event::from_data(event_type, payload) {
            Ok(Some(event)) => Ok(Some(Self { id, time, request_digest, traceparent, event })),
            Ok(None) => Ok(None),
            Err(error) => Err(DecodeError::Data { event_type: event_type.to_owned(), reason: error.to_string() }),
        }
    }
}

fn text<'a>(header: &impl Fn(&str) -> Option<&'a [u8]>, name: &'static str) -> Result<Option<&'a str>, DecodeError> {
    header(name).map(|value| std::str::from_utf8(value).map_err(|_| attribute(name, "is not UTF-8"))).transpose()
}

fn required<'a>(header: &impl Fn(&str) -> Option<&'a [u8]>, name: &'static str) -> Result<&'a str, DecodeError> {
    match text(header, name)? {
        Some(value) if !value.is_empty() => Ok(value),
        _ => Err(attribute(name, "is missing")),
    }
}

fn attribute(attribute: &'static str, reason: impl Into<String>) -> DecodeError {
    DecodeError::Attribute { attribute, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::event::*;
    use crate::{CommentId, CompanyId, MovieId, Role, UserId};

    fn one_of_each() -> Vec<Event> {
        let id = |n| Uuid::from_u128(n);
        vec![
            Event::CompanyRegistered(CompanyRegistered {
                company_id: CompanyId(id(1)),
                name: "Ōmori Pictures".into(),
                contact_email: "press@omori.example".into(),
            }),
            Event::CompanyUnsubscribed(CompanyUnsubscribed { company_id: CompanyId(id(1)) }),
            Event::MovieRegistered(MovieRegistered {
                movie_id: MovieId(id(2)),
                title: "七人の侍".into(),
                company_id: Some(CompanyId(id(1))),
                released_on: Some("1954-04-26".into()),
            }),
            Event::ProfileChanged(ProfileChanged {
                user_id: UserId(id(3)),
                display_name: "Mia".into(),
                about: Some("Front row.\nAlways.".into()),
                location: Some("Oslo".into()),
                initial: false,
            }),
            Event::CommentPosted(CommentPosted {
                comment_id: CommentId(id(4)),
                movie_id: MovieId(id(2)),
                author_id: UserId(id(3)),
                title: Some("Rain".into()),
                body: "The last battle 🌧".into(),
            }),
            Event::CommentDeleted(CommentDeleted {
                comment_id: CommentId(id(4)),
                deleted_by: UserId(id(5)),
                role: Role::Moderator,
            }),
            Event::UserFavorited(UserFavorited { follower_id: UserId(id(5)), followee_id: UserId(id(3)) }),
            Event::UserUnfavorited(UserUnfavorited { follower_id: UserId(id(5)), followee_id: UserId(id(3)) }),
            Event::MovieViewed(MovieViewed { movie_id: MovieId(id(2)), viewer_id: None }),
        ]
    }

    fn recorded(event: Event) -> Recorded {
        Recorded {
            id: Uuid::from_u128(99),
            time: "2026-01-31T18:30:00.123Z".parse().expect("a time"),
            request_digest: None,
            traceparent: None,
            event,
        }
    }

    fn decode(headers: &BTreeMap<String, String>, payload: &[u8]) -> Result<Option<Recorded>, DecodeError> {
        Recorded::decode(|name| headers.get(name).map(String::as_bytes), payload)
    }

    fn headers(recorded: &Recorded) -> BTreeMap<String, String> {
        recorded.headers().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[derive(Deserialize)]
    struct Golden {
        headers: BTreeMap<String, String>,
        data: serde_json::Value,
    }

    fn golden() -> Vec<(String, Golden)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        files
            .into_iter()
            .map(|path| {
                let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
                let text = std::fs::read(&path).expect("the file");
                (name, serde_json::from_slice(&text).expect("golden files are JSON"))
            })
            .collect()
    }

    #[test]
    fn every_version_that_was_ever_written_decodes() {
        let files = golden();
        for (name, file) in &files {
            assert_eq!(&file.headers["ce_type"], name);
            let payload = serde_json::to_vec(&file.data).expect("JSON");
            let decoded = decode(&file.headers, &payload).expect(name).expect(name);
            let same_type: Vec<_> =
                one_of_each().into_iter().filter(|event| event.aggregate() == decoded.event.aggregate()).collect();
            assert!(same_type.contains(&decoded.event), "{name} reads as {:?}", decoded.event);
        }
        for name in TYPES {
            assert!(files.iter().any(|(file, _)| file == name), "golden/{name}.json is missing");
        }
    }

    #[test]
    fn the_newest_version_is_written_as_its_golden_file_says() {
        let files: BTreeMap<_, _> = golden().into_iter().collect();
        for event in one_of_each() {
            let recorded = recorded(event);
            let file = &files[recorded.event.type_name()];
            assert_eq!(headers(&recorded), file.headers);
            let data: serde_json::Value = serde_json::from_slice(&recorded.event.data()).expect("JSON");
            assert_eq!(data, file.data);
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for event in one_of_each() {
            let mut recorded = recorded(event);
            recorded.request_digest = Some("abc".into());
            recorded.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
            assert_eq!(decode(&headers(&recorded), &recorded.event.data()), Ok(Some(recorded)));
        }
    }

    #[test]
    fn an_event_is_known_by_its_source_and_id() {
        let recorded = recorded(one_of_each().remove(0));
        let known_by = |source: &str| {
            let mut headers = headers(&recorded);
            headers.insert("ce_source".into(), source.into());
            decode(&headers, &recorded.event.data()).expect("decodes").expect("is known").id
        };
        assert_eq!(known_by(SOURCE), recorded.id);
        assert_eq!(known_by("/other"), known_by("/other"));
        let different: std::collections::BTreeSet<Uuid> = [SOURCE, "/other", "/another"].map(known_by).into();
        assert_eq!(different.len(), 3);
    }

    #[test]
    fn a_type_from_a_newer_version_is_nothing_and_not_an_error() {
        let recorded = recorded(one_of_each().remove(0));
        let mut headers = headers(&recorded);
        headers.insert("ce_type".into(), "balcony.comment.posted.v999".into());
        assert_eq!(decode(&headers, b"anything"), Ok(None));
    }

    #[test]
    fn what_is_no_cloud_event_or_not_its_type_is_an_error() {
        let recorded = recorded(one_of_each().remove(3));
        let good = headers(&recorded);
        for name in ["ce_specversion", "ce_type", "ce_id", "ce_time"] {
            let mut headers = good.clone();
            headers.remove(name);
            assert!(
                matches!(decode(&headers, &recorded.event.data()), Err(DecodeError::Attribute { attribute, .. }) if attribute == name)
            );
        }
        for payload in [&b""[..], b"{", b"{}", b"[]", b"\xff"] {
            assert!(matches!(decode(&good, payload), Err(DecodeError::Data { .. })));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(type_index in 0..TYPES.len(), payload in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let mut headers = headers(&recorded(one_of_each().remove(type_index)));
            headers.insert("ce_id".into(), String::from_utf8_lossy(&payload).into_owned());
            let _ = decode(&headers, &payload);
        }
    }
}
