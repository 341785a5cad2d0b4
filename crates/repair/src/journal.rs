//! The journal of a repair: what is about to be done, and what was, one JSON document a line.
//!
//! Each line is on the disk before what it announces begins, so that whoever finds a repair cut short knows what may
//! have happened. Beside it lie snapshots: how everything was before ([`BEFORE`]), after each step ([`after`]), and where
//! an undo began ([`UNDO_FROM`]).

use hopwise_change::Change;
use hopwise_snapshot::Place;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The journal's file.
pub const JOURNAL: &str = "journal.jsonl";
/// The snapshot of before the first step.
pub const BEFORE: &str = "before.hop";
/// The snapshot of before an undo.
pub const UNDO_FROM: &str = "undo-from.hop";

/// The version of the journal's format.
pub const FORMAT: u32 = 1;

/// The name of the snapshot that was taken after a step.
pub fn after(step: usize) -> String {
    format!("after-{step}.hop")
}

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Entry {
    /// The first line: what is to be done.
    Planned {
        /// [`FORMAT`].
        format: u32,
        /// When.
        at: Timestamp,
        /// Of what: `lab/demo`.
        source: String,
        /// What is repaired.
        findings: Vec<PlannedFinding>,
        /// The steps, in order.
        steps: Vec<PlannedStep>,
    },
    /// A step begins.
    Begun {
        /// Its number, from 0.
        step: usize,
    },
    /// A step was done, and its snapshot is there.
    Done {
        /// Its number, from 0.
        step: usize,
    },
    /// All steps were done, and it holds.
    Healed,
    /// It did not heal, or something went wrong.
    Failed {
        /// What, as a sentence.
        why: String,
    },
    /// What was done is being taken back, and the snapshot of before that is there.
    Undoing,
    /// It was taken back.
    Undone {
        /// What could not be: elements, and who changed them since or why not.
        left: Vec<String>,
    },
}

/// A finding that is repaired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedFinding {
    /// Its cause's code.
    pub code: String,
    /// Its cause's name.
    pub name: String,
    /// Where.
    pub element: String,
}

/// A step that is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// Where.
    pub place: Option<Place>,
    /// What it changes, files included.
    pub changes: Vec<Change>,
    /// What is done to change that, where it is something else.
    pub acts: Vec<Change>,
}

/// A journal as far as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The findings that were to be repaired.
    pub findings: Vec<PlannedFinding>,
    /// The steps that were to be done.
    pub steps: Vec<PlannedStep>,
    /// Everything behind the first line.
    pub entries: Vec<Entry>,
}

/// What became of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Cut short.
    Open,
    /// It holds.
    Healed,
    /// It did not heal, and was not taken back.
    Failed,
    /// An undo was cut short.
    Undoing,
    /// It was taken back.
    Undone,
}

/// The lines that were written to their end: a killed program may leave a part of its last one.
pub fn finished(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1)]
}

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Nothing was written, so that nothing was done.
    #[error("the journal is empty: nothing was done")]
    Empty,
    /// A line is none of a journal.
    #[error("line {line} is no entry of a journal")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The first line is not what a journal begins with.
    #[error("line 1 does not say what was planned")]
    NotPlanned,
    /// A newer program wrote it.
    #[error("the journal has format {found}; this program reads format {FORMAT}")]
    TooNew {
        /// The format.
        found: u32,
    },
}

impl Entry {
    /// The entry as a line.
    #[expect(clippy::missing_panics_doc, reason = "entries have string keys alone and are written to memory")]
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("only string keys");
        line.push(b'\n');
        line
    }
}

impl Journal {
    /// Reads what was written. A last line without its end was never finished, and announces nothing.
    ///
    /// # Errors
    /// Where nothing was finished, or a line is none of a journal.
    pub fn parse(bytes: &[u8]) -> Result<Self, JournalError> {
        let mut entries = Vec::new();
        for (line, text) in (1..).zip(finished(bytes).split_inclusive(|it| *it == b'\n')) {
            let entry = serde_json::from_slice(text);
            entries.push(entry.map_err(|source| JournalError::Line { line, source })?);
        }
        if entries.is_empty() {
            return Err(JournalError::Empty);
        }
        match entries.remove(0) {
            Entry::Planned { format, .. } if format > FORMAT => Err(JournalError::TooNew { found: format }),
            Entry::Planned { findings, steps, .. } => Ok(Self { findings, steps, entries }),
            _ => Err(JournalError::NotPlanned),
        }
    }

    /// What became of it.
    pub fn state(&self) -> State {
        let told = self.entries.iter().rev().find_map(|it| match it {
            Entry::Healed => Some(State::Healed),
            Entry::Failed { .. } => Some(State::Failed),
            Entry::Undoing => Some(State::Undoing),
            Entry::Undone { .. } => Some(State::Undone),
            Entry::Planned { .. } | Entry::Begun { .. } | Entry::Done { .. } => None,
        });
        told.unwrap_or(State::Open)
    }

    /// The steps that were done to their end, in order.
    pub fn done(&self) -> impl Iterator<Item = (usize, &PlannedStep)> {
        self.entries.iter().filter_map(|it| match it {
            Entry::Done { step } => Some((*step, self.steps.get(*step)?)),
            _ => None,
        })
    }

    /// The step that was begun and not done.
    pub fn open_step(&self) -> Option<&PlannedStep> {
        let last = self.entries.iter().rev().find_map(|it| match it {
            Entry::Begun { step } => Some(*step),
            _ => None,
        })?;
        if self.done().any(|(it, _)| it == last) { None } else { self.steps.get(last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned() -> Entry {
        let step = PlannedStep { place: Some(Place::node("w1")), changes: Vec::new(), acts: Vec::new() };
        Entry::Planned {
            format: FORMAT,
            at: Timestamp::UNIX_EPOCH,
            source: "lab/demo".to_owned(),
            findings: Vec::new(),
            steps: vec![step.clone(), step],
        }
    }

    fn written(entries: &[Entry]) -> Vec<u8> {
        entries.iter().flat_map(Entry::line).collect()
    }

    #[test]
    fn what_was_begun_and_not_done_is_open() {
        let entries =
            [planned(), Entry::Begun { step: 0 }, Entry::Done { step: 0 }, Entry::Begun { step: 1 }];
        let journal = Journal::parse(&written(&entries)).unwrap();
        assert_eq!(journal.state(), State::Open);
        assert_eq!(journal.done().map(|(it, _)| it).collect::<Vec<_>>(), [0]);
        assert_eq!(journal.open_step(), journal.steps.get(1));
        let whole = [&entries[..], &[Entry::Done { step: 1 }, Entry::Healed]].concat();
        let journal = Journal::parse(&written(&whole)).unwrap();
        assert_eq!((journal.state(), journal.open_step()), (State::Healed, None));
    }

    #[test]
    fn a_line_that_was_cut_off_announces_nothing() {
        let entries = [planned(), Entry::Begun { step: 0 }];
        let bytes = written(&entries);
        let first = Entry::line(&entries[0]).len();
        for length in 0..bytes.len() {
            match Journal::parse(&bytes[..length]) {
                Err(JournalError::Empty) => assert!(length < first),
                Ok(journal) => assert!(length >= first && journal.entries.is_empty(), "{length}"),
                Err(error) => panic!("{length}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_no_journal_is_said_with_its_line() {
        let text = [planned().line(), b"alien\n".to_vec()].concat();
        assert_eq!(Journal::parse(&text).unwrap_err().to_string(), "line 2 is no entry of a journal");
        let text = Entry::Healed.line();
        assert_eq!(Journal::parse(&text).unwrap_err().to_string(), "line 1 does not say what was planned");
        let text = String::from_utf8(planned().line()).unwrap().replace("\"format\":1", "\"format\":9");
        let said = Journal::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(said, "the journal has format 9; this program reads format 1");
    }
}
