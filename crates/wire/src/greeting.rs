//! The line that each side begins with.

use std::fmt;

use crate::WireError;

/// The version of everything in this crate. A message that gains or changes its meaning needs a new one.
pub const VERSION: u32 = 1;

/// The most bytes that a greeting has, with the line's end.
pub const LONGEST_GREETING: usize = 64;

/// Who greets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Whoever asks.
    Client,
    /// Whoever is asked.
    Node,
}

impl fmt::Display for Greeting {
    /// The line, without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{VERSION}", self.before_version())
    }
}

impl Greeting {
    /// The line's bytes, with its end.
    pub fn line(self) -> Vec<u8> {
        format!("{self}\n").into_bytes()
    }

    /// Reads a line without its end. `None` where it is no such greeting: what a login shell prints comes before it.
    pub fn read(self, line: &[u8]) -> Option<Result<(), WireError>> {
        let version = std::str::from_utf8(line).ok()?.trim_end().strip_prefix(self.before_version())?;
        match version.parse() {
            Ok(VERSION) => Some(Ok(())),
            Ok(found) => Some(Err(WireError::OtherVersion { found })),
            Err(_) => None,
        }
    }

    fn before_version(self) -> &'static str {
        match self {
            Self::Client => "hopwise-client ",
            Self::Node => "hopwise-node ",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_read_back_and_is_not_the_other_sides() {
        for (own, other) in [(Greeting::Client, Greeting::Node), (Greeting::Node, Greeting::Client)] {
            let line = own.line();
            assert!(line.len() <= LONGEST_GREETING && line.ends_with(b"\n"));
            assert!(matches!(own.read(&line), Some(Ok(()))));
            assert!(other.read(&line).is_none());
        }
    }

    #[test]
    fn another_version_is_named() {
        let error = Greeting::Node.read(b"hopwise-node 7").unwrap().unwrap_err();
        assert!(
            error.to_string().starts_with("the other side speaks version 7 of this protocol, expected 1")
        );
    }

    #[test]
    fn what_a_login_shell_says_is_no_greeting() {
        for line in ["Welcome to w1!", "hopwise-node", "hopwise-node x", "", "hopwise-node 99999999999999"] {
            assert!(Greeting::Node.read(line.as_bytes()).is_none(), "{line}");
        }
        assert!(Greeting::Node.read(b"hopwise-node \xff").is_none());
    }
}
