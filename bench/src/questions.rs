//! What readers ask for.

use std::sync::Arc;

use crate::exchange::request;

/// Comments in a page.
pub(crate) const PAGE: usize = 20;
/// The page of the library that the bare query reads, too.
pub(crate) const MOVIE: &str = "a movie's comments";

/// The request for a list, of one page.
pub(crate) fn list(path: &str, headers: &str) -> Arc<[u8]> {
    request("GET", &format!("{path}?limit={PAGE}"), headers, "").into()
}

/// The request that opens a stream of `movie`, once what `token` stands for is there.
pub(crate) fn stream_of(movie: &str, token: &str) -> Arc<[u8]> {
    let headers = format!("Accept: text/event-stream\r\nConsistency-Token: {token}\r\n");
    request("GET", &format!("/v1/live/movies/{movie}?wait=10s"), &headers, "").into()
}
