//! The names of labs.

use std::{fmt, str::FromStr};

/// The name of a lab: what a host name may be, at most 32 letters. It is part of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabName(String);

impl LabName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not the name of a lab.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a lab: expected 1 to 32 of a-z, 0-9 and -, with a letter or digit first and last"
)]
pub struct LabNameError(pub String);

impl FromStr for LabName {
    type Err = LabNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
        let bytes = text.as_bytes();
        let is_edge = |it: Option<&u8>| it.is_some_and(|it| is_inner(*it) && *it != b'-');
        let is_good = bytes.len() <= 32
            && bytes.iter().all(|it| is_inner(*it))
            && is_edge(bytes.first())
            && is_edge(bytes.last());
        if is_good { Ok(Self(text.to_owned())) } else { Err(LabNameError(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_names() {
        for text in ["demo", "a", "0-1", "a2345678901234567890123456789012"] {
            assert_eq!(text.parse::<LabName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_could_leave_the_directory_is_refused() {
        for text in ["", ".", "..", "a/b", "/etc", "-a", "a-", "A", "a b", "a\0", "é", &"a".repeat(33)] {
            assert!(text.parse::<LabName>().is_err(), "{text}");
        }
    }
}
