use std::borrow::Cow;

use crate::{Row, StoreError, Value};

/// What reads some generations, whose tables all go by their plain names.
#[derive(Debug)]
pub(crate) enum Readers {
    #[cfg(feature = "postgres")]
    Postgres(crate::server_readers::ServerReaders),
    #[cfg(feature = "sqlite")]
    Sqlite(crate::file_readers::FileReaders),
}

impl Readers {
    /// Runs a query outside any transaction.
    pub(crate) async fn fetch<R: Row>(
        &self,
        sql: Cow<'static, str>,
        params: &[Value<'_>],
    ) -> Result<Vec<R>, StoreError> {
        match self {
            // Whoever does not come to a query at all does not carry its state about.
            #[cfg(feature = "postgres")]
            Self::Postgres(readers) => Box::pin(readers.fetch(sql, params)).await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(readers) => readers.fetch(sql, params).await,
        }
    }
}
