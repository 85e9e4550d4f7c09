use crate::{Columns, FromCell, StoreError};

/// A row that either database can give: tuples, whose parts are its columns from left to right, and whatever
/// [`row!`](crate::row) makes.
pub trait Row: Sized + Send + 'static {
    /// Reads the row.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a column that is not there or is of another type.
    fn read(columns: &mut Columns<'_>) -> Result<Self, StoreError>;
}

/// Defines a struct that is a [`Row`](trait@crate::Row): each field is read from the column of its name. It is quickest
/// where the columns come in the order of the fields.
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

        impl $crate::Row for $name {
            fn read(columns: &mut $crate::Columns<'_>) -> ::std::result::Result<Self, $crate::StoreError> {
                ::std::result::Result::Ok(Self { $($field: columns.named(stringify!($field))?,)* })
            }
        }
    };
}

macro_rules! tuples {
    ($first:ident $($other:ident)*) => {
        impl<$first: FromCell, $($other: FromCell),*> Row for ($first, $($other,)*) {
            fn read(columns: &mut Columns<'_>) -> Result<Self, StoreError> {
                Ok((columns.following::<$first>()?, $(columns.following::<$other>()?,)*))
            }
        }

        tuples! { $($other)* }
    };
    () => {};
}

tuples! { A B C D E F G H I J K L }
