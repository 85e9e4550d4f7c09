//! What the values are called that Balcony counts by.

use std::collections::HashMap;

use balcony_http::Problem;
use balcony_statistics::http::{Labelling, Labels};
use balcony_store::Value;
use uuid::Uuid;

use crate::api::QueryApi;
use crate::ranking::{names, titled};

/// Titles of movies and names of authors, as they are now.
pub(crate) struct Names(pub(crate) QueryApi);

impl Labels for Names {
    fn labels<'a>(&'a self, _stream: &'a str, dimension: &'a str, values: &'a [String]) -> Labelling<'a> {
        Box::pin(async move {
            let ids = values.iter().filter_map(|value| value.parse().ok());
            let found = match dimension {
                "movie" => titles(&self.0, ids).await,
                "author" => display_names(&self.0, ids).await,
                _ => Ok(HashMap::new()),
            };
            // Counts without names are better than no counts.
            found.unwrap_or_default().into_iter().map(|(id, name)| (id.to_string(), name)).collect()
        })
    }
}

async fn titles(api: &QueryApi, ids: impl Iterator<Item = Uuid>) -> Result<HashMap<Uuid, String>, Problem> {
    Ok(titled(api, ids).await?.into_iter().map(|(id, movie)| (id, movie.title)).collect())
}

async fn display_names(api: &QueryApi, ids: impl Iterator<Item = Uuid>) -> Result<HashMap<Uuid, String>, Problem> {
    let params: Vec<Value<'_>> = ids.map(Value::from).collect();
    if params.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!("SELECT id, display_name FROM users WHERE id IN ({})", names(&params));
    let rows: Vec<(Uuid, String)> = api.reader.fetch(sql, &params).await?;
    Ok(rows.into_iter().collect())
}
