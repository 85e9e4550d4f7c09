//! A comment as every list and every reader sees it, with the names of today.

use balcony_domain::Timestamp;
use balcony_http::Problem;
use balcony_store::{Columns, Reader, Row, StoreError, row};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::conditions::Conditions;
use crate::keys::{AuthorKey, NameKey};
use crate::time::stored_time;
use balcony_http::cursor::{Key, TimeKey};
use balcony_http::list::{Page, PageRequest};

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Comment {
    id: Uuid,
    movie: CommentedMovie,
    author: NamedUser,
    /// Up to 200 characters.
    #[schema(required)]
    title: Option<String>,
    /// 1 to 10,000 characters.
    body: String,
    #[schema(value_type = String, format = DateTime)]
    posted_at: Timestamp,
}

/// The movie a comment is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct CommentedMovie {
    pub(crate) id: Uuid,
    /// Its title.
    pub(crate) title: String,
}

row! {
    /// A user by name.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
    pub(crate) struct NamedUser {
        pub(crate) id: Uuid,
        /// The name of today.
        pub(crate) display_name: String,
    }
}

row! {
    /// A comment as the database gives it.
    #[derive(Debug, Clone)]
    pub(crate) struct CommentRow {
        id: Uuid,
        movie_id: Uuid,
        movie_title: String,
        author_id: Uuid,
        author_name: String,
        title: Option<String>,
        body: String,
        posted_at: i64,
    }
}

/// The columns of a [`CommentRow`] from [`TABLES`].
pub(crate) const COLUMNS: &str = "
    comments.id, comments.movie_id, movies.title AS movie_title, comments.author_id,
    users.display_name AS author_name, comments.title, comments.body, comments.posted_at";
/// A comment is taken only once the registry has its movie and its author. One that names something else is in no list.
pub(crate) const TABLES: &str = "
    comments
    JOIN movies ON movies.id = comments.movie_id
    JOIN users ON users.id = comments.author_id";

/// [`TABLES`], with the comments that name a movie or a user that is not there.
pub(crate) const TABLES_AS_FAR: &str = "
    comments
    LEFT JOIN movies ON movies.id = comments.movie_id
    LEFT JOIN users ON users.id = comments.author_id";
/// The columns of a [`MaybeNamed`] from [`TABLES_AS_FAR`].
pub(crate) const NAMED_COLUMNS: &str = "
    comments.id, comments.movie_id, COALESCE(movies.title, '') AS movie_title, comments.author_id,
    COALESCE(users.display_name, '') AS author_name, comments.title, comments.body, comments.posted_at,
    movies.id IS NOT NULL AND users.id IS NOT NULL AS is_named";

/// A comment, and whether it names a movie and a user that are there.
pub(crate) struct MaybeNamed {
    pub(crate) comment: CommentRow,
    pub(crate) is_named: bool,
}

impl Row for MaybeNamed {
    fn read(columns: &mut Columns<'_>) -> Result<Self, StoreError> {
        Ok(Self { comment: CommentRow::read(columns)?, is_named: columns.named("is_named")? })
    }
}

impl Comment {
    pub(crate) fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    pub(crate) fn body(&self) -> &str {
        &self.body
    }
}

impl CommentRow {
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    pub(crate) fn movie_id(&self) -> Uuid {
        self.movie_id
    }

    pub(crate) fn author_id(&self) -> Uuid {
        self.author_id
    }

    pub(crate) fn author(&self) -> NamedUser {
        NamedUser { id: self.author_id, display_name: self.author_name.clone() }
    }

    /// Its place in lists by time.
    pub(crate) fn time_key(&self) -> TimeKey {
        TimeKey { at: self.posted_at, id: self.id }
    }

    /// Its place in lists by author.
    pub(crate) fn author_key(&self) -> AuthorKey {
        let author = NameKey { name: self.author_name.clone().into_bytes(), id: self.author_id };
        AuthorKey { author, comment: self.time_key() }
    }
}

impl TryFrom<CommentRow> for Comment {
    type Error = Problem;

    fn try_from(row: CommentRow) -> Result<Self, Problem> {
        Ok(Self {
            id: row.id,
            movie: CommentedMovie { id: row.movie_id, title: row.movie_title },
            author: NamedUser { id: row.author_id, display_name: row.author_name },
            title: row.title,
            body: row.body,
            posted_at: stored_time(row.posted_at)?,
        })
    }
}

/// Of the comments called `ids` those that are there, in no order.
pub(crate) async fn standing(reader: &Reader, ids: &[Uuid]) -> Result<Vec<CommentRow>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut conditions = Conditions::new("comments.deleted_at IS NULL");
    conditions.is_one_of("comments.id", ids);
    reader.fetch(format!("SELECT {COLUMNS} FROM {TABLES} WHERE {}", conditions.text()), conditions.params()).await
}

/// The same, with those that name a movie or a user that is not there.
pub(crate) async fn standing_as_far(reader: &Reader, ids: &[Uuid]) -> Result<Vec<MaybeNamed>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut conditions = Conditions::new("comments.deleted_at IS NULL");
    conditions.is_one_of("comments.id", ids);
    let sql = format!("SELECT {NAMED_COLUMNS} FROM {TABLES_AS_FAR} WHERE {}", conditions.text());
    reader.fetch(sql, conditions.params()).await
}

/// The page of comments that begins with `rows`, which are ordered by `key`.
pub(crate) fn page<K: Key>(
    wanted: &PageRequest<K>,
    rows: Vec<CommentRow>,
    key: impl FnOnce(&CommentRow) -> K,
) -> Result<Page<Comment>, Problem> {
    wanted.page(rows, key).try_map(Comment::try_from)
}
