use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;

use super::limits::Limits;
use super::unread::Unread;

/// What all connections of a server have in common.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) unread: Unread,
    pub(super) http: Builder<TokioExecutor>,
}
