//! Frontiers: they notice new data and announce it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use balcony_projector::{Intake, IntakeError, Moment};
use balcony_store::Uuid;
use balcony_store::sqlx::sqlite::SqliteConnectOptions;
use balcony_store::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

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
/// Files that are looked at in one folder, and folders within each other.
const MOST_FILES: usize = 100_000;
const DEEPEST: usize = 16;

impl Frontier {
    /// Looks until something fails.
    pub(crate) async fn run(self) -> Result<(), IntakeError> {
        match (&self.config.directory, &self.config.table, &self.config.database) {
            (Some(directory), ..) => self.watch_files(directory).await,
            (None, Some(table), Some(database)) => self.watch_rows(table, database).await,
            _ => Ok(()),
        }
    }

    /// Announces each version of each file once two looks have seen the same: one that changes between them is still being
    /// written.
    async fn watch_files(&self, directory: &Path) -> Result<(), IntakeError> {
        let whole = self.folder.join(directory);
        let name =
            |folder: Option<&Path>| folder.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let (db, table) = (name(whole.parent()), name(Some(&whole)));
        let (mut before, mut announced): (HashMap<PathBuf, i64>, HashMap<PathBuf, i64>) = Default::default();
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let look = {
                let whole = whole.clone();
                move || files(&whole)
            };
            let found = tokio::task::spawn_blocking(look).await.map_err(outside)?;
            let found = found.map_err(|error| IntakeError::Outside(format!("{}: {error}", whole.display())))?;
            for (path, version) in &found {
                if before.get(path) != Some(version) || announced.get(path) == Some(version) {
                    continue;
                }
                let inside = path.strip_prefix(&whole).unwrap_or(path);
                let named = inside.iter().filter_map(|part| part.to_str()?.split_once('='));
                let mut partition: Vec<Value> =
                    named.map(|(name, value)| json!({"name": name, "value": value})).collect();
                partition.push(json!({"name": "file", "value": directory.join(inside)}));
                self.announce(&inside.to_string_lossy(), *version, &db, &table, partition).await?;
                announced.insert(path.clone(), *version);
            }
            announced.retain(|path, _| found.contains_key(path));
            before = found;
        }
    }

    /// Announces how far a column of the table has grown.
    async fn watch_rows(&self, table: &str, database: &str) -> Result<(), IntakeError> {
        let column = &self.config.column;
        let (schema, name) = table.rsplit_once('.').unwrap_or(("", table));
        let file = (!database.contains("://")).then(|| self.folder.join(database));
        let db = file.as_ref().and_then(|file| file.file_stem()).map_or(schema.into(), |stem| stem.to_string_lossy());
        let sql = format!("SELECT CAST(MAX({column}) AS TEXT) FROM {table}");
        let mut ticks = interval(LOOK_EVERY);
        let mut last = None;
        loop {
            ticks.tick().await;
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
                self.announce(table, version(&greatest), &db, name, partition).await?;
            }
            last = greatest;
        }
    }

    /// Announces a version of something, unless that was done before.
    async fn announce(
        &self,
        thing: &str,
        version: i64,
        db: &str,
        table: &str,
        partition: Vec<Value>,
    ) -> Result<(), IntakeError> {
        let key = format!("{}/{thing}", self.config.name);
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, key.as_bytes());
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

/// The files below `directory`, each with a number that changes with it. Hidden ones are left out.
fn files(directory: &Path) -> std::io::Result<HashMap<PathBuf, i64>> {
    let mut files = HashMap::new();
    let mut folders = vec![(directory.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in folder.read_dir()? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") || files.len() + folders.len() > MOST_FILES {
                continue;
            }
            if kind.is_dir() && depth < DEEPEST {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() {
                let about = entry.metadata()?;
                let changed = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
                files.insert(entry.path(), version(&format!("{} {}", about.len(), changed.as_nanos())));
            }
        }
    }
    Ok(files)
}

/// A number for a state that is described so.
fn version(state: &str) -> i64 {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, state.as_bytes()).as_u64_pair().0.cast_signed()
}

fn outside(error: impl std::fmt::Display) -> IntakeError {
    IntakeError::Outside(error.to_string())
}
