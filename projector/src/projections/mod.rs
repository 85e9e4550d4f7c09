//! Balcony's own projections, one file each.

mod comments;
mod favorites;
mod journeys;
mod registry;
mod search;
mod statistics;

use balcony_domain::Topics;
use balcony_store::ReadModel;

pub use comments::Comments;
pub use favorites::Favorites;
pub use journeys::Journeys;
pub use registry::Registry;
pub use search::Search;
pub use statistics::Statistics;

use crate::AnyProjection;

/// All projections that a projector runs. Here a new one is registered.
pub fn all(topics: &Topics) -> Vec<AnyProjection> {
    vec![
        Registry::new(topics).into(),
        Comments::new(topics).into(),
        Favorites::new(topics).into(),
        Journeys::new(topics).into(),
        Statistics::new(topics).into(),
    ]
}

/// All that operators know by name: the search index, too, which those keep who search.
pub fn known(topics: &Topics) -> Vec<AnyProjection> {
    let mut known = all(topics);
    known.push(Search::new(topics).into());
    known
}

/// The read model called `name` in `version`, with the tables that `migrations/` gives it.
const fn read_model(name: &'static str, version: u32, schema: &'static str) -> ReadModel {
    ReadModel { name, version, schema }
}
