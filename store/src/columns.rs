//! What a row has in its columns, whichever driver gave it.

use serde::de::DeserializeOwned;
use sqlx::Row as _;
#[cfg(feature = "postgres")]
use sqlx::postgres::PgRow;
#[cfg(feature = "sqlite")]
use sqlx::sqlite::SqliteRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Json, StoreError};

/// The columns of one row.
#[derive(Debug)]
pub struct Columns<'r> {
    row: Driven<'r>,
    /// Where the column after the one that was read last stands.
    next: usize,
    order: Order,
}

/// Whether the columns that are read by their names stand in the order in which they are asked for. What holds for one row of an
/// answer holds for all that are read alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// So far.
    AsAsked,
    /// Known from the row before: no name is looked at.
    Known,
    Other,
}

/// A row as a driver gives it.
#[derive(Debug, Clone, Copy)]
enum Driven<'r> {
    #[cfg(feature = "postgres")]
    Postgres(&'r PgRow),
    /// In a transaction.
    #[cfg(feature = "sqlite")]
    Sqlite(&'r SqliteRow),
    /// Of a reader.
    #[cfg(feature = "sqlite")]
    File(&'r rusqlite::Row<'r>),
}

#[cfg(feature = "postgres")]
impl<'r> From<&'r PgRow> for Columns<'r> {
    fn from(row: &'r PgRow) -> Self {
        Self::new(Driven::Postgres(row))
    }
}

#[cfg(feature = "sqlite")]
impl<'r> From<&'r SqliteRow> for Columns<'r> {
    fn from(row: &'r SqliteRow) -> Self {
        Self::new(Driven::Sqlite(row))
    }
}

#[cfg(feature = "sqlite")]
impl<'r> From<&'r rusqlite::Row<'r>> for Columns<'r> {
    fn from(row: &'r rusqlite::Row<'r>) -> Self {
        Self::new(Driven::File(row))
    }
}

impl<'r> Columns<'r> {
    fn new(row: Driven<'r>) -> Self {
        Self { row, next: 0, order: Order::AsAsked }
    }

    /// The same, where the row before had its columns in this order.
    #[cfg(feature = "sqlite")]
    pub(crate) fn after(self, order: Order) -> Self {
        let order = if order == Order::Other { Order::AsAsked } else { Order::Known };
        Self { order, ..self }
    }

    /// In which order the columns stand, once the row was read.
    #[cfg(feature = "sqlite")]
    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// The value of the column to the right of the one that was read last; at first the leftmost.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is none or it is of another type.
    pub fn following<T: FromCell>(&mut self) -> Result<T, StoreError> {
        let index = self.next;
        self.next += 1;
        Ok(T::from_cell(self.row.cell(index)?)?)
    }

    /// The value of the column of this name.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is none or it is of another type.
    pub fn named<T: FromCell>(&mut self, name: &str) -> Result<T, StoreError> {
        if self.order != Order::Known && self.row.name(self.next) != Some(name) {
            self.order = Order::Other;
            let found = (0..self.row.count()).find(|&index| self.row.name(index) == Some(name));
            self.next = found.ok_or_else(|| sqlx::Error::ColumnNotFound(name.to_owned()))?;
        }
        self.following()
    }
}

impl<'r> Driven<'r> {
    fn count(self) -> usize {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(row) => row.len(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(row) => row.len(),
            #[cfg(feature = "sqlite")]
            Self::File(row) => row.as_ref().column_count(),
        }
    }

    fn name(self, index: usize) -> Option<&'r str> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(row) => row.columns().get(index).map(sqlx::Column::name),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(row) => row.columns().get(index).map(sqlx::Column::name),
            #[cfg(feature = "sqlite")]
            Self::File(row) => row.as_ref().column_name(index).ok(),
        }
    }

    fn cell(self, index: usize) -> Result<Cell<'r>, sqlx::Error> {
        let value = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(row) => Held::Postgres(row),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(row) => Held::Sqlite(crate::sqlite_value::value(row, index)?),
            #[cfg(feature = "sqlite")]
            Self::File(row) => Held::Sqlite(row.get_ref(index).map_err(|_| {
                let len = row.as_ref().column_count();
                sqlx::Error::ColumnIndexOutOfBounds { index, len }
            })?),
        };
        Ok(Cell { index, value })
    }
}

/// The value of a column in a row.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'r> {
    index: usize,
    value: Held<'r>,
}

#[derive(Debug, Clone, Copy)]
enum Held<'r> {
    /// In this row; the driver knows the types of its columns.
    #[cfg(feature = "postgres")]
    Postgres(&'r PgRow),
    #[cfg(feature = "sqlite")]
    Sqlite(rusqlite::types::ValueRef<'r>),
}

impl Cell<'_> {
    fn is_null(self) -> Result<bool, sqlx::Error> {
        match self.value {
            #[cfg(feature = "postgres")]
            Held::Postgres(row) => Ok(sqlx::ValueRef::is_null(&row.try_get_raw(self.index)?)),
            #[cfg(feature = "sqlite")]
            Held::Sqlite(value) => Ok(matches!(value, rusqlite::types::ValueRef::Null)),
        }
    }
}

/// What a column can be read as: the types of [`Value`](crate::Value), and options of them where it may be NULL.
pub trait FromCell: Sized + Send + 'static {
    /// Reads the value.
    ///
    /// # Errors
    /// Says what the column holds instead.
    #[doc(hidden)]
    fn from_cell(cell: Cell<'_>) -> Result<Self, sqlx::Error>;
}

impl<T: FromCell> FromCell for Option<T> {
    fn from_cell(cell: Cell<'_>) -> Result<Self, sqlx::Error> {
        if cell.is_null()? { Ok(None) } else { T::from_cell(cell).map(Some) }
    }
}

macro_rules! from_cell {
    ($(@$param:ident)? $type:ty) => {
        impl $(<$param: DeserializeOwned + Send + 'static>)? FromCell for $type {
            fn from_cell(cell: Cell<'_>) -> Result<Self, sqlx::Error> {
                let index = cell.index;
                match cell.value {
                    #[cfg(feature = "postgres")]
                    Held::Postgres(row) => row.try_get(index),
                    #[cfg(feature = "sqlite")]
                    Held::Sqlite(value) => crate::sqlite_value::FromStored::from_stored(value)
                        .map_err(|source| sqlx::Error::ColumnDecode { index: index.to_string(), source }),
                }
            }
        }
    };
}

from_cell! { i64 }
from_cell! { Uuid }
from_cell! { String }
from_cell! { Vec<u8> }
from_cell! { bool }
from_cell! { f64 }
from_cell! { serde_json::Value }
from_cell! { @T Json<T> }
from_cell! { OffsetDateTime }
