//! Input that cannot be read.

use std::{fmt, io, path::PathBuf};

/// Why a source of facts could not be read.
///
/// One table of a live machine that cannot be read is no error: it becomes
/// [`hopwise_snapshot::Observed::NotCollected`]. A file that somebody wrote and that is not what it claims to
/// be is one, with its place in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A file or directory could not be opened.
    #[error("failed to read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{file}, {place}: {problem}")]
    NotUnderstood {
        /// The file's name.
        file: String,
        /// Where in it.
        place: Position,
        /// What was found and what was expected.
        problem: String,
    },
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl Position {
    /// The place of the byte at `offset` of `text`.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }

    /// The place that is at `inner` of a part that begins here.
    pub(crate) fn within(self, inner: Self) -> Self {
        if inner.line == 1 {
            Self { line: self.line, column: self.column + inner.column - 1 }
        } else {
            Self { line: self.line + inner.line - 1, column: inner.column }
        }
    }
}

/// A text with the name of the file that it came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl<'a> Document<'a> {
    /// The text in a file's bytes.
    pub(crate) fn new(file: &'a str, bytes: &'a [u8]) -> Result<Self, SourceError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self { file, text }),
            Err(error) => {
                let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
                Err(Self { file, text: good }.error_at(good.len(), "expected UTF-8 text"))
            }
        }
    }

    /// An error at the byte at `offset`.
    pub(crate) fn error_at(&self, offset: usize, problem: impl Into<String>) -> SourceError {
        self.error(Position::of(self.text, offset), problem)
    }

    /// An error in a line, counted from 1.
    pub(crate) fn error_in_line(&self, line: usize, problem: impl Into<String>) -> SourceError {
        self.error(Position { line, column: 1 }, problem)
    }

    pub(crate) fn error(&self, place: Position, problem: impl Into<String>) -> SourceError {
        SourceError::NotUnderstood { file: self.file.to_owned(), place, problem: problem.into() }
    }

    /// An error that serde_json found in a part of the text that begins at `start`.
    pub(crate) fn json_error(&self, start: Position, error: &serde_json::Error) -> SourceError {
        let inner = Position { line: error.line().max(1), column: error.column().max(1) };
        // The message ends with the place in the part, which says nothing about the file.
        let message = error.to_string();
        let problem = message.rfind(" at line ").map_or(message.as_str(), |at| &message[..at]);
        self.error(start.within(inner), problem)
    }

    /// Where a part of the text begins.
    pub(crate) fn position_of(&self, part: &str) -> Position {
        Position::of(self.text, part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_lines_and_characters() {
        let text = "ä\nbö c";
        assert_eq!(Position::of(text, 0), Position { line: 1, column: 1 });
        assert_eq!(Position::of(text, text.len() - 1), Position { line: 2, column: 4 });
        assert_eq!(Position::of(text, 99), Position { line: 2, column: 5 });
        let start = Position { line: 3, column: 5 };
        assert_eq!(start.within(Position { line: 1, column: 2 }), Position { line: 3, column: 6 });
        assert_eq!(start.within(Position { line: 2, column: 2 }), Position { line: 4, column: 2 });
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_with_a_place() {
        let error = Document::new("x.json", b"ok\n\xff").unwrap_err();
        assert_eq!(error.to_string(), "x.json, line 2, column 1: expected UTF-8 text");
    }
}
