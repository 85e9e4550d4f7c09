use std::borrow::Cow;

use sqlx::{Arguments, Encode, Type};
use uuid::Uuid;

use crate::StoreError;

/// A parameter of a statement, in one of the types that both databases have. `None` is NULL, which PostgreSQL wants
/// to know the type of.
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
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<i32> for Value<'_> {
    fn from(value: i32) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<Uuid> for Value<'_> {
    fn from(value: Uuid) -> Self {
        Self::Uuid(Some(value))
    }
}

impl From<Option<Uuid>> for Value<'_> {
    fn from(value: Option<Uuid>) -> Self {
        Self::Uuid(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(Cow::Borrowed(value)))
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Self::Text(Some(Cow::Owned(value)))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Self::Text(value.map(Cow::Borrowed))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(Some(Cow::Borrowed(value)))
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(Some(Cow::Owned(value)))
    }
}

/// The values as either database takes them.
pub(crate) fn arguments<'v, A>(values: &'v [Value<'_>]) -> Result<A, StoreError>
where
    A: Arguments,
    Option<i64>: Encode<'v, A::Database> + Type<A::Database>,
    Option<Uuid>: Encode<'v, A::Database> + Type<A::Database>,
    Option<&'v str>: Encode<'v, A::Database> + Type<A::Database>,
    Option<&'v [u8]>: Encode<'v, A::Database> + Type<A::Database>,
{
    let mut arguments = A::default();
    for value in values {
        match value {
            Value::Int(value) => arguments.add(*value),
            Value::Uuid(value) => arguments.add(*value),
            Value::Text(value) => arguments.add(value.as_deref()),
            Value::Bytes(value) => arguments.add(value.as_deref()),
        }
        .map_err(StoreError::encoding)?;
    }
    Ok(arguments)
}
