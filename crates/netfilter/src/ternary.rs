//! Answers that may be unknown.

use std::borrow::Cow;

use hopwise_snapshot::Observed;

/// Whether a condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ternary {
    /// It does not.
    No,
    /// It does.
    Yes,
    /// Nobody knows, and this is why.
    Unknown(Cow<'static, str>),
}

impl Ternary {
    /// Unknown, because of `why`.
    pub(crate) fn unknown(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Unknown(why.into())
    }

    /// The opposite if `negated`.
    pub(crate) fn not_if(self, negated: bool) -> Self {
        match self {
            Self::No if negated => Self::Yes,
            Self::Yes if negated => Self::No,
            other => other,
        }
    }

    /// Whether both hold. What is not known of the first does not matter where the second does not hold.
    pub(crate) fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::No => Self::No,
            Self::Yes => other(),
            Self::Unknown(why) => match other() {
                Self::No => Self::No,
                Self::Yes | Self::Unknown(_) => Self::Unknown(why),
            },
        }
    }

    /// Whether either holds.
    pub(crate) fn or(self, other: impl FnOnce() -> Self) -> Self {
        self.not_if(true).and(|| other().not_if(true)).not_if(true)
    }

    /// Whether `holds` is so for an observed value. `what` names the value where it was not collected;
    /// where there is none, the answer is no.
    pub(crate) fn observed<T>(value: Observed<T>, what: &'static str, holds: impl FnOnce(T) -> bool) -> Self {
        match value {
            Observed::Known(value) => holds(value).into(),
            Observed::Absent => Self::No,
            Observed::NotCollected(reason) => Self::unknown(format!("{what}: {reason}")),
        }
    }
}

impl From<bool> for Ternary {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_hold_settles_a_conjunction() {
        let unknown = || Ternary::unknown("x");
        assert_eq!(unknown().and(|| Ternary::No), Ternary::No);
        assert_eq!(Ternary::No.and(unknown), Ternary::No);
        assert_eq!(Ternary::Yes.and(unknown), unknown());
        assert_eq!(unknown().or(|| Ternary::Yes), Ternary::Yes);
        assert_eq!(unknown().or(|| Ternary::No), unknown());
    }

    #[test]
    fn the_opposite_of_unknown_is_unknown() {
        assert_eq!(Ternary::unknown("x").not_if(true), Ternary::unknown("x"));
        assert_eq!(Ternary::Yes.not_if(true), Ternary::No);
    }
}
