use balcony_store::{Database, Settings};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

/// A database of a scenario's own, which goes with it.
pub(super) struct Scratch {
    pub(super) database: Database,
    _place: Place,
}

enum Place {
    Folder { _folder: TempDir },
    Server { url: String, name: String },
}

impl Scratch {
    /// In a temporary folder; in memory where the system has a folder for that, which takes a fraction of the time.
    pub(super) async fn sqlite() -> Result<Self, String> {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).map_err(text)?;
        let settings = Settings::Sqlite { directory: folder.path().join("read-models") };
        let database = Database::open(&settings).await.map_err(text)?;
        Ok(Self { database, _place: Place::Folder { _folder: folder } })
    }

    /// On the server that `DATABASE_URL` names, if it does.
    pub(super) async fn postgres() -> Result<Option<Self>, String> {
        let Ok(url) = std::env::var("DATABASE_URL") else {
            println!("left out: DATABASE_URL is not set; tests/run sets it");
            return Ok(None);
        };
        let name = format!("testkit_{}", Uuid::now_v7().simple());
        administer(&url, &format!("CREATE DATABASE {name}")).await.map_err(text)?;
        let (server, _) = url.rsplit_once('/').unwrap_or((&url, ""));
        let settings = Settings::Postgres { url: format!("{server}/{name}") };
        // From here on it is dropped whatever happens. Nobody wants it back after a crash.
        let hasty = format!("ALTER DATABASE {name} SET synchronous_commit = off");
        let place = Place::Server { url: url.clone(), name };
        administer(&url, &hasty).await.map_err(text)?;
        let database = Database::open(&settings).await.map_err(text)?;
        Ok(Some(Self { database, _place: place }))
    }

    pub(super) fn kind(&self) -> &'static str {
        match self._place {
            Place::Folder { .. } => "SQLite",
            Place::Server { .. } => "PostgreSQL",
        }
    }

    /// Whether several workers can write at once.
    pub(super) fn writes_at_once(&self) -> bool {
        matches!(self._place, Place::Server { .. })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self::Server { url, name } = self else { return };
        let (url, sql) = (std::mem::take(url), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        // A thread of its own, because the runtime that the test runs in cannot be waited for from here.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(text)?.block_on(administer(&url, &sql)).map_err(text)
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("the database {name} stays behind: {error}");
        }
    }
}

async fn administer(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
    connection.close().await
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
