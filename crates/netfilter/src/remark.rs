//! What a parser has to say about its text.

use std::fmt;

use crate::Source;

/// A remark about one place of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Which text.
    pub source: Source,
    /// How much it matters.
    pub weight: Weight,
    /// The line, from 1; 0 where the place is not a line's.
    pub line: usize,
    /// The column in bytes, from 1; 0 where the place is not a column's.
    pub column: usize,
    /// The place inside a JSON document: `nftables[3].rule.expr[0].match.right`; empty for other texts.
    pub path: String,
    /// What would have been understood.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// The rule that it is about, where it is about one.
    pub rule: Option<RuleName>,
}

/// How much a remark matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// Something is odd, and evaluation is not touched by it.
    Note,
    /// Part of a rule was not understood. The rule knows, and asks when it gets there.
    NotUnderstood,
    /// Text was not understood or is missing that may have held rules. The source counts as not collected
    /// (see [`crate::Ruleset::missing`]).
    Lost,
}

/// A rule by the names that a text gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleName {
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its place in the chain, from 1.
    pub position: usize,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": expected {}, found `{}`", self.expected, self.found)?;
        if let Some(rule) = &self.rule {
            write!(f, " (table {} chain {} rule {})", rule.table, rule.chain, rule.position)?;
        }
        Ok(())
    }
}

/// Something that a reader did not expect, before it is known where in the whole text that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The column in bytes, from 1.
    pub(crate) column: usize,
    /// What would have been understood.
    pub(crate) expected: String,
    /// What is there.
    pub(crate) found: String,
}

/// The most that a remark quotes of a text, in bytes.
const QUOTE: usize = 120;

/// `text`, or its beginning where it is long.
pub(crate) fn excerpt(text: &str) -> String {
    if text.len() <= QUOTE {
        return text.to_owned();
    }
    let end = (0..=QUOTE).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..end])
}
