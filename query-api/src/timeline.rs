//! The newest comments, or the oldest, among those of many sources: the favourites of a user, the movies of a company,
//! the users of a place.
//!
//! Nothing is copied when a comment is posted; it is **pulled** when it is read, within a bound. Of `s` sources, the
//! `n` newest comments can only be by the `n` sources whose newest comment is newest. So:
//!
//! 1. the newest comment below the cursor is looked up for each source: `s` steps into one index;
//! 2. `reach` is how old the `n`th newest of these is: the page ends there or before. Where fewer sources have a
//!    comment, the page may go back to the beginning;
//! 3. in each source that comes up to it, the page ends no later than at that source's own `n`th newest comment: at
//!    most `n` steps in the index for each of `n` sources (more only where sources are equal to the millisecond);
//! 4. the comments up to there are at least `n` or all there are, and at most `n` of each of `n` sources: they are
//!    sorted and cut.
//!
//! A comment may name a movie or a user that nobody has registered, and is then in no list. To look for that at every step
//! would cost as much as the steps, and such comments are rare. So the steps are taken without looking; when one of the
//! comments that they lead to turns out to name nothing, they are taken again with a look at each.
//!
//! The first is what costs, a few microseconds a source; how many comments there are, and how many are by one prolific
//! author, does not matter. `docs/performance.md` has the figures.

use balcony_domain::{CompanyId, UserId};
use balcony_http::Problem;
use balcony_store::{Columns, Row, StoreError, Value};

use crate::api::QueryApi;
use crate::comment::{self, COLUMNS, Comment, CommentRow};
use crate::hot::{self, Concern, Found};
use crate::time_range::{Direction, TimeRange};
use balcony_http::cursor::TimeKey;
use balcony_http::list::{Page, PageRequest};

/// Whose comments are put together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sources<'a> {
    /// The favourites of a user.
    FavoritesOf(UserId),
    /// The movies of a company.
    MoviesOf(CompanyId),
    /// The users whose location is this.
    UsersAt(&'a str),
}

/// A page of the comments of all `sources`, the newest first.
pub(crate) async fn newest(
    api: &QueryApi,
    sources: Sources<'_>,
    wanted: &PageRequest<TimeKey>,
) -> Result<Found<Page<Comment>>, Problem> {
    let range = TimeRange::new(Direction::Newest, wanted.after, None, None);
    let Selected { rows, are_named } = select(api, sources, range, wanted.rows()).await?;
    let shown = hot::shown(&rows);
    let page = comment::page(wanted, rows, CommentRow::time_key)?;
    let concern = sources.concern().filter(|_| are_named);
    Ok(match concern {
        Some(concern) => Found::showing(page, [concern, Concern::Comments], &shown),
        None => Found::passing(page),
    })
}

/// The comments that were selected.
pub(crate) struct Selected {
    pub(crate) rows: Vec<CommentRow>,
    /// Whether it is certain that none was left out because it names a movie or a user that is not there.
    are_named: bool,
}

impl Sources<'_> {
    /// What decides which they are; `None` where much does.
    fn concern(self) -> Option<Concern> {
        match self {
            Self::FavoritesOf(user) => Some(Concern::FavoritesOf(user.0)),
            Self::MoviesOf(_) => Some(Concern::Movies),
            Self::UsersAt(_) => None,
        }
    }
}

/// The first `limit` comments of all `sources` in `range`.
pub(crate) async fn select(
    api: &QueryApi,
    sources: Sources<'_>,
    range: TimeRange,
    limit: i64,
) -> Result<Selected, StoreError> {
    let owner: Value<'_> = match sources {
        Sources::FavoritesOf(user) => user.0.into(),
        Sources::MoviesOf(company) => company.0.into(),
        Sources::UsersAt(location) => location.into(),
    };
    let last = range.last.unwrap_or(range.direction.end());
    let params = [owner, range.after.at.into(), range.after.id.into(), limit.into(), last.into()];
    let mut rows: Vec<Listed> = api.reader.fetch(sql(sources, range.direction, Looks::AtTheEnd), &params).await?;
    let are_named = rows.first().is_some_and(|row| row.steps_led_to == rows.len() as i64);
    if !are_named {
        rows = api.reader.fetch(sql(sources, range.direction, Looks::AtEachStep), &params).await?;
    }
    Ok(Selected { rows: rows.into_iter().map(|row| row.comment).collect(), are_named })
}

/// A comment of a page.
struct Listed {
    comment: CommentRow,
    /// How many comments the page would have if each of them named a movie and a user.
    steps_led_to: i64,
}

impl Row for Listed {
    fn read(columns: &mut Columns<'_>) -> Result<Self, StoreError> {
        Ok(Self { comment: CommentRow::read(columns)?, steps_led_to: columns.named("steps_led_to")? })
    }
}

/// When it is looked whether a comment names a movie and a user that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    AtTheEnd,
    AtEachStep,
}

impl Looks {
    /// The condition on every comment that is stepped on. In this form no planner turns it into a join of whole tables.
    fn condition(self) -> &'static str {
        match self {
            Self::AtTheEnd => "",
            Self::AtEachStep => {
                "AND (SELECT movies.id FROM movies WHERE movies.id = comments.movie_id) IS NOT NULL
                 AND (SELECT users.id FROM users WHERE users.id = comments.author_id) IS NOT NULL"
            }
        }
    }
}

fn sql(sources: Sources<'_>, direction: Direction, looks: Looks) -> String {
    // The column of `comments` that names the source, and the sources of `$1`.
    let (source, sources) = match sources {
        Sources::FavoritesOf(_) => ("author_id", "SELECT followee_id AS id FROM favorites WHERE follower_id = $1"),
        Sources::MoviesOf(_) => ("movie_id", "SELECT id FROM movies WHERE company_id = $1"),
        Sources::UsersAt(_) => ("author_id", "SELECT id FROM users WHERE location = $1"),
    };
    let (beyond, up_to, order, furthest) =
        (direction.beyond(), direction.up_to(), direction.order(), direction.furthest());
    let named = looks.condition();
    format!(
        "WITH sources AS ({sources}),
         nearest AS MATERIALIZED (
             SELECT sources.id, (
                 SELECT posted_at FROM comments
                 WHERE {source} = sources.id AND deleted_at IS NULL
                     AND (posted_at, comments.id) {beyond} ($2, $3) AND posted_at {up_to} $5 {named}
                 ORDER BY posted_at {order}, comments.id {order} LIMIT 1
             ) AS posted_at
             FROM sources
         ),
         reach AS MATERIALIZED (
             SELECT CASE WHEN COUNT(*) = $4 THEN {furthest}(posted_at) ELSE $5 END AS posted_at FROM (
                 SELECT posted_at FROM nearest WHERE posted_at IS NOT NULL ORDER BY posted_at {order} LIMIT $4
             ) AS first
         ),
         parts AS MATERIALIZED (
             SELECT nearest.id, COALESCE((
                 SELECT posted_at FROM comments
                 WHERE {source} = nearest.id AND deleted_at IS NULL
                     AND (posted_at, comments.id) {beyond} ($2, $3) AND posted_at {up_to} reach.posted_at {named}
                 ORDER BY posted_at {order}, comments.id {order} LIMIT 1 OFFSET $4 - 1
             ), reach.posted_at) AS last
             FROM nearest JOIN reach ON nearest.posted_at {up_to} reach.posted_at
         ),
         page AS MATERIALIZED (
             SELECT comments.id, movie_id, author_id, title, body, posted_at
             FROM parts JOIN comments ON {source} = parts.id AND posted_at {up_to} parts.last
             WHERE deleted_at IS NULL AND (posted_at, comments.id) {beyond} ($2, $3) {named}
             ORDER BY posted_at {order}, comments.id {order} LIMIT $4
         )
         SELECT {COLUMNS}, (SELECT COUNT(*) FROM page) AS steps_led_to
         FROM page AS comments
         JOIN movies ON movies.id = comments.movie_id
         JOIN users ON users.id = comments.author_id
         ORDER BY comments.posted_at {order}, comments.id {order}"
    )
}
