//! Frontiers: they notice new data and announce it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use balcony_files::{Folder, Found};
use balcony_projector::{Intake, IntakeError, Moment};
use balcony_store::Uuid;
use balcony_store::sqlx::sqlite::SqliteConnectOptions;
use balcony_store::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::config;
use crate::step::event;

/// A frontier at work. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Frontier {
    pub(crate) config: config::Frontier,
    /// The configuration's folder.
    pub(crate) folder: Arc<Path>,
    /// Where it announces.
    pub(crate) topic: Arc<str>,
    pub(crate) intake: Intake,
}

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Frontier {
    /// Looks until something fails.
    pub(crate) async fn run(self) -> Result<(), IntakeError> {
        match (&self.config.directory, &self.config.table, &self.config.database) {
            (Some(directory), ..) => self.watch_files(directory).await,
            (None, Some(table), Some(database)) => self.watch_rows(table, database).await,
            _ => Ok(()),
        }
    }

    /// Announces each state of each file once.
    async fn watch_files(&self, directory: &Path) -> Result<(), IntakeError> {
        let whole = self.folder.join(directory);
        let name =
            |folder: Option<&Path>| folder.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let (db, table) = (name(whole.parent()), name(Some(&whole)));
        let mut files = Folder::new(&whole);
        loop {
            let found = block_in_place(|| files.look());
            for Found { path, state } in found.map_err(|error| outside(format!("{}: {error}", whole.display())))? {
                let named = path.iter().filter_map(|part| part.to_str()?.split_once('='));
                let mut partition: Vec<Value> =
                    named.map(|(name, value)| json!({"name": name, "value": value})).collect();
                partition.push(json!({"name": "file", "value": directory.join(&path)}));
                self.announce(&path.to_string_lossy(), &state, &db, &table, partition).await?;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Announces how far a column of the table has grown.
    async fn watch_rows(&self, table: &str, database: &str) -> Result<(), IntakeError> {
        let column = &self.config.column;
        let (schema, name) = table.rsplit_once('.').unwrap_or(("", table));
        let file = (!database.contains("://")).then(|| self.folder.join(database));
        let db = file.as_ref().and_then(|file| file.file_stem()).map_or(schema.into(), |stem| stem.to_string_lossy());
        let sql = format!("SELECT CAST(MAX({column}) AS TEXT) FROM {table}");
        let mut last = None;
        loop {
            let found: Result<(Option<String>,), _> = match &file {
                Some(file) => {
                    let place = SqliteConnectOptions::new().filename(file).read_only(true);
                    let mut connection = SqliteConnection::connect_with(&place).await.map_err(outside)?;
                    sqlx::query_as(AssertSqlSafe(sql.clone())).fetch_one(&mut connection).await
                }
                None => {
                    let mut connection = PgConnection::connect(database).await.map_err(outside)?;
                    sqlx::query_as(AssertSqlSafe(sql.clone())).fetch_one(&mut connection).await
                }
            };
            let (greatest,) = found.map_err(outside)?;
            if let Some(greatest) = greatest.clone().filter(|_| greatest != last) {
                let partition = vec![json!({"name": column, "value": greatest})];
                self.announce(table, &greatest, &db, name, partition).await?;
            }
            last = greatest;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Announces a state of something, unless that was done before.
    async fn announce(
        &self,
        thing: &str,
        state: &str,
        db: &str,
        table: &str,
        partition: Vec<Value>,
    ) -> Result<(), IntakeError> {
        let key = format!("{}/{thing}", self.config.name);
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, key.as_bytes());
        let version = Uuid::new_v5(&Uuid::NAMESPACE_OID, state.as_bytes()).as_u64_pair().0.cast_signed();
        if self.intake.has(id, version).await? {
            return Ok(());
        }
        let method = if self.intake.last(id).await?.is_none() { "insert" } else { "update" };
        let date = &Moment::now().to_string()[.."2026-01-31".len()];
        let payload = json!({"db": db, "table": table, "method": method, "partition": partition, "exec_date": date});
        let message = event(&self.config.name, "announcement", key.as_bytes(), payload.to_string().into());
        self.intake.take(&self.topic, id, version, message).await.map(drop)
    }
}

pub(crate) fn outside(error: impl std::fmt::Display) -> IntakeError {
    IntakeError::Outside(error.to_string())
}
