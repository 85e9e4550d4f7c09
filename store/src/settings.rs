#[cfg(feature = "sqlite")]
use std::path::PathBuf;

use crate::Namespace;

/// Where the read models are, and under which names.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What every schema, lock and channel has in its name.
    pub namespace: Namespace,
    /// Where they are.
    pub place: DatabasePlace,
}

/// Where the read models are.
#[derive(Debug, Clone)]
pub enum DatabasePlace {
    /// A PostgreSQL database, by its URL, which several namespaces may share. PostgreSQL 14 or newer.
    #[cfg(feature = "postgres")]
    Postgres {
        /// `postgres://user:password@host:port/database`.
        url: String,
    },
    /// A folder of SQLite files, of one namespace.
    #[cfg(feature = "sqlite")]
    Sqlite {
        /// The folder; made when it is missing.
        directory: PathBuf,
    },
}
