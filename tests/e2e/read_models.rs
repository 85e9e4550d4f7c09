//! The read models of a deployment, looked at beside the processes that write them.

use std::collections::BTreeSet;
use std::time::Duration;

use balcony_event_log::Positions;
use balcony_event_log::testing::eventually;
use balcony_store::{Database, DatabasePlace, GenerationState, Row, Settings, Writer};
use sqlx::Connection as _;

use crate::deployment::{Deployment, Kind};

/// How long everything in these tests may take to be caught up with.
const CATCH_UP: Duration = Duration::from_secs(120);

pub struct ReadModels {
    pub database: Database,
    place: DatabasePlace,
}

impl ReadModels {
    pub async fn of(deployment: &Deployment) -> Self {
        let place = match &deployment.kind {
            Kind::Embedded { data_dir } => DatabasePlace::Sqlite { directory: data_dir.join("read-models") },
            Kind::Distributed { database_url, .. } => DatabasePlace::Postgres { url: database_url.clone() },
        };
        let settings = Settings { namespace: deployment.namespace().parse().unwrap(), place: place.clone() };
        Self { database: Database::open(&settings).await.unwrap(), place }
    }

    /// Number and state of each generation.
    pub async fn generations(&self, projection: &str) -> Vec<(i64, GenerationState)> {
        let listed = self.database.generations(Some(projection)).await.unwrap();
        listed.into_iter().map(|listed| (listed.generation.number, listed.state)).collect()
    }

    /// Connections to the live generation.
    pub async fn live(&self, projection: &str) -> Option<Writer> {
        let listed = self.database.generations(Some(projection)).await.unwrap();
        let live = listed.into_iter().find(|listed| listed.state == GenerationState::Live)?;
        Some(self.database.writer(&live.generation))
    }

    pub async fn fetch<R: Row>(&self, projection: &str, sql: &'static str) -> Vec<R> {
        let live = self.live(projection).await.expect("a live generation");
        live.snapshot().await.unwrap().fetch(sql, &[]).await.unwrap()
    }

    /// Changes the live generation behind its projection's back; gives how many rows.
    pub async fn execute(&self, projection: &str, sql: &'static str) -> u64 {
        let live = self.live(projection).await.expect("a live generation");
        let mut tx = live.begin().await.unwrap();
        let changed = tx.execute(sql, &[]).await.unwrap();
        tx.commit().await.unwrap();
        changed
    }

    /// Waits until the live generations of `projections` have come to `ends`.
    pub async fn caught_up(&self, projections: &[&str], ends: &Positions) {
        for projection in projections {
            eventually(&format!("{projection} catches up"), CATCH_UP, async || {
                let live = self.live(projection).await?;
                let reached = live.snapshot().await.ok()?.checkpoints().await.ok()?;
                reached.covers(ends).then_some(())
            })
            .await;
        }
    }

    /// The schemas, or files, that are there for generations.
    pub async fn namespaces(&self) -> BTreeSet<String> {
        let is_generation =
            |name: &String| name.rsplit_once('_').is_some_and(|(_, number)| number.parse::<i64>().is_ok());
        match &self.place {
            DatabasePlace::Postgres { url } => {
                let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
                let sql = "SELECT nspname::text FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'";
                let names: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap();
                names.into_iter().filter(is_generation).collect()
            }
            DatabasePlace::Sqlite { directory } => {
                let entries = std::fs::read_dir(directory).unwrap();
                let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
                names.map(|name| name.split_once('.').unwrap().0.to_owned()).filter(is_generation).collect()
            }
        }
    }
}
