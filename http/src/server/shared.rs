use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;

use super::limits::Limits;
use super::unread::Unread;
use crate::rate_limit::Limiter;

/// What all connections of a server have in common.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) unread: Unread,
    /// Counts what is refused before it comes to a service, which counts the rest.
    pub(super) limiter: Option<Limiter>,
    /// For whoever may speak either version.
    pub(super) http: Builder<TokioExecutor>,
    /// For whoever does not speak HTTP/2. The library then reads the first request in one piece, for which it needs half the
    /// room, and keeps that for as long as the connection lives.
    pub(super) http1: Builder<TokioExecutor>,
}
