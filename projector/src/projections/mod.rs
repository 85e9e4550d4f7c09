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

use crate::{Projection as _, Projector};

/// The names of all projections.
pub const NAMES: &[&str] = &["registry", "comments", "favorites", "journeys", "statistics"];

/// Starts the projections called `names` on `projector`. Here a new projection is registered.
pub fn start(projector: &mut Projector, topics: &Topics, names: &[&str]) {
    for &name in names {
        match name {
            "registry" => projector.start(Registry::new(topics)),
            "comments" => projector.start(Comments::new(topics)),
            "favorites" => projector.start(Favorites::new(topics)),
            "journeys" => projector.start(Journeys::new(topics)),
            "statistics" => projector.start(Statistics::new(topics)),
            _ => unreachable!("the names were checked against NAMES"),
        }
    }
}

/// The read models of all projections.
pub fn read_models(topics: &Topics) -> Vec<ReadModel> {
    vec![
        Registry::new(topics).read_model(),
        Comments::new(topics).read_model(),
        Favorites::new(topics).read_model(),
        Journeys::new(topics).read_model(),
        Statistics::new(topics).read_model(),
    ]
}

/// The read model called `name` in `version`, with the tables that `migrations/` gives it.
const fn read_model(name: &'static str, version: u32, schema: &'static str) -> ReadModel {
    ReadModel { name, version, schema }
}
