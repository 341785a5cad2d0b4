//! Faults: what can be done to a lab, and how it is taken back.

/// Why a text is no fault that can be injected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// x
    #[error("x")]
    X,
}
