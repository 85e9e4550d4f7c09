//! The newest comments among those of many sources: the favourites of a user, the movies of a company.
//!
//! Nothing is copied when a comment is posted; it is **pulled** when it is read, within a bound. Of `s` sources, the
//! `n` newest comments can only be by the `n` sources whose newest comment is newest. So:
//!
//! 1. the newest comment below the cursor is looked up for each source: `s` steps into one index;
//! 2. `reach` is how old the `n`th newest of these is: the page ends there or before;
//! 3. in each source that reaches it, the page begins no later than at that source's own `n`th newest comment, nor at
//!    `reach`: at most `n` steps into the index for each of `n` sources (more only where sources are equal to the
//!    millisecond);
//! 4. the comments from there on are at least `n` or all there are, and few more: they are sorted and cut.
//!
//! The first is what costs, a few microseconds a source; how many comments there are, and how many are by one prolific
//! author, does not matter. `docs/performance.md` has the figures.

use balcony_domain::{CompanyId, UserId};
use balcony_http::Problem;

use crate::QueryApi;
use crate::comment::{self, COLUMNS, Comment, CommentRow};
use crate::cursor::TimeKey;
use crate::page::{Page, PageRequest};

/// Whose comments are put together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sources {
    /// The favourites of a user.
    FavoritesOf(UserId),
    /// The movies of a company.
    MoviesOf(CompanyId),
}

/// A page of the comments of all `sources`, the newest first.
pub(crate) async fn newest(
    api: &QueryApi,
    sources: Sources,
    wanted: &PageRequest<TimeKey>,
) -> Result<Page<Comment>, Problem> {
    let owner = match sources {
        Sources::FavoritesOf(user) => user.0,
        Sources::MoviesOf(company) => company.0,
    };
    let after = wanted.after.unwrap_or(TimeKey::LATEST);
    let params = [owner.into(), after.at.into(), after.id.into(), wanted.rows().into()];
    let rows: Vec<CommentRow> = api.reader.fetch(sql(sources), &params).await?;
    comment::page(wanted, rows, CommentRow::time_key)
}

fn sql(sources: Sources) -> String {
    // The column of `comments` that names the source, and the sources of `$1`.
    let (source, sources) = match sources {
        Sources::FavoritesOf(_) => ("author_id", "SELECT followee_id AS id FROM favorites WHERE follower_id = $1"),
        Sources::MoviesOf(_) => ("movie_id", "SELECT id FROM movies WHERE company_id = $1"),
    };
    format!(
        "WITH sources AS ({sources}),
         newest AS MATERIALIZED (
             SELECT sources.id, (
                 SELECT posted_at FROM comments
                 WHERE {source} = sources.id AND deleted_at IS NULL AND (posted_at, comments.id) < ($2, $3)
                 ORDER BY posted_at DESC, comments.id DESC LIMIT 1
             ) AS posted_at
             FROM sources
         ),
         reach AS MATERIALIZED (
             SELECT MIN(posted_at) AS posted_at FROM (
                 SELECT posted_at FROM newest WHERE posted_at IS NOT NULL ORDER BY posted_at DESC LIMIT $4
             ) AS first
         ),
         parts AS MATERIALIZED (
             SELECT newest.id, COALESCE((
                 SELECT posted_at FROM comments
                 WHERE {source} = newest.id AND deleted_at IS NULL AND (posted_at, comments.id) < ($2, $3)
                     AND posted_at >= reach.posted_at
                 ORDER BY posted_at DESC, comments.id DESC LIMIT 1 OFFSET $4 - 1
             ), reach.posted_at) AS since
             FROM newest JOIN reach ON newest.posted_at >= reach.posted_at
         )
         SELECT {COLUMNS}
         FROM parts
         JOIN comments ON comments.{source} = parts.id AND comments.posted_at >= parts.since
         JOIN movies ON movies.id = comments.movie_id
         JOIN users ON users.id = comments.author_id
         WHERE comments.deleted_at IS NULL AND (comments.posted_at, comments.id) < ($2, $3)
         ORDER BY comments.posted_at DESC, comments.id DESC
         LIMIT $4"
    )
}
