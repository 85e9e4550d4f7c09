//! What an embedded installation needs of SQLite, or that this program is built without it.

pub(super) use self::backend::{open_log, open_log_beside, place};

#[cfg(feature = "sqlite")]
mod backend {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use balcony_event_log::embedded::EmbeddedLog;
    use balcony_event_log::{EventLog, LogError, Topic};
    use balcony_store::DatabasePlace;

    pub(in super::super) fn open_log(file: &Path, topics: &[Topic]) -> Result<Arc<dyn EventLog>, LogError> {
        Ok(Arc::new(EmbeddedLog::open(file, topics)?))
    }

    pub(in super::super) fn open_log_beside(file: &Path, topics: &[Topic]) -> Result<Arc<dyn EventLog>, LogError> {
        Ok(Arc::new(EmbeddedLog::open_beside(file, topics)?))
    }

    pub(in super::super) fn place(directory: PathBuf) -> anyhow::Result<DatabasePlace> {
        Ok(DatabasePlace::Sqlite { directory })
    }
}

#[cfg(not(feature = "sqlite"))]
mod backend {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use balcony_event_log::{EventLog, LogError, Topic};
    use balcony_store::DatabasePlace;

    const MISSING: &str = "this program is built without SQLite; set KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL";

    pub(in super::super) fn open_log(_: &Path, _: &[Topic]) -> Result<Arc<dyn EventLog>, LogError> {
        Err(LogError::Misconfigured(MISSING.to_owned()))
    }

    pub(in super::super) fn open_log_beside(file: &Path, topics: &[Topic]) -> Result<Arc<dyn EventLog>, LogError> {
        open_log(file, topics)
    }

    pub(in super::super) fn place(_: PathBuf) -> anyhow::Result<DatabasePlace> {
        anyhow::bail!(MISSING)
    }
}
