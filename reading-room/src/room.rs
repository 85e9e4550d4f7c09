use std::sync::Arc;

use axum::Router;

/// What the pages need.
#[derive(Clone)]
pub(crate) struct Room {
    /// The query API.
    pub(crate) queries: Router,
    /// Where commands go when that is another origin than the page's.
    pub(crate) commands: Option<Arc<str>>,
}
