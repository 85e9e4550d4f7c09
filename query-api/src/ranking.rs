//! Movies by how often they are viewed just now.

use std::collections::HashMap;

use balcony_http::Problem;
use balcony_read_models::Statistics;
use balcony_statistics::{Ranked, top};
use balcony_store::Value;
use uuid::Uuid;

use crate::api::QueryApi;
use crate::comment::CommentedMovie;

/// The first `limit` movies after the place `after`, most viewed first, in so many minutes up to the one that `now`
/// (milliseconds since 1970) is in.
pub(crate) async fn most_viewed(
    api: &QueryApi,
    minutes: u32,
    now: i64,
    after: Option<&Ranked>,
    limit: i64,
) -> Result<Vec<(Uuid, i64)>, Problem> {
    let places = top(&api.reader, &Statistics::views(), minutes, now, after, limit).await?;
    Ok(places.into_iter().filter_map(|(views, movie)| Some((movie.parse().ok()?, views))).collect())
}

/// Those of `ids` that are registered, by id, with their titles.
pub(crate) async fn titled(
    api: &QueryApi,
    ids: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, CommentedMovie>, Problem> {
    let params: Vec<Value<'_>> = ids.map(Value::from).collect();
    if params.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!("SELECT id, title FROM movies WHERE id IN ({})", names(&params));
    let rows: Vec<(Uuid, String)> = api.reader.fetch(sql, &params).await?;
    Ok(rows.into_iter().map(|(id, title)| (id, CommentedMovie { id, title })).collect())
}

/// The names of so many parameters.
pub(crate) fn names(params: &[Value<'_>]) -> String {
    (1..=params.len()).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}
