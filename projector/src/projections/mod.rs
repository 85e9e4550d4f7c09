//! Balcony's own projections, one file each.

mod comments;
mod favorites;
mod journeys;
mod registry;
mod statistics;

use balcony_domain::Topics;
use balcony_store::ReadModel;

pub use comments::Comments;
pub use favorites::Favorites;
pub use journeys::Journeys;
pub use registry::Registry;
pub use statistics::Statistics;

use crate::AnyProjection;

/// All projections. Here a new one is registered.
pub fn all(topics: &Topics) -> Vec<AnyProjection> {
    vec![
        Registry::new(topics).into(),
        Comments::new(topics).into(),
        Favorites::new(topics).into(),
        Journeys::new(topics).into(),
        Statistics::new(topics).into(),
    ]
}

/// The read model called `name` in `version`, with the tables that `migrations/` gives it.
const fn read_model(name: &'static str, version: u32, schema: &'static str) -> ReadModel {
    ReadModel { name, version, schema }
}
