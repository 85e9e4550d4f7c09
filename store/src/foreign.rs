//! A database of somebody else's.

#[cfg(all(feature = "postgres", feature = "sqlite"))]
use std::path::Path;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;

use sqlx::{AssertSqlSafe, Connection as _};

/// A database of another program, which is only read: with its own tables, and none of this crate's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreign {
    /// The one of PostgreSQL at this URL.
    #[cfg(feature = "postgres")]
    Postgres(String),
    /// This file of SQLite.
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf),
}

impl Foreign {
    /// The one that people call `place`: a URL of PostgreSQL, or a file of SQLite, whose path begins in `folder` unless it is whole.
    #[cfg(all(feature = "postgres", feature = "sqlite"))]
    pub fn at(place: &str, folder: &Path) -> Self {
        if place.contains("://") { Self::Postgres(place.to_owned()) } else { Self::Sqlite(folder.join(place)) }
    }

    /// What a file is called, without its folder and ending; a database behind a URL is not known by its name.
    pub fn file_stem(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => file.file_stem()?.to_str(),
        }
    }

    /// The one value, a text, of the one row that `sql` gives. It is asked for on a connection of its own.
    ///
    /// # Errors
    /// When the database does not answer, or with something else.
    pub async fn text(&self, sql: &str) -> Result<Option<String>, sqlx::Error> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => {
                let mut connection = sqlx::PgConnection::connect(url).await?;
                let text = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await?;
                connection.close().await?;
                Ok(text)
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => {
                let place = sqlx::sqlite::SqliteConnectOptions::new().filename(file).read_only(true);
                let mut connection = sqlx::SqliteConnection::connect_with(&place).await?;
                let text = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await?;
                connection.close().await?;
                Ok(text)
            }
        }
    }
}

#[cfg(all(test, feature = "sqlite"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use sqlx::Executor as _;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;

    #[tokio::test]
    async fn a_table_of_others_is_read_and_not_made() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("shop.db");
        let foreign = Foreign::Sqlite(file.clone());
        assert_eq!(foreign.file_stem(), Some("shop"));
        let sql = "SELECT CAST(MAX(number) AS TEXT) FROM orders";
        assert!(foreign.text(sql).await.is_err() && !file.exists());
        let theirs = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let mut theirs = sqlx::SqliteConnection::connect_with(&theirs).await.unwrap();
        theirs.execute("CREATE TABLE orders (number BIGINT)").await.unwrap();
        assert_eq!(foreign.text(sql).await.unwrap(), None);
        theirs.execute("INSERT INTO orders VALUES (3), (8)").await.unwrap();
        assert_eq!(foreign.text(sql).await.unwrap().as_deref(), Some("8"));
        assert!(foreign.text("DELETE FROM orders RETURNING 'gone'").await.is_err(), "it is only read");
    }
}
