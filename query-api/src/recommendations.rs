use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use balcony_domain::{Timestamp, UserId};
use balcony_http::{Problem, Visitor};
use balcony_read_models::{Comments, Favorites, Journeys, Registry, Statistics};
use balcony_store::Value;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::QueryApi;
use crate::comment::{CommentedMovie, NamedUser};
use crate::ranking::{most_viewed, names, titled};
use crate::time_range::{Direction, TimeRange};
use crate::timeline::{self, Sources};
use balcony_http::cursor::{Key, Scope, TimeKey};
use balcony_http::list::{Page, PageParams, PageRequest};
use balcony_http::query::Query;

/// A movie that may be of interest, and why.
#[derive(Serialize, ToSchema)]
pub(crate) struct Recommendation {
    movie: CommentedMovie,
    /// Why, in English words.
    reason: String,
    /// How often it was viewed in the last 24 hours.
    views: i64,
    /// Who of the reader's favourites commented on it in the last 30 days: the two who did last.
    favorites: Vec<NamedUser>,
    /// How many of the reader's favourites did.
    favorite_count: usize,
}

/// What speaks for a movie.
#[derive(Debug, Default)]
struct Reasons {
    /// How often it was viewed lately.
    views: i64,
    /// Who of the reader's favourites commented on it lately, the last first.
    favorites: Vec<NamedUser>,
}

/// The place of a movie among those that are recommended: the most reasons first, then the most favourites, then the
/// most views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(Reverse<i64>, Reverse<i64>, Reverse<i64>, Uuid);

/// How many movies that are trending, and comments of favourites, are looked at.
const CONSIDERED: i64 = 100;
/// How far back views count, in minutes.
const TRENDING: u32 = 24 * 60;
/// How far back comments of favourites count, in milliseconds: 30 days.
const LATELY: i64 = 30 * 24 * 60 * 60 * 1_000;
/// How many favourites a reason names.
const NAMED: usize = 2;

/// Movies that are trending or that one's favourites commented on lately, those that are both first, and why; without what
/// one commented on or viewed. For whoever sends no token: what is trending.
#[utoipa::path(
    get, path = "/v1/recommendations", tag = "movies", operation_id = "list_recommendations",
    params(PageParams),
    responses(
        (status = 200, description = "A page of movies; with an `ETag` where no token is sent", body = Page<Recommendation>),
        (status = 304, description = "The client has this page already"),
    ),
)]
pub(crate) async fn list(
    State(api): State<Arc<QueryApi>>,
    Visitor(visitor): Visitor,
    mut query: Query,
) -> Result<Response, Problem> {
    let reader = visitor.map(|visitor| UserId(visitor.user));
    let wanted = PageRequest::take(&mut query.params, Scope::of("recommendations").with_any("reader", reader));
    let reads = [Registry::NAME, Comments::NAME, Favorites::NAME, Journeys::NAME, Statistics::NAME];
    let answer = query.wait(&api.read_models, &reads).await?;
    let found = recommended(&api, reader, &wanted).await;
    Ok(if reader.is_some() { answer.json(found) } else { answer.public_list(found) })
}

async fn recommended(
    api: &QueryApi,
    reader: Option<UserId>,
    wanted: &PageRequest<Rank>,
) -> Result<Page<Recommendation>, Problem> {
    let now = crate::time::now();
    let mut candidates: HashMap<Uuid, Reasons> = HashMap::new();
    for (movie, views) in most_viewed(api, TRENDING, now, None, CONSIDERED).await? {
        candidates.entry(movie).or_default().views = views;
    }
    if let Some(reader) = reader {
        add_comments_of_favorites(api, reader, now, &mut candidates).await?;
        for movie in known_to(api, reader, &candidates).await? {
            candidates.remove(&movie);
        }
    }
    let mut movies = titled(api, candidates.keys().copied()).await?;
    candidates.retain(|movie, _| movies.contains_key(movie));

    let mut ranked: Vec<(Rank, Reasons)> =
        candidates.into_iter().map(|(movie, reasons)| (reasons.rank(movie), reasons)).collect();
    ranked.retain(|(rank, _)| wanted.after.is_none_or(|after| *rank > after));
    ranked.sort_unstable_by_key(|(rank, _)| *rank);
    ranked.truncate(wanted.limit() + 1);
    let page = wanted.page(ranked, |(rank, _)| *rank);
    Ok(page.filter_map(|(Rank(.., movie), reasons)| movies.remove(&movie).map(|movie| reasons.recommend(movie))))
}

async fn add_comments_of_favorites(
    api: &QueryApi,
    reader: UserId,
    now: i64,
    candidates: &mut HashMap<Uuid, Reasons>,
) -> Result<(), Problem> {
    let since = Timestamp::from_milliseconds(now - LATELY).map_err(|error| Problem::internal(&error))?;
    let lately = TimeRange::new(Direction::Newest, None::<TimeKey>, Some(since), None);
    for comment in timeline::select(api, Sources::FavoritesOf(reader), lately, CONSIDERED).await?.rows {
        let favorites = &mut candidates.entry(comment.movie_id()).or_default().favorites;
        if favorites.iter().all(|favorite| favorite.id != comment.author_id()) {
            favorites.push(comment.author());
        }
    }
    Ok(())
}

/// Those of the candidates that the reader commented on or viewed.
async fn known_to(
    api: &QueryApi,
    reader: UserId,
    candidates: &HashMap<Uuid, Reasons>,
) -> Result<HashSet<Uuid>, Problem> {
    let mut params: Vec<Value<'_>> = candidates.keys().map(|movie| Value::from(*movie)).collect();
    if params.is_empty() {
        return Ok(HashSet::new());
    }
    let movies = names(&params);
    params.push(reader.0.into());
    let reader = format!("${}", params.len());
    let sql = format!(
        "SELECT movie_id FROM comments WHERE author_id = {reader} AND deleted_at IS NULL AND movie_id IN ({movies})
         UNION
         SELECT movie_id FROM journey_views WHERE user_id = {reader} AND movie_id IN ({movies})"
    );
    let rows: Vec<(Uuid,)> = api.reader.fetch(sql, &params).await?;
    Ok(rows.into_iter().map(|(movie,)| movie).collect())
}

impl Reasons {
    fn recommend(mut self, movie: CommentedMovie) -> Recommendation {
        let (reason, favorite_count) = (self.in_words(), self.favorites.len());
        self.favorites.truncate(NAMED);
        Recommendation { movie, reason, views: self.views, favorites: self.favorites, favorite_count }
    }

    fn rank(&self, movie: Uuid) -> Rank {
        let kinds = i64::from(self.views > 0) + i64::from(!self.favorites.is_empty());
        let favorites = i64::try_from(self.favorites.len()).unwrap_or(i64::MAX);
        Rank(Reverse(kinds), Reverse(favorites), Reverse(self.views), movie)
    }

    fn in_words(&self) -> String {
        let views = match self.views {
            1 => "viewed once in the last 24 hours".to_owned(),
            views => format!("viewed {views} times in the last 24 hours"),
        };
        let commented = self.in_words_of_favorites();
        match (commented, self.views) {
            (Some(commented), 0) => commented,
            (Some(commented), _) => format!("{commented}, and it is trending: {views}"),
            (None, _) => format!("Trending: {views}"),
        }
    }

    fn in_words_of_favorites(&self) -> Option<String> {
        let names: Vec<&str> = self.favorites.iter().map(|favorite| favorite.display_name.as_str()).collect();
        let (named, others) = names.split_at(names.len().min(NAMED));
        let who = match (named, others.len()) {
            ([], _) => return None,
            ([one], _) => return Some(format!("{one}, a favourite of yours, commented on it lately")),
            ([one, other], 0) => format!("{one} and {other}"),
            (named, 1) => format!("{} and one more", named.join(", ")),
            (named, others) => format!("{} and {others} more", named.join(", ")),
        };
        Some(format!("{who}, favourites of yours, commented on it lately"))
    }
}

impl Key for Rank {
    fn write(&self, bytes: &mut Vec<u8>) {
        let Self(Reverse(kinds), Reverse(favorites), Reverse(views), movie) = self;
        for number in [kinds, favorites, views] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(movie.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (numbers, movie) = bytes.split_at_checked(24)?;
        let number = |at: usize| numbers[at..].first_chunk().map(|bytes| Reverse(i64::from_be_bytes(*bytes)));
        Some(Self(number(0)?, number(8)?, number(16)?, Uuid::from_slice(movie).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn favorite(name: &&str) -> NamedUser {
        NamedUser { id: Uuid::nil(), display_name: (*name).to_owned() }
    }

    #[test]
    fn a_reason_reads_well() {
        let reasons =
            |views, favorites: &[&str]| Reasons { views, favorites: favorites.iter().map(favorite).collect() };
        for (views, favorites, words) in [
            (1, &[][..], "Trending: viewed once in the last 24 hours"),
            (12, &[], "Trending: viewed 12 times in the last 24 hours"),
            (0, &["Mia"], "Mia, a favourite of yours, commented on it lately"),
            (0, &["Mia", "Jo"], "Mia and Jo, favourites of yours, commented on it lately"),
            (0, &["Mia", "Jo", "A"], "Mia, Jo and one more, favourites of yours, commented on it lately"),
            (0, &["Mia", "Jo", "A", "B"], "Mia, Jo and 2 more, favourites of yours, commented on it lately"),
            (
                3,
                &["Mia"],
                "Mia, a favourite of yours, commented on it lately, and it is trending: viewed 3 times in the last 24 \
                 hours",
            ),
        ] {
            assert_eq!(reasons(views, favorites).in_words(), words);
        }
    }

    #[test]
    fn what_is_trending_and_of_favourites_comes_first() {
        let rank =
            |views, favorites: usize| Reasons { views, favorites: vec![favorite(&"Mia"); favorites] }.rank(Uuid::nil());
        let mut ranks = [rank(99, 0), rank(0, 2), rank(1, 1), rank(0, 3), rank(2, 1)];
        ranks.sort_unstable();
        assert_eq!(ranks, [rank(2, 1), rank(1, 1), rank(0, 3), rank(0, 2), rank(99, 0)]);
        let mut bytes = Vec::new();
        ranks[0].write(&mut bytes);
        assert_eq!(Rank::read(&bytes), Some(ranks[0]));
    }
}
