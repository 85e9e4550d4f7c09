/// Why a reactor could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReactError {
    /// Trying again may help. It is tried again after a pause, and parked after as many attempts as the policy allows. When a
    /// hundred in a row are parked so, or more than half of a thousand, the reactor stops: then the fault is likely its own.
    #[error("{0}")]
    Retry(String),
    /// Trying again may help, but not soon. The record is parked, where it takes no other's place, and from there it is tried
    /// again now and then by itself, for as long as the policy says.
    #[error("{0}")]
    Later(String),
    /// Whoever would have the effect will never take it, and trying again will not help. The record is parked, however many
    /// are: what one recipient refuses holds up no other.
    #[error("{0}")]
    Refused(String),
}
