use std::sync::Arc;
use std::time::Duration;

use balcony_domain::{CommentId, CompanyId, MovieId, Topics, UserId};
use balcony_event_log::{EventLog, LogError, Positions, SharedLook};
use balcony_http::{Again, Problem};
use balcony_read_models::Subscription;
use balcony_store::{ReadModel, Reader, StoreError};
use quick_cache::sync::Cache;
use tokio::time::Instant;
use uuid::Uuid;

/// What the command side asks of what was recorded before: what exists and who wrote it. Cheap to clone.
///
/// What is there stays there, so a yes is final and kept. A **no** is only believed once the registry has been read
/// up to the log's end as of the question; all who have such a question at a time share one look at the end.
#[derive(Clone)]
pub(crate) struct Registry {
    reader: Reader,
    model: ReadModel,
    log: Arc<dyn EventLog>,
    topics: Topics,
    known: Arc<Cache<Known, ()>>,
    /// At the log's end, until the registry has come there.
    looks: Arc<SharedLook<Result<(), Away>>>,
}

/// What the registry may be asked to know. Ids of different kinds are different, whatever their digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Known {
    Movie(MovieId),
    Company(CompanyId),
    User(UserId),
}

/// Why a no could not be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Away {
    Log,
    Database,
    Projector,
}

/// A comment as the registry knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownComment {
    pub(crate) author: UserId,
    pub(crate) deleted: bool,
}

/// How many ids are remembered to exist.
const KNOWN: usize = 200_000;
/// How long the registry is waited for.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Registry {
    pub(crate) fn new(reader: Reader, model: ReadModel, log: Arc<dyn EventLog>, topics: Topics) -> Self {
        Self { reader, model, log, topics, known: Arc::new(Cache::new(KNOWN)), looks: Arc::default() }
    }

    pub(crate) async fn movie_exists(&self, movie: MovieId) -> Result<bool, Problem> {
        self.exists(Known::Movie(movie)).await
    }

    pub(crate) async fn company_exists(&self, company: CompanyId) -> Result<bool, Problem> {
        self.exists(Known::Company(company)).await
    }

    pub(crate) async fn user_exists(&self, user: UserId) -> Result<bool, Problem> {
        self.exists(Known::User(user)).await
    }

    /// Whether the user is known to exist; a no may be too early.
    pub(crate) async fn user_is_known(&self, user: UserId) -> Result<bool, Problem> {
        Ok(self.find(Known::User(user)).await?)
    }

    /// The comment, if it was ever posted.
    pub(crate) async fn comment(&self, comment: CommentId) -> Result<Option<KnownComment>, Problem> {
        if let Some(found) = self.find_comment(comment).await? {
            return Ok(Some(found));
        }
        self.at_the_end(|| self.find_comment(comment)).await
    }

    /// The digest of the request that made `id` under an idempotency key.
    pub(crate) async fn request(&self, id: Uuid) -> Result<Option<String>, Problem> {
        if let Some(found) = self.find_request(id).await? {
            return Ok(Some(found));
        }
        self.at_the_end(|| self.find_request(id)).await
    }

    /// The same, once the registry has come to `written`, where the request is.
    pub(crate) async fn request_after(&self, id: Uuid, written: &Positions) -> Result<String, Problem> {
        let unknown = || Problem::outcome_unknown().sent_again(Again::OnceUnderItsKey);
        let find = async || -> Result<Option<String>, Problem> {
            self.wait_for(written).await.map_err(|_| unknown())?;
            Ok(self.find_request(id).await?)
        };
        self.reader.undisturbed(find).await?.ok_or_else(unknown)
    }

    /// Whether the company gets mail; `None` where there is no such company.
    pub(crate) async fn subscription(&self, company: CompanyId) -> Result<Option<Subscription>, Problem> {
        self.at_the_end(|| Subscription::of(company, &self.reader)).await
    }

    /// Waits until the registry has come to `written`.
    pub(crate) async fn wait_for(&self, written: &Positions) -> Result<(), Problem> {
        match self.reader.wait_for(&self.model, written, Instant::now() + TIMEOUT).await? {
            true => Ok(()),
            false => Err(Away::Projector.into()),
        }
    }

    /// How far the registry has come.
    pub(crate) async fn reached(&self) -> Result<Positions, Problem> {
        Ok(self.reader.checkpoints(&self.model).await?)
    }

    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        self.reader.ready().await
    }

    async fn find_comment(&self, comment: CommentId) -> Result<Option<KnownComment>, StoreError> {
        let sql = "SELECT author_id, deleted_at FROM comment_authors WHERE comment_id = $1";
        let rows: Vec<(Uuid, Option<i64>)> = self.reader.fetch(sql, &[comment.0.into()]).await?;
        let found = rows.first();
        Ok(found.map(|&(author, deleted)| KnownComment { author: UserId(author), deleted: deleted.is_some() }))
    }

    async fn find_request(&self, id: Uuid) -> Result<Option<String>, StoreError> {
        let rows: Vec<(String,)> = self.reader.fetch("SELECT digest FROM requests WHERE id = $1", &[id.into()]).await?;
        Ok(rows.into_iter().next().map(|(digest,)| digest))
    }

    async fn exists(&self, what: Known) -> Result<bool, Problem> {
        if self.find(what).await? {
            return Ok(true);
        }
        self.at_the_end(|| self.find(what)).await
    }

    /// What `find` gives of a registry that has been read up to where the log ends.
    async fn at_the_end<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        find: impl Fn() -> F,
    ) -> Result<T, Problem> {
        let find = || async {
            // Boxed, as in [`Reader::undisturbed`].
            Box::pin(self.catch_up()).await?;
            Ok(find().await?)
        };
        self.reader.undisturbed(find).await
    }

    async fn find(&self, what: Known) -> Result<bool, StoreError> {
        if self.known.get(&what).is_some() {
            return Ok(true);
        }
        let (sql, id) = what.question();
        let found: Vec<(Uuid,)> = self.reader.fetch(sql, &[id.into()]).await?;
        if found.is_empty() {
            return Ok(false);
        }
        self.known.insert(what, ());
        Ok(true)
    }

    /// Waits until the registry has been read up to where the log ended when this was called, or later.
    async fn catch_up(&self) -> Result<(), Away> {
        self.looks.now(async || self.look().await).await
    }

    async fn look(&self) -> Result<(), Away> {
        let ends = self.log.ends(std::slice::from_ref(&self.topics.facts)).await.map_err(|error: LogError| {
            tracing::warn!(%error, "the log's end could not be seen");
            Away::Log
        })?;
        match self.reader.wait_for(&self.model, &ends, Instant::now() + TIMEOUT).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Away::Projector),
            Err(error) => {
                tracing::warn!(%error, "the registry could not be read");
                Err(Away::Database)
            }
        }
    }
}

impl Known {
    /// The query that gives the id where it is known, and the id.
    fn question(self) -> (&'static str, Uuid) {
        match self {
            Self::Movie(id) => ("SELECT id FROM movies WHERE id = $1", id.0),
            Self::Company(id) => ("SELECT id FROM companies WHERE id = $1", id.0),
            Self::User(id) => ("SELECT id FROM users WHERE id = $1", id.0),
        }
    }
}

impl From<Away> for Problem {
    fn from(away: Away) -> Self {
        match away {
            Away::Log => Self::unavailable("the log is not available; nothing was done, try again"),
            Away::Database => Self::unavailable("the database is not available; nothing was done, try again"),
            Away::Projector => Self::unavailable("what was recorded before could not be read in time; try again later"),
        }
    }
}
