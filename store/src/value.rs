use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value as Json;
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

/// A parameter of a statement, in one of the types that both databases have. `None` is NULL, which PostgreSQL wants
/// to know the type of.
///
/// A table's schema declares a column by PostgreSQL's name for its type; on SQLite the same name works.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A `BIGINT`.
    Int(Option<i64>),
    /// A `UUID`.
    Uuid(Option<Uuid>),
    /// A `TEXT`.
    Text(Option<Cow<'a, str>>),
    /// A `BYTEA`.
    Bytes(Option<Cow<'a, [u8]>>),
    /// A `BOOLEAN`.
    Bool(Option<bool>),
    /// A `DOUBLE PRECISION`. SQLite takes one that is not a number for NULL.
    Float(Option<f64>),
    /// A `JSONB`; on SQLite a text, the keys of objects sorted. Rows give it as [`Json`](crate::Json).
    Json(Option<Json>),
    /// A `TIMESTAMPTZ`, to the microsecond; on SQLite a text in UTC (`2026-01-31T09:30:00.000000Z`), which sorts by
    /// time. The years are 0 to 9999.
    Time(Option<OffsetDateTime>),
}

/// Makes values of what Rust has, and NULLs of its type.
macro_rules! from {
    ($($type:ty => $variant:ident;)*) => {$(
        impl<'a> From<$type> for Value<'a> {
            fn from(value: $type) -> Self {
                Self::$variant(Some(value.into()))
            }
        }

        impl<'a> From<Option<$type>> for Value<'a> {
            fn from(value: Option<$type>) -> Self {
                Self::$variant(value.map(Into::into))
            }
        }
    )*};
}

from! {
    i64 => Int;
    i32 => Int;
    Uuid => Uuid;
    &'a str => Text;
    String => Text;
    &'a [u8] => Bytes;
    Vec<u8> => Bytes;
    bool => Bool;
    f64 => Float;
    Json => Json;
    OffsetDateTime => Time;
}

impl Value<'_> {
    /// Whether it is NULL.
    pub(crate) fn is_null(&self) -> bool {
        match self {
            Self::Int(value) => value.is_none(),
            Self::Uuid(value) => value.is_none(),
            Self::Text(value) => value.is_none(),
            Self::Bytes(value) => value.is_none(),
            Self::Bool(value) => value.is_none(),
            Self::Float(value) => value.is_none(),
            Self::Json(value) => value.is_none(),
            Self::Time(value) => value.is_none(),
        }
    }
}

/// The same time in UTC, cut to what both databases keep.
pub(crate) fn to_the_microsecond(time: OffsetDateTime) -> OffsetDateTime {
    let time = time.to_offset(UtcOffset::UTC);
    time.replace_nanosecond(time.microsecond() * 1_000).expect("a microsecond has few nanoseconds")
}

/// A JSON text of which there is one for each value: the keys of objects are sorted.
pub(crate) fn canonical(json: &Json) -> String {
    let mut text = String::new();
    write_canonical(&mut text, json);
    text
}

fn write_canonical(text: &mut String, json: &Json) {
    match json {
        Json::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(text, item);
            }
            text.push(']');
        }
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (index, (key, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_scalar(text, key);
                text.push(':');
                write_canonical(text, member);
            }
            text.push('}');
        }
        scalar => write_scalar(text, scalar),
    }
}

fn write_scalar(text: &mut String, scalar: &(impl Serialize + ?Sized)) {
    text.push_str(&serde_json::to_string(scalar).expect("texts and numbers are JSON"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_json_has_one_text() {
        let texts = [r#"{"b":[1,{"d":null,"c":"ä\n"}],"a":1.5}"#, r#" {"a": 1.5, "b": [1, {"c": "ä\n", "d": null}]} "#];
        for text in texts {
            let json: Json = serde_json::from_str(text).expect("it is JSON");
            assert_eq!(canonical(&json), r#"{"a":1.5,"b":[1,{"c":"ä\n","d":null}]}"#);
        }
    }
}
