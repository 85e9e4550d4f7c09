use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;

use super::limits::Limits;
use super::unread::Unread;

/// What all connections of a server have in common.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) unread: Unread,
    /// For whoever may speak either version.
    pub(super) http: Builder<TokioExecutor>,
    /// For whoever does not speak HTTP/2. The library then reads the first request in one piece, for which it needs half the
    /// room, and keeps that for as long as the connection lives.
    pub(super) http1: Builder<TokioExecutor>,
}
