use std::borrow::Cow;

use sqlx::{AssertSqlSafe, PgPool};

use crate::lent::Lent;
use crate::postgres::arguments;
use crate::watch::Watch;
use crate::{Row, StoreError, Value};

/// Connections to a server that read, each query by itself.
#[derive(Debug)]
pub(crate) struct ServerReaders {
    pool: PgPool,
    watch: Watch,
}

impl ServerReaders {
    pub(crate) fn new(pool: PgPool, watch: Watch) -> Self {
        Self { pool, watch }
    }

    /// Runs a query.
    pub(crate) async fn fetch<R: Row>(
        &self,
        sql: Cow<'static, str>,
        params: &[Value<'_>],
    ) -> Result<Vec<R>, StoreError> {
        let arguments = arguments(params)?;
        let mut lent = Lent::new(self.pool.acquire().await?);
        let query = async {
            let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
            Ok(lent.answer(async |connection| query.fetch_all(connection).await).await?)
        };
        let rows = self.watch.over(query).await?;
        rows.iter().map(|row| R::read(&mut row.into())).collect()
    }
}
