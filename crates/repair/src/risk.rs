//! How much an action can hurt.

use std::fmt;

/// The risk class of an action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Risk {
    /// Only looks.
    #[default]
    Observe,
    /// Adds something on one node, and can be taken back.
    Additive,
    /// Restarts an agent or a pod.
    Restart,
    /// Writes configuration that lasts.
    Persistent,
    /// Cuts something for a while; asks first.
    Disruptive,
    /// Touches security or lies outside the cluster; is only printed.
    External,
}

impl Risk {
    /// The class as a number, 0 to 5.
    pub fn class(self) -> u8 {
        match self {
            Self::Observe => 0,
            Self::Additive => 1,
            Self::Restart => 2,
            Self::Persistent => 3,
            Self::Disruptive => 4,
            Self::External => 5,
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "risk {}", self.class())
    }
}
