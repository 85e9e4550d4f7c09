use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use balcony_event_log::Positions;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};
use tokio::time::Instant;

use crate::checkpoints::positions;
use crate::database::Backend;
use crate::value::{Value, arguments};
use crate::{Database, Generation, Row, StoreError, postgres, sqlite};

/// Reads the live generations of some read models, whose tables all go by their plain names. When a generation is
/// switched, new queries go to the new one and those under way end on the old one.
#[derive(Debug, Clone)]
pub struct Reader {
    database: Database,
    projections: &'static [&'static str],
    bound: Arc<RwLock<Option<Arc<Bound>>>>,
}

/// Connections bound to one set of generations.
#[derive(Debug)]
struct Bound {
    generations: Vec<Generation>,
    pool: Pool,
}

#[derive(Debug)]
enum Pool {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// How often the set of live generations is looked at when nobody tells of a change.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a waiting reader looks at the checkpoints when nobody tells of progress.
const CHECK_EVERY: Duration = Duration::from_millis(200);

impl Reader {
    /// A reader of `projections`. It answers [`StoreError::NotReady`] until each has a live generation.
    pub async fn open(database: &Database, projections: &'static [&'static str]) -> Self {
        let reader = Self { database: database.clone(), projections, bound: Arc::default() };
        if let Err(error) = reader.rebind().await {
            tracing::debug!(%error, "no read models yet");
        }
        tokio::spawn(follow(Arc::downgrade(&reader.bound), database.clone(), projections));
        reader
    }

    /// Whether every read model has a live generation and the database answers.
    ///
    /// # Errors
    /// [`StoreError::NotReady`] names a read model that is missing.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.bound().await?;
        self.database.ping().await
    }

    /// Runs a query.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn fetch<R: Row>(
        &self,
        sql: impl Into<Cow<'static, str>>,
        params: &[Value<'_>],
    ) -> Result<Vec<R>, StoreError> {
        let bound = self.bound().await?;
        let sql = AssertSqlSafe(sql.into());
        Ok(match &bound.pool {
            Pool::Postgres(pool) => sqlx::query_as_with(sql, arguments::<PgArguments>(params)?).fetch_all(pool).await?,
            Pool::Sqlite(pool) => {
                sqlx::query_as_with(sql, arguments::<SqliteArguments>(params)?).fetch_all(pool).await?
            }
        })
    }

    /// How far `projection` has committed.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn checkpoints(&self, projection: &str) -> Result<Positions, StoreError> {
        let generation = self.generation(projection).await?;
        self.checkpoints_of(&generation).await
    }

    /// Waits until `projection` has committed everything below `wanted`, whose topics it must read, and says whether
    /// that was so before `deadline`.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn wait_for(&self, projection: &str, wanted: &Positions, deadline: Instant) -> Result<bool, StoreError> {
        let progress = self.database.progress();
        let mut ticks = progress.ticks();
        let mut look = true;
        loop {
            ticks.mark_unchanged();
            let generation = self.generation(projection).await?;
            if progress.covers(&generation, wanted) {
                return Ok(true);
            }
            if look {
                let reached = self.checkpoints_of(&generation).await?;
                progress.note(&generation.namespace(), &reached);
                ticks.mark_unchanged();
                if reached.covers(wanted) {
                    return Ok(true);
                }
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            let pause = (Instant::now() + CHECK_EVERY).min(deadline);
            look = tokio::time::timeout_at(pause, ticks.changed()).await.is_err();
        }
    }

    async fn checkpoints_of(&self, generation: &Generation) -> Result<Positions, StoreError> {
        let sql = format!("SELECT topic, partition, next_offset FROM {}.checkpoints", generation.namespace());
        let rows: Vec<(String, i64, i64)> = self.fetch(sql, &[]).await?;
        positions(rows)
    }

    async fn generation(&self, projection: &str) -> Result<Generation, StoreError> {
        let bound = self.bound().await?;
        let generation = bound.generations.iter().find(|generation| generation.projection == projection);
        generation.cloned().ok_or_else(|| StoreError::NotReady(projection.to_owned()))
    }

    async fn bound(&self) -> Result<Arc<Bound>, StoreError> {
        if let Some(bound) = self.bound.read().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(bound);
        }
        self.rebind().await
    }

    async fn rebind(&self) -> Result<Arc<Bound>, StoreError> {
        rebind(&self.bound, &self.database, self.projections).await
    }
}

/// Binds to the generations that are live now, if they are others than before.
async fn rebind(
    slot: &RwLock<Option<Arc<Bound>>>,
    database: &Database,
    projections: &[&'static str],
) -> Result<Arc<Bound>, StoreError> {
    let generations = database.live(projections).await?;
    let mut slot = slot.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(bound) = slot.as_ref().filter(|bound| bound.generations == generations) {
        return Ok(bound.clone());
    }
    let pool = match &database.backend {
        Backend::Postgres { options, .. } => Pool::Postgres(postgres::readers(options, &generations)),
        Backend::Sqlite { directory, .. } => Pool::Sqlite(sqlite::readers(directory, &generations)),
    };
    let bound = Arc::new(Bound { generations, pool });
    *slot = Some(bound.clone());
    Ok(bound)
}

/// Follows the set of live generations until the reader is dropped.
async fn follow(slot: Weak<RwLock<Option<Arc<Bound>>>>, database: Database, projections: &'static [&'static str]) {
    let mut changes = database.progress().generation_ticks();
    loop {
        // Told or not, the set is looked at.
        let _ = tokio::time::timeout(LOOK_EVERY, changes.changed()).await;
        let Some(slot) = slot.upgrade() else { return };
        if let Err(error) = rebind(&slot, &database, projections).await {
            tracing::debug!(%error, "the live generations could not be read");
        }
    }
}
