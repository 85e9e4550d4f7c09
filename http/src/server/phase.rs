/// What connections are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// To end after what is under way.
    Stopping,
    /// To end.
    Ended,
}
