//! Readers of a server. A query is one round trip: the pool's own lending asks each connection whether it is there, before it
//! is lent and again when it comes back.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, PgPool, Postgres};
use tokio::sync::Semaphore;

use crate::error::is_lost;
use crate::lent::Lent;
use crate::peer::BELIEVED;
use crate::postgres::arguments;
use crate::watch::Watch;
use crate::{Row, StoreError, Value};

/// Connections to a server that read, each query by itself.
#[derive(Debug)]
pub(crate) struct ServerReaders {
    pool: PgPool,
    /// As many as the pool has connections, so that it has one for whoever found none at hand.
    places: Semaphore,
    /// Connections that the pool has lent and that nobody uses, the one that was used last at the end.
    at_hand: Mutex<Vec<AtHand>>,
    watch: Watch,
}

#[derive(Debug)]
struct AtHand {
    connection: PoolConnection<Postgres>,
    since: Instant,
}

impl ServerReaders {
    pub(crate) fn new(pool: PgPool, watch: Watch) -> Self {
        let places = Semaphore::new(pool.options().get_max_connections() as usize);
        Self { pool, places, at_hand: Mutex::default(), watch }
    }

    /// Runs a query.
    pub(crate) async fn fetch<R: Row>(
        &self,
        sql: Cow<'static, str>,
        params: &[Value<'_>],
    ) -> Result<Vec<R>, StoreError> {
        let place = tokio::time::timeout(self.pool.options().get_acquire_timeout(), self.places.acquire()).await;
        let _place = place.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        if let Some(connection) = self.take() {
            match self.ask(connection, sql.clone(), params).await {
                // The server may have been started again since: the others that are at hand were opened before, too.
                Err(StoreError::Unavailable(error)) if is_lost(&error) => self.lock().clear(),
                rows => return rows,
            }
        }
        self.ask(self.pool.acquire().await?, sql, params).await
    }

    async fn ask<R: Row>(
        &self,
        connection: PoolConnection<Postgres>,
        sql: Cow<'static, str>,
        params: &[Value<'_>],
    ) -> Result<Vec<R>, StoreError> {
        let arguments = arguments(params)?;
        let mut lent = Lent::new(connection);
        let query = async {
            let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
            Ok(lent.answer(async |connection| query.fetch_all(connection).await).await?)
        };
        let rows = self.watch.over(query).await?;
        self.put(lent.take());
        rows.iter().map(|row| R::read(&mut row.into())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<AtHand>> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, if that was just now. The others go back to the pool, which closes what is not
    /// needed for long.
    fn take(&self) -> Option<PoolConnection<Postgres>> {
        let mut at_hand = self.lock();
        let stale = at_hand.iter().take_while(|idle| idle.since.elapsed() >= BELIEVED).count();
        at_hand.drain(..stale);
        at_hand.pop().map(|idle| idle.connection)
    }

    fn put(&self, connection: PoolConnection<Postgres>) {
        self.lock().push(AtHand { connection, since: Instant::now() });
    }
}

impl Drop for ServerReaders {
    /// Closes what is at hand without the pool, which would need a runtime for that.
    fn drop(&mut self) {
        self.lock().drain(..).for_each(|idle| drop(idle.connection.detach()));
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::sync::Arc;

    use crate::limits::Limits;
    use crate::session::Session;
    use crate::{DatabasePlace, Progress, Scratch};

    #[tokio::test]
    async fn a_query_is_one_round_trip() {
        let Some(scratch) = Scratch::postgres().await.expect("a database") else { return };
        let (settings, proxy) = scratch.through_a_proxy().await.expect("a proxy");
        #[cfg_attr(not(feature = "sqlite"), expect(irrefutable_let_patterns))]
        let DatabasePlace::Postgres { url } = &settings.place else { panic!("it is on a server") };
        let options = url.parse().expect("a URL");
        let session = Session::new(&settings.namespace, &Arc::new(Progress::new(true)), &[], Limits::READING);
        let readers = session.readers(&options, 2);
        let ask = async || readers.fetch::<(i64,)>("SELECT $1".into(), &[7.into()]).await.expect("a row");
        // The first connects, and has the statement prepared. On a machine that stands still for a second, it is asked
        // again whether anybody is there.
        let mut said = Vec::new();
        for _ in 0..20 {
            assert_eq!(ask().await, [(7,)]);
            let before = proxy.said();
            for _ in 0..10 {
                ask().await;
            }
            said.push(proxy.said() - before);
            if said.ends_with(&[10]) {
                return;
            }
        }
        panic!("ten queries took as many round trips as {said:?}");
    }
}
