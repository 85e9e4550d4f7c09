/// Matches a value of an enum with a variant for each database that is built in, and does the same for each: `$bound`
/// is what the variant holds, `$database` is the module of what that database does in its own way. Both modules have
/// the same names.
macro_rules! on_each {
    ($value:expr, $kind:ident, |$bound:ident| $body:expr) => {
        match $value {
            #[cfg(feature = "postgres")]
            $kind::Postgres($bound) => $body,
            #[cfg(feature = "sqlite")]
            $kind::Sqlite($bound) => $body,
        }
    };
    ($value:expr, $kind:ident, |$bound:ident, $database:ident| $body:expr) => {
        match $value {
            #[cfg(feature = "postgres")]
            $kind::Postgres($bound) => {
                use crate::postgres as $database;
                $body
            }
            #[cfg(feature = "sqlite")]
            $kind::Sqlite($bound) => {
                use crate::sqlite as $database;
                $body
            }
        }
    };
}
