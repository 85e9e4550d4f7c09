/// Why a reactor could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReactError {
    /// Trying again may help. It is tried again after a pause, and parked after as many attempts as the policy allows.
    #[error("{0}")]
    Retry(String),
    /// Trying again will not help. The record is parked.
    #[error("{0}")]
    Refused(String),
}
