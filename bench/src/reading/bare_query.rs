//! The query of a movie's page, on the database that Balcony reads, without Balcony.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;
use uuid::Uuid;

use crate::installation::Installation;
use crate::load::Round;
use crate::process::Deployment;
use crate::questions::PAGE;
use crate::scratch::Scratch;

/// Where the tables are.
pub(crate) enum BareQuery {
    /// The files of the comments and of what they name.
    Sqlite { comments: PathBuf, registry: PathBuf },
    /// The server, and the schemas.
    Postgres { url: String, schemas: String },
}

const QUERY: &str = "
    SELECT comments.id, comments.movie_id, movies.title, comments.author_id, users.display_name, comments.title,
           comments.body, comments.posted_at
    FROM comments JOIN movies ON movies.id = comments.movie_id JOIN users ON users.id = comments.author_id
    WHERE comments.deleted_at IS NULL AND comments.movie_id = $1 ORDER BY comments.posted_at DESC, comments.id DESC
    LIMIT $2";

impl BareQuery {
    pub(crate) async fn open(
        deployment: Deployment,
        scratch: &Scratch,
        installation: &Installation,
    ) -> anyhow::Result<Self> {
        Ok(match deployment {
            Deployment::Embedded => {
                let folder = scratch.path("reading").join("read-models");
                Self::Sqlite { comments: file(&folder, "_comments_")?, registry: file(&folder, "_registry_")? }
            }
            Deployment::Distributed => {
                let url = installation.setting("DATABASE_URL").context("the database has no address")?.to_owned();
                let mut connection = PgConnection::connect(&url).await?;
                let schemas: Vec<String> = sqlx::query_scalar(
                    "SELECT nspname FROM pg_namespace WHERE nspname ~ '^balcony_(comments|registry)_[0-9]+$'",
                )
                .fetch_all(&mut connection)
                .await?;
                Self::Postgres { url, schemas: schemas.join(", ") }
            }
        })
    }

    /// So many connections ask again and again.
    pub(crate) async fn load(&self, movie: &Uuid, clients: usize, duration: Duration) -> anyhow::Result<Round> {
        let movie = *movie;
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            match self {
                Self::Sqlite { comments, registry } => {
                    let (comments, registry) = (comments.clone(), registry.clone());
                    tasks.spawn(async move {
                        spawn_blocking(move || in_file(&comments, &registry, movie, duration)).await?
                    });
                }
                Self::Postgres { url, schemas } => {
                    let (url, schemas) = (url.clone(), schemas.clone());
                    tasks.spawn(async move { on_server(&url, &schemas, movie, duration).await });
                }
            }
        }
        let mut latencies = Vec::new();
        while let Some(of_one) = tasks.join_next().await {
            latencies.extend(of_one??);
        }
        latencies.sort_unstable();
        Ok(Round { took: duration, latencies })
    }
}

/// The file in `folder` whose name has `part`.
fn file(folder: &Path, part: &str) -> anyhow::Result<PathBuf> {
    let mut names = std::fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        path.to_str().is_some_and(|path| path.contains(part)) && path.extension().is_some_and(|end| end == "db")
    };
    names.find(is_it).with_context(|| format!("{} has no file of {part}", folder.display()))
}

fn in_file(comments: &Path, registry: &Path, movie: Uuid, duration: Duration) -> anyhow::Result<Vec<Duration>> {
    let connection = rusqlite::Connection::open(comments)?;
    connection.execute("ATTACH DATABASE ?1 AS registry", [registry.to_str().context("a path that is not UTF-8")?])?;
    connection.execute_batch("PRAGMA query_only = ON")?;
    let mut statement = connection.prepare(QUERY)?;
    let end = Instant::now() + duration;
    let mut latencies = Vec::new();
    loop {
        let asked = Instant::now();
        let mut found = statement.query(rusqlite::params![movie.as_bytes(), rows()])?;
        let mut count = 0;
        while let Some(row) = found.next()? {
            let (_, _, _): (Vec<u8>, Vec<u8>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (_, _, _): (Vec<u8>, String, Option<String>) = (row.get(3)?, row.get(4)?, row.get(5)?);
            let (_, _): (String, i64) = (row.get(6)?, row.get(7)?);
            count += 1;
        }
        check_full(count)?;
        let answered = Instant::now();
        if answered > end {
            return Ok(latencies);
        }
        latencies.push(answered - asked);
    }
}

async fn on_server(url: &str, schemas: &str, movie: Uuid, duration: Duration) -> anyhow::Result<Vec<Duration>> {
    let mut connection = PgConnection::connect(url).await?;
    connection.execute(AssertSqlSafe(format!("SET search_path = {schemas}"))).await?;
    let end = Instant::now() + duration;
    let mut latencies = Vec::new();
    loop {
        let asked = Instant::now();
        let found = sqlx::query(QUERY).bind(movie).bind(rows()).fetch_all(&mut connection).await?;
        for row in &found {
            let _: (Uuid, String, String, i64) = (row.try_get(0)?, row.try_get(2)?, row.try_get(6)?, row.try_get(7)?);
        }
        check_full(found.len())?;
        let answered = Instant::now();
        if answered > end {
            return Ok(latencies);
        }
        latencies.push(answered - asked);
    }
}

/// The comments that a list asks for: one more than a page has, as Balcony does.
fn rows() -> i64 {
    i64::try_from(PAGE + 1).expect("a page is short")
}

/// Fails where a page is not full, since then something else would be measured.
fn check_full(rows: usize) -> anyhow::Result<()> {
    ensure!(rows == PAGE + 1, "the query alone found {rows} comments");
    Ok(())
}
