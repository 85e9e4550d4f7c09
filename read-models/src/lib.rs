//! What Balcony's readers read, a file each: the projections, and the replica of the search index. Each file describes its
//! read model once: name, version, topics, tables. [`steps`] is the one list of them. And the reactor that mails companies,
//! which is a step where there is a server to send through.

// A file that is printed in the docs compiles there and here.
extern crate self as balcony_read_models;

mod comments;
mod company_mail;
mod event;
mod favorites;
mod journeys;
mod registry;
mod repetitions;
mod search;
mod statistics;
mod subscription;

use balcony_domain::Topics;
use balcony_projector::Catalogue;

pub use comments::Comments;
pub use company_mail::{CompanyMail, LEAVING_PATH, Leaving, Letterhead, PostOffice, WrongPostOffice};
pub use event::Logged;
pub use favorites::Favorites;
pub use journeys::Journeys;
pub use registry::Registry;
pub use search::Search;
pub use statistics::Statistics;
pub use subscription::Subscription;

/// Every step of Balcony. Here a new one is listed.
pub fn steps(topics: &Topics) -> Catalogue {
    Catalogue::new()
        .with_projection(Registry::new(topics))
        .with_projection(Comments::new(topics))
        .with_projection(Favorites::new(topics))
        .with_projection(Journeys::new(topics))
        .with_projection(Statistics::new(topics))
        .with_replica(Search::new(topics), "query API")
}

/// The page's code is compiled and its test is run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/writing-a-projection.md")]
struct WritingAProjection;
