//! Frontiers: they notice new data and announce it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use balcony_store::Uuid;
use serde_json::json;

use crate::config;
use crate::memory::{Announcement, Memory};
use crate::step::{event, now};

/// A frontier at work.
pub(crate) struct Frontier {
    pub(crate) config: config::Frontier,
    /// The configuration's folder.
    pub(crate) folder: PathBuf,
    /// Where it announces.
    pub(crate) topic: Arc<str>,
    pub(crate) memory: Memory,
    /// The version of each file at the last look, and whether it is announced.
    seen: HashMap<PathBuf, (i64, bool)>,
}

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Files and folders that are looked at in one folder, and folders within each other.
const MOST_FILES: usize = 100_000;
const DEEPEST: usize = 16;

impl Frontier {
    /// One that has seen nothing.
    pub(crate) fn new(config: config::Frontier, folder: PathBuf, topic: Arc<str>, memory: Memory) -> Self {
        Self { config, folder, topic, memory, seen: HashMap::new() }
    }

    /// Looks until it is dropped. What fails is tried again.
    pub(crate) async fn run(mut self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look().await {
                tracing::warn!(frontier = self.config.name, error = format!("{error:#}"), "the frontier sees nothing");
            }
        }
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let Some(directory) = self.config.directory.clone() else { return Ok(()) };
        let whole = self.folder.join(&directory);
        let files = tokio::task::spawn_blocking({
            let whole = whole.clone();
            move || files(&whole)
        })
        .await?;
        let files = files.with_context(|| format!("{} cannot be read", whole.display()))?;
        let before = std::mem::take(&mut self.seen);
        let mut to_announce = Vec::new();
        for (path, version) in files {
            // One that changes between two looks is still being written.
            let state = match before.get(&path) {
                Some((last, is_announced)) if *last == version => (version, *is_announced),
                _ => (version, false),
            };
            if before.get(&path) == Some(&(version, false)) {
                to_announce.push(path.clone());
            }
            self.seen.insert(path, state);
        }
        for path in to_announce {
            let version = self.seen[&path].0;
            let inside = path.strip_prefix(&whole).unwrap_or(&path);
            let mut partition: Vec<_> = inside
                .iter()
                .filter_map(|part| {
                    let (name, value) = part.to_str()?.split_once('=')?;
                    Some(json!({"name": name, "value": value}))
                })
                .collect();
            partition.push(json!({"name": "file", "value": directory.join(inside)}));
            let name = |folder: Option<&Path>| {
                folder.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
            };
            let (db, table) = (name(whole.parent()), name(Some(&whole)));
            self.announce(&inside.to_string_lossy(), version, &db, &table, &partition).await?;
            self.seen.insert(path, (version, true));
        }
        Ok(())
    }

    /// Announces a version of something, unless that was done before.
    async fn announce(
        &self,
        thing: &str,
        version: i64,
        db: &str,
        table: &str,
        partition: &[serde_json::Value],
    ) -> anyhow::Result<()> {
        let key = format!("{}/{thing}", self.config.name);
        let about = Announcement { thing: Uuid::new_v5(&Uuid::NAMESPACE_URL, key.as_bytes()), version };
        let sql = "SELECT version FROM announced WHERE thing = $1";
        let known: Vec<(i64,)> = self.memory.fetch("announced", sql, &[about.thing.into()]).await?;
        if known.contains(&(version,)) {
            return Ok(());
        }
        let method = if known.is_empty() { "insert" } else { "update" };
        let date = &now().to_string()[..10];
        let payload = json!({"db": db, "table": table, "method": method, "partition": partition, "exec_date": date});
        let source = format!("/hippo/{}", self.config.name);
        let message = event(&source, "hippo.announcement.v1", key.as_bytes(), payload.to_string().into());
        self.memory.announce(&self.topic, &about, message).await
    }
}

/// The files below `directory`, each with a number that changes with it. Hidden ones are left out.
fn files(directory: &Path) -> std::io::Result<Vec<(PathBuf, i64)>> {
    let mut files = Vec::new();
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
                files.push((entry.path(), version(&format!("{} {}", about.len(), changed.as_nanos()))));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// A number for a state that is described so.
fn version(state: &str) -> i64 {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, state.as_bytes()).as_u64_pair().0.cast_signed()
}
