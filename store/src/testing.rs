#[cfg(feature = "postgres")]
mod proxy;

use std::fmt::Debug;
use std::path::Path;

#[cfg(feature = "postgres")]
pub use self::proxy::Proxy;
use crate::{DatabasePlace, Settings, StoreError};

/// A database for one test, which is dropped with it.
#[derive(Debug)]
pub struct Scratch {
    settings: Settings,
    kind: &'static str,
    kept: Vec<Box<dyn Debug + Send + Sync>>,
}

impl Scratch {
    /// A folder of SQLite files.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when there is no room for it.
    #[cfg(feature = "sqlite")]
    pub fn sqlite() -> Result<Self, StoreError> {
        Self::in_folder(tempfile::tempdir().map_err(sqlx::Error::Io)?)
    }

    /// The same in memory, where the system has a folder for that: many times as quick, and small.
    ///
    /// # Errors
    /// As [`Scratch::sqlite`].
    #[cfg(feature = "sqlite")]
    pub fn sqlite_in_memory() -> Result<Self, StoreError> {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::in_folder(folder.map_err(sqlx::Error::Io)?)
    }

    #[cfg(feature = "sqlite")]
    fn in_folder(folder: tempfile::TempDir) -> Result<Self, StoreError> {
        let place = DatabasePlace::Sqlite { directory: folder.path().join("read-models") };
        Ok(Self { settings: settings(place), kind: "SQLite", kept: vec![Box::new(folder)] })
    }

    /// A database on the PostgreSQL server that `DATABASE_URL` names, by a user who may create one. `None` without
    /// such a variable, which is said in one line. A commit does not wait for the disk.
    ///
    /// # Errors
    /// [`StoreError`] as the server answers.
    ///
    /// # Panics
    /// Without `DATABASE_URL` where `CI` is set: there nothing is left out.
    #[cfg(feature = "postgres")]
    pub async fn postgres() -> Result<Option<Self>, StoreError> {
        let Ok(url) = std::env::var("DATABASE_URL") else {
            assert!(std::env::var_os("CI").is_none(), "DATABASE_URL names no PostgreSQL server, and CI is set");
            println!("left out: DATABASE_URL names no PostgreSQL server");
            return Ok(None);
        };
        let scratch = Self::postgres_at(&url).await?;
        let name = scratch.url().and_then(|url| url.rsplit_once('/')).map_or("", |(_, name)| name);
        administer(&url, &format!("ALTER DATABASE {name} SET synchronous_commit = off")).await?;
        Ok(Some(scratch))
    }

    /// A database on the PostgreSQL server that `url` names, by a user who may create one.
    ///
    /// # Errors
    /// [`StoreError`] as the server answers.
    #[cfg(feature = "postgres")]
    pub async fn postgres_at(url: &str) -> Result<Self, StoreError> {
        let name = format!("scratch_{}", uuid::Uuid::now_v7().simple());
        administer(url, &format!("CREATE DATABASE {name}")).await?;
        let (server, _) = url.rsplit_once('/').unwrap_or((url, ""));
        let place = DatabasePlace::Postgres { url: format!("{server}/{name}") };
        let database = ServerDatabase { url: url.to_owned(), name };
        Ok(Self { settings: settings(place), kind: "PostgreSQL", kept: vec![Box::new(database)] })
    }

    /// The same, with something else that the test has made and that goes when it is dropped.
    #[must_use]
    pub fn with(mut self, other: impl Debug + Send + Sync + 'static) -> Self {
        self.kept.push(Box::new(other));
        self
    }

    /// Its settings, in the namespace `scratch`.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its settings in another namespace.
    ///
    /// # Panics
    /// When `namespace` is none.
    pub fn settings_in(&self, namespace: &str) -> Settings {
        Settings { namespace: namespace.parse().expect("a namespace"), place: self.settings.place.clone() }
    }

    /// Its URL, where it has one.
    pub fn url(&self) -> Option<&str> {
        match &self.settings.place {
            #[cfg(feature = "postgres")]
            DatabasePlace::Postgres { url } => Some(url),
            #[cfg(feature = "sqlite")]
            DatabasePlace::Sqlite { .. } => None,
        }
    }

    /// Its settings for a client that speaks to its server through a proxy.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when there is no port for one.
    ///
    /// # Panics
    /// When it is on no server.
    #[cfg(feature = "postgres")]
    pub async fn through_a_proxy(&self) -> Result<(Settings, Proxy), StoreError> {
        let url = self.url().expect("it is on a server");
        let (user, rest) = url.rsplit_once('@').expect("the URL names a user");
        let (server, name) = rest.split_once('/').expect("the URL names a database");
        let proxy = Proxy::before(server.to_owned()).await.map_err(sqlx::Error::Io)?;
        let place = DatabasePlace::Postgres { url: format!("{user}@{}/{name}", proxy.address()) };
        Ok((Settings { namespace: self.settings.namespace.clone(), place }, proxy))
    }

    /// Its folder, where it is one.
    pub fn directory(&self) -> Option<&Path> {
        match &self.settings.place {
            #[cfg(feature = "postgres")]
            DatabasePlace::Postgres { .. } => None,
            #[cfg(feature = "sqlite")]
            DatabasePlace::Sqlite { directory } => Some(directory),
        }
    }

    /// The name of the kind of database.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Whether several workers can write at once.
    pub fn writes_at_once(&self) -> bool {
        self.directory().is_none()
    }
}

fn settings(place: DatabasePlace) -> Settings {
    Settings { namespace: "scratch".parse().expect("a namespace"), place }
}

/// A database on a server.
#[cfg(feature = "postgres")]
#[derive(Debug)]
struct ServerDatabase {
    url: String,
    name: String,
}

#[cfg(feature = "postgres")]
impl Drop for ServerDatabase {
    fn drop(&mut self) {
        let url = std::mem::take(&mut self.url);
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A thread of its own, because the runtime that the test runs in cannot be waited for from here.
        let dropped = std::thread::spawn(move || -> Result<(), StoreError> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(sqlx::Error::Io)?.block_on(administer(&url, &sql))
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("the database {} stays behind: {error}", self.name);
        }
    }
}

#[cfg(feature = "postgres")]
async fn administer(url: &str, sql: &str) -> Result<(), StoreError> {
    use sqlx::Connection as _;

    let mut connection = sqlx::PgConnection::connect(url).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}
