//! What SQLite has for each type of value, whichever of the two drivers carries it.

use rusqlite::types::{Value as Stored, ValueRef};
use serde::de::DeserializeOwned;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteRow, SqliteTypeInfo, SqliteValueRef};
use sqlx::{Decode, Row as _, Sqlite, Type, TypeInfo as _, ValueRef as _};
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

use crate::value::{canonical, to_the_microsecond};
use crate::{Json, StoreError, Value};

/// A time of fixed width, so that times sort as their texts do.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
/// A time as SQLite's own functions write it, in UTC.
const OWN_TIME: &[BorrowedFormatItem<'_>] = format_description!(
    version = 2,
    "[year]-[month]-[day][first [ ][T]][hour]:[minute][optional [:[second]]][optional [.[subsecond]]]"
);

/// The value as a parameter.
pub(crate) fn stored(value: &Value<'_>) -> Result<Stored, BoxDynError> {
    Ok(match value {
        Value::Int(Some(value)) => Stored::Integer(*value),
        Value::Uuid(Some(value)) => Stored::Blob(value.as_bytes().to_vec()),
        Value::Text(Some(value)) => Stored::Text(value.clone().into_owned()),
        Value::Bytes(Some(value)) => Stored::Blob(value.clone().into_owned()),
        Value::Bool(Some(value)) => Stored::Integer((*value).into()),
        Value::Float(Some(value)) => Stored::Real(*value),
        Value::Json(Some(value)) => Stored::Text(canonical(value)),
        Value::Time(Some(value)) => {
            let time = to_the_microsecond(*value);
            if !(0..=9999).contains(&time.year()) {
                return Err(format!("the time {time} is not of the years 0 to 9999").into());
            }
            Stored::Text(time.format(TIME)?)
        }
        null => {
            debug_assert!(null.is_null());
            Stored::Null
        }
    })
}

/// The values as parameters of a reader.
pub(crate) fn all_stored(values: &[Value<'_>]) -> Result<Vec<Stored>, StoreError> {
    values.iter().map(|value| stored(value).map_err(StoreError::encoding)).collect()
}

impl Encode<'_, Sqlite> for Value<'_> {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        match stored(self)? {
            Stored::Null => Ok(IsNull::Yes),
            Stored::Integer(value) => Encode::<Sqlite>::encode(value, buffer),
            Stored::Real(value) => Encode::<Sqlite>::encode(value, buffer),
            Stored::Text(value) => Encode::<Sqlite>::encode(value, buffer),
            Stored::Blob(value) => Encode::<Sqlite>::encode(value, buffer),
        }
    }
}

impl Type<Sqlite> for Value<'_> {
    /// SQLite takes any value for any parameter.
    fn type_info() -> SqliteTypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

/// What a column of a transaction's row holds.
pub(crate) fn value(row: &SqliteRow, index: usize) -> Result<ValueRef<'_>, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    held(value).map_err(|source| sqlx::Error::ColumnDecode { index: index.to_string(), source })
}

fn held(value: SqliteValueRef<'_>) -> Result<ValueRef<'_>, BoxDynError> {
    if value.is_null() {
        return Ok(ValueRef::Null);
    }
    let kind = value.type_info();
    Ok(match kind.name() {
        "INTEGER" => ValueRef::Integer(Decode::<Sqlite>::decode(value)?),
        "REAL" => ValueRef::Real(Decode::<Sqlite>::decode(value)?),
        "TEXT" => ValueRef::Text(Decode::<Sqlite>::decode(value)?),
        "BLOB" => ValueRef::Blob(Decode::<Sqlite>::decode(value)?),
        other => return Err(format!("SQLite has no values of the type {other}").into()),
    })
}

/// What a value is read as.
pub(crate) trait FromStored: Sized {
    fn from_stored(value: ValueRef<'_>) -> Result<Self, BoxDynError>;
}

macro_rules! from_stored {
    ($(@$param:ident)? $type:ty: $($held:pat => $read:expr),+) => {
        impl $(<$param: DeserializeOwned>)? FromStored for $type {
            fn from_stored(value: ValueRef<'_>) -> Result<Self, BoxDynError> {
                match value {
                    $($held => Ok($read),)+
                    other => Err(format!("it holds {}", other.data_type()).into()),
                }
            }
        }
    };
}

from_stored! { i64: ValueRef::Integer(value) => value }
from_stored! { bool: ValueRef::Integer(value) => value != 0 }
from_stored! { f64: ValueRef::Real(value) => value }
from_stored! { String: ValueRef::Text(text) => str::from_utf8(text)?.to_owned() }
from_stored! { Vec<u8>: ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.to_vec() }
from_stored! { Uuid: ValueRef::Blob(bytes) => Uuid::from_slice(bytes)? }
from_stored! { serde_json::Value: ValueRef::Text(text) => serde_json::from_slice(text)? }
from_stored! { @T Json<T>: ValueRef::Text(text) => Json(serde_json::from_slice(text)?) }
from_stored! { OffsetDateTime: ValueRef::Text(text) => time_of(str::from_utf8(text)?)? }

fn time_of(text: &str) -> Result<OffsetDateTime, time::error::Parse> {
    OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| PrimitiveDateTime::parse(text, OWN_TIME).map(PrimitiveDateTime::assume_utc))
}
