use std::time::Duration;

use uuid::Uuid;

use crate::{Database, StoreError};

/// Who works on a projection or a reactor, in any process, as it last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its id, for as long as its process runs.
    pub id: Uuid,
    /// What it works on.
    pub name: String,
    /// How long ago it told, by the database's clock, as every time here.
    pub seen_ago: Duration,
    /// What it told.
    pub report: String,
}

/// How long the row of a worker that died is kept.
const KEPT: Duration = Duration::from_hours(1);

impl Database {
    /// Tells that `worker`, which works on `name`, is alive, and what it reports; removes the rows of those that died
    /// long ago.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn beat(&self, worker: Uuid, name: &str, report: &str) -> Result<(), StoreError> {
        let now = self.backend.now();
        let mut tx = self.begin().await?;
        tx.execute(
            format!(
                "INSERT INTO workers (id, name, seen_at, report) VALUES ($1, $2, {now}, $3)
                 ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, report = excluded.report"
            ),
            &[worker.into(), name.into(), report.into()],
        )
        .await?;
        let kept = i64::try_from(KEPT.as_millis()).expect("an hour has few milliseconds");
        tx.execute(format!("DELETE FROM workers WHERE seen_at < {now} - $1"), &[kept.into()]).await?;
        tx.commit().await
    }

    /// Takes the row of a worker away, because it ends.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn leave(&self, worker: Uuid) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.execute("DELETE FROM workers WHERE id = $1", &[worker.into()]).await?;
        tx.commit().await
    }

    /// Every worker that has not left, those that died lately included, the one seen last first.
    ///
    /// # Errors
    /// [`StoreError`] as the database answers.
    pub async fn workers(&self) -> Result<Vec<WorkerStatus>, StoreError> {
        let sql =
            format!("SELECT id, name, {} - seen_at, report FROM workers ORDER BY seen_at DESC, id", self.backend.now());
        let rows: Vec<(Uuid, String, i64, String)> = self.look().await?.fetch(sql, &[]).await?;
        let worker = |(id, name, ago, report): (_, _, i64, _)| {
            let seen_ago = Duration::from_millis(u64::try_from(ago).unwrap_or(0));
            WorkerStatus { id, name, seen_ago, report }
        };
        Ok(rows.into_iter().map(worker).collect())
    }
}
