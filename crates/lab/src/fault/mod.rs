//! Faults: what can be done to a lab, and how it is taken back.
//!
//! A fault is a cause of the catalogue with a node, or a member with words. Both become steps; before a step is taken
//! it is written down how things were, so that [`heal`] can take all of them back, also after a crash.

mod cause;
mod checkpoint;
mod heal;
mod inject;
mod journal;

use std::{fmt, str::FromStr};

pub use cause::Cause;
pub use heal::heal;
pub use inject::inject;

/// Something that can be done to a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A cause of the catalogue, at a node; without one at `w2`, or the last node where there is no `w2`.
    Cause(Cause, Option<String>),
    /// Words for a member: `w2: sysctl net.ipv4.ip_forward=0`.
    Primitive {
        /// The member, as `lab exec` calls it.
        member: String,
        /// What is done there.
        action: Action,
    },
}

/// What is done in a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `sysctl KEY=VALUE`: set a kernel switch.
    Sysctl {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// `write PATH TEXT`: replace a file. In the text `\n` is a line feed.
    Write {
        /// The file.
        path: String,
        /// Its new content.
        text: String,
    },
    /// `rm PATH`: remove a file.
    Remove {
        /// The file.
        path: String,
    },
    /// Any other words: a command, run with all of the member's namespaces.
    Command(Vec<String>),
}

/// Why a fault cannot be injected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// A word that is no cause.
    #[error("`{word}` is no cause that a lab can inject; it knows {}, and `MEMBER: COMMAND WORDS`", names())]
    NoSuchCause {
        /// The word.
        word: String,
    },
    /// A cause at a node that the lab does not have.
    #[error("`{node}` is no node of this lab; it has {nodes}")]
    NoSuchNode {
        /// The word.
        node: String,
        /// The nodes.
        nodes: String,
    },
    /// A lab of this shape has nothing that could break this way.
    #[error("{cause} needs {needs}")]
    NotHere {
        /// The cause.
        cause: &'static str,
        /// What the lab lacks.
        needs: &'static str,
    },
    /// Words that are no words.
    #[error("`{text}`: expected {expected}")]
    Words {
        /// The text.
        text: String,
        /// What would have been understood.
        expected: &'static str,
    },
    /// A command of a fault failed.
    #[error("`{command}` in {member} failed: {message}")]
    Failed {
        /// The command.
        command: String,
        /// The member.
        member: String,
        /// What it said.
        message: String,
    },
}

fn names() -> String {
    Cause::ALL.iter().map(|it| it.name()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((member, words)) = text.split_once(':').filter(|(member, _)| !member.contains('@')) {
            let action = Action::parse(words.trim(), text)?;
            return Ok(Self::Primitive { member: member.trim().to_owned(), action });
        }
        let (word, node) = match text.split_once('@') {
            Some((word, node)) => (word, Some(node.to_owned())),
            None => (text, None),
        };
        let cause = Cause::ALL.into_iter().find(|it| it.name() == word);
        let cause = cause.ok_or_else(|| FaultError::NoSuchCause { word: word.to_owned() })?;
        Ok(Self::Cause(cause, node))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cause(cause, None) => f.write_str(cause.name()),
            Self::Cause(cause, Some(node)) => write!(f, "{}@{node}", cause.name()),
            Self::Primitive { member, action } => write!(f, "{member}: {action}"),
        }
    }
}

impl Action {
    fn parse(words: &str, whole: &str) -> Result<Self, FaultError> {
        let wrong = |expected| FaultError::Words { text: whole.to_owned(), expected };
        // No command and no path can have one.
        if words.contains('\0') {
            return Err(wrong("words without NUL"));
        }
        let words = shlex::split(words).ok_or_else(|| wrong("quotes in pairs"))?;
        let refs: Vec<&str> = words.iter().map(String::as_str).collect();
        match refs.as_slice() {
            [] => Err(wrong("a command behind `MEMBER:`")),
            ["sysctl", "-w", setting] | ["sysctl", setting] if setting.contains('=') => {
                let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
                Ok(Self::Sysctl { key: key.trim().to_owned(), value: value.trim().to_owned() })
            }
            ["sysctl", ..] => Err(wrong("`sysctl KEY=VALUE`")),
            ["write", path, text] if path.starts_with('/') => {
                Ok(Self::Write { path: (*path).to_owned(), text: text.replace("\\n", "\n") })
            }
            ["write", ..] => Err(wrong("`write /PATH TEXT`, the text as one word in quotes")),
            ["rm", path] if path.starts_with('/') => Ok(Self::Remove { path: (*path).to_owned() }),
            _ => Ok(Self::Command(words)),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted =
            |words: &[&str]| shlex::try_join(words.iter().copied()).unwrap_or_else(|_| words.join(" "));
        match self {
            Self::Sysctl { key, value } => f.write_str(&quoted(&["sysctl", &format!("{key}={value}")])),
            Self::Write { path, text } => f.write_str(&quoted(&["write", path, &text.replace('\n', "\\n")])),
            Self::Remove { path } => f.write_str(&quoted(&["rm", path])),
            Self::Command(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                f.write_str(&quoted(&words))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn a_cause_has_a_node_or_none() {
        assert_eq!(parse("bridge-down"), Fault::Cause(Cause::BridgeDown, None));
        assert_eq!(parse("bridge-down@w1"), Fault::Cause(Cause::BridgeDown, Some("w1".to_owned())));
    }

    #[test]
    fn no_word_has_a_nul() {
        assert!("w2: sysctl 'a\0=b'".parse::<Fault>().is_err());
    }

    #[test]
    fn words_for_a_member_are_read_as_a_shell_would() {
        assert_eq!(
            parse("w2: sysctl net.ipv4.ip_forward=0"),
            Fault::Primitive {
                member: "w2".to_owned(),
                action: Action::Sysctl { key: "net.ipv4.ip_forward".to_owned(), value: "0".to_owned() },
            }
        );
        assert_eq!(
            parse(r#"w2: write /etc/resolv.conf "nameserver 10.0.0.1\nsearch a""#),
            Fault::Primitive {
                member: "w2".to_owned(),
                action: Action::Write {
                    path: "/etc/resolv.conf".to_owned(),
                    text: "nameserver 10.0.0.1\nsearch a".to_owned(),
                },
            }
        );
        let words = ["sh", "-c", "ip link set eth0 down; true"].map(str::to_owned).to_vec();
        assert_eq!(
            parse("pod/default/client-w1: sh -c 'ip link set eth0 down; true'"),
            Fault::Primitive { member: "pod/default/client-w1".to_owned(), action: Action::Command(words) }
        );
    }

    #[test]
    fn what_is_no_fault_says_what_was_expected() {
        let error = |text: &str| text.parse::<Fault>().unwrap_err().to_string();
        assert!(
            error("bridge-dwn")
                .starts_with("`bridge-dwn` is no cause that a lab can inject; it knows node-ip-")
        );
        assert_eq!(error("w2:"), "`w2:`: expected a command behind `MEMBER:`");
        assert_eq!(
            error("w2: write x y"),
            "`w2: write x y`: expected `write /PATH TEXT`, the text as one word in quotes"
        );
        assert_eq!(error("w2: echo 'x"), "`w2: echo 'x`: expected quotes in pairs");
    }

    proptest! {
        #[test]
        fn a_fault_is_printed_as_it_is_read(member in "[a-z0-9/-]{1,12}", words in proptest::collection::vec("[ -~]{1,8}", 1..5)) {
            let text = format!("{member}: {}", shlex::try_join(words.iter().map(String::as_str)).unwrap());
            if let Ok(fault) = text.parse::<Fault>() {
                prop_assert_eq!(fault.to_string().parse::<Fault>().unwrap(), fault);
            }
        }
    }
}
