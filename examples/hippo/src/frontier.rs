//! Frontiers: they notice new data and announce it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use balcony_files::configuration::Placed;
use balcony_files::{Folder, Found};
use balcony_projector::{Intake, IntakeError, Moment};
use balcony_store::Foreign;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::config;
use crate::step::event;

/// A frontier at work. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Frontier {
    pub(crate) config: Placed<config::Frontier>,
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
            for Found { path, state } in
                found.map_err(|error| IntakeError::outside(format!("{}: {error}", whole.display())))?
            {
                let named = path.iter().filter_map(|part| part.to_str()?.split_once('='));
                let mut partition: Vec<Value> =
                    named.map(|(name, value)| json!({"name": name, "value": value})).collect();
                partition.push(json!({"name": "file", "value": directory.join(&path)}));
                self.announce(
                    &path.to_string_lossy(),
                    &state,
                    json!({"db": db, "table": table, "partition": partition}),
                )
                .await?;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Announces how far a column of the table has grown.
    async fn watch_rows(&self, table: &str, database: &str) -> Result<(), IntakeError> {
        let column = &self.config.column;
        let (schema, name) = table.rsplit_once('.').unwrap_or(("", table));
        let foreign = Foreign::at(database, &self.folder);
        let db = foreign.file_stem().unwrap_or(schema);
        let sql = format!("SELECT CAST(MAX({column}) AS TEXT) FROM {table}");
        let mut last = None;
        loop {
            let greatest = foreign.text(&sql).await.map_err(IntakeError::outside)?;
            if let Some(greatest) = greatest.clone().filter(|_| greatest != last) {
                let partition = [json!({"name": column, "value": greatest})];
                self.announce(table, &greatest, json!({"db": db, "table": name, "partition": partition})).await?;
            }
            last = greatest;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Announces a state of something, unless that was done before.
    async fn announce(&self, thing: &str, state: &str, mut data: Value) -> Result<(), IntakeError> {
        let key = format!("{}/{thing}", self.config.name);
        let message = |is_new| {
            data["method"] = if is_new { "insert" } else { "update" }.into();
            data["exec_date"] = Moment::now().to_string()[.."2026-01-31".len()].into();
            event(&self.config.name, "announcement", key.as_bytes(), data.to_string().into())
        };
        self.intake.notice(&self.topic, &key, state, message).await
    }
}
