use sqlx::FromRow;
#[cfg(feature = "postgres")]
use sqlx::postgres::PgRow;
// In place of a database that is left out stands the other, so that the bounds below ask nothing more.
#[cfg(not(feature = "sqlite"))]
use sqlx::postgres::PgRow as SqliteRow;
#[cfg(feature = "sqlite")]
use sqlx::sqlite::SqliteRow;
#[cfg(not(feature = "postgres"))]
use sqlx::sqlite::SqliteRow as PgRow;

/// A row that either database can give: tuples, and whatever [`row!`](crate::row) makes or derives [`FromRow`].
pub trait Row: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static {}
impl<T> Row for T where T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static {}

/// Defines a struct that is a [`Row`](trait@crate::Row): each field is read from the column of its name.
///
/// `#[derive(FromRow)]` does the same and more where a crate has `sqlx` among its own dependencies, which the derive
/// insists on.
///
/// ```
/// balcony_store::row! {
///     /// How often a word was seen.
///     #[derive(Debug)]
///     pub struct Seen {
///         /// The word.
///         pub word: String,
///         /// How often.
///         pub times: i64,
///     }
/// }
/// ```
#[macro_export]
macro_rules! row {
    ($(#[$of_struct:meta])* $visible:vis struct $name:ident {
        $($(#[$of_field:meta])* $field_visible:vis $field:ident: $type:ty),* $(,)?
    }) => {
        $(#[$of_struct])*
        $visible struct $name {
            $($(#[$of_field])* $field_visible $field: $type,)*
        }

        impl<'r, R: $crate::sqlx::Row> $crate::sqlx::FromRow<'r, R> for $name
        where
            for<'name> &'name str: $crate::sqlx::ColumnIndex<R>,
            $($type: $crate::sqlx::Decode<'r, R::Database> + $crate::sqlx::Type<R::Database>,)*
        {
            fn from_row(row: &'r R) -> $crate::sqlx::Result<Self> {
                Ok(Self { $($field: $crate::sqlx::Row::try_get(row, stringify!($field))?,)* })
            }
        }
    };
}
