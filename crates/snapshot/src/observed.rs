//! What a source said about one fact.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A fact as a source reported it.
///
/// "Not there" and "not looked at" lead to opposite diagnoses, so they are different variants and there is
/// no conversion to [`Option`] that merges them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Observed<T> {
    /// The source read the fact.
    Known(T),
    /// The source looked, and there is no such thing.
    Absent,
    /// Nobody looked, or looking failed. Never evidence of a fault.
    NotCollected(Reason),
}

/// Why a fact is missing from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Reason {
    /// The snapshot's source does not carry this fact.
    SourceLacksIt,
    /// Nobody asked for it; the text is the option that leaves it out (`--nodes-via none`).
    NotAsked(String),
    /// The collector lacked a right; the text names it (`CAP_NET_ADMIN in the namespace`, `list pods`).
    NotPermitted(String),
    /// The collector gave up at its deadline.
    TimedOut,
    /// The fact can only be read through this program, and the program was not found.
    ProgramMissing(String),
    /// The kernel does not know the request.
    Unsupported(String),
    /// The fact is larger than the collector's limit, in bytes.
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Reading failed in another way; the text is what the system said.
    Failed(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceLacksIt => f.write_str("the source does not carry it"),
            Self::NotAsked(option) => write!(f, "not asked for: {option}"),
            Self::NotPermitted(right) => write!(f, "not permitted: needs {right}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::ProgramMissing(program) => write!(f, "the program `{program}` was not found"),
            Self::Unsupported(what) => write!(f, "not supported by this kernel: {what}"),
            Self::TooLarge { limit } => write!(f, "larger than {limit} bytes"),
            Self::Failed(what) => f.write_str(what),
        }
    }
}

impl Reason {
    /// The reason's kind as one camelCase word, for machine output.
    pub fn word(&self) -> &'static str {
        match self {
            Self::SourceLacksIt => "sourceLacksIt",
            Self::NotAsked(_) => "notAsked",
            Self::NotPermitted(_) => "notPermitted",
            Self::TimedOut => "timedOut",
            Self::ProgramMissing(_) => "programMissing",
            Self::Unsupported(_) => "unsupported",
            Self::TooLarge { .. } => "tooLarge",
            Self::Failed(_) => "failed",
        }
    }
}

impl<T> Observed<T> {
    /// Is it certain that the value does *not* satisfy `holds`?
    ///
    /// False while the fact is not collected: silence accuses nobody.
    pub fn surely_not(&self, holds: impl FnOnce(&T) -> bool) -> bool {
        match self {
            Self::Known(value) => !holds(value),
            Self::Absent => true,
            Self::NotCollected(_) => false,
        }
    }

    /// Is it certain that the value satisfies `holds`?
    pub fn surely(&self, holds: impl FnOnce(&T) -> bool) -> bool {
        match self {
            Self::Known(value) => holds(value),
            Self::Absent | Self::NotCollected(_) => false,
        }
    }

    /// The value, where there is one. Callers that must tell [`Observed::Absent`] from
    /// [`Observed::NotCollected`] match on the variants instead.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::NotCollected(_) => None,
        }
    }

    /// The value for changing it, where there is one.
    pub fn known_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::NotCollected(_) => None,
        }
    }

    /// Did nobody look?
    pub fn is_not_collected(&self) -> bool {
        matches!(self, Self::NotCollected(_))
    }

    /// The same observation by reference.
    pub fn as_ref(&self) -> Observed<&T> {
        match self {
            Self::Known(value) => Observed::Known(value),
            Self::Absent => Observed::Absent,
            Self::NotCollected(reason) => Observed::NotCollected(reason.clone()),
        }
    }

    /// Applies `f` to the value, where there is one.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Observed<U> {
        match self {
            Self::Known(value) => Observed::Known(f(value)),
            Self::Absent => Observed::Absent,
            Self::NotCollected(reason) => Observed::NotCollected(reason),
        }
    }
}

/// A fact that no source has filled in yet.
impl<T> Default for Observed<T> {
    fn default() -> Self {
        Self::NotCollected(Reason::SourceLacksIt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_neither_accuses_nor_acquits() {
        let unread: Observed<u8> = Observed::NotCollected(Reason::TimedOut);
        assert!(!unread.surely_not(|it| *it == 1));
        assert!(!unread.surely(|it| *it == 1));
    }

    #[test]
    fn absence_accuses() {
        let absent: Observed<u8> = Observed::Absent;
        assert!(absent.surely_not(|it| *it == 1));
        assert!(!absent.surely(|_| true));
    }

    #[test]
    fn the_three_variants_survive_json() {
        let all = [
            Observed::Known(7),
            Observed::Absent,
            Observed::NotCollected(Reason::NotPermitted("CAP_NET_ADMIN".to_owned())),
        ];
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(text, r#"[{"known":7},"absent",{"notCollected":{"notPermitted":"CAP_NET_ADMIN"}}]"#);
        assert_eq!(serde_json::from_str::<[Observed<i32>; 3]>(&text).unwrap(), all);
    }
}
