//! What an operator reads.
//!
//! Texts carry ANSI styles; whoever prints them to something that is no terminal, or where `NO_COLOR` is set, strips
//! them. No meaning is in a style alone.

mod causes;
mod diagnosis;
mod diff;
mod drift;
mod finding;
mod matrix;
mod page;
mod path;
mod plan;
mod probes;
mod repair;
mod trace;
mod version;

pub use causes::{cause, causes};
pub use diagnosis::diagnosis;
pub use diff::diff;
pub use drift::drift;
pub use matrix::matrix;
pub use probes::probes;
pub use repair::{conflict, repair, undo};
pub use trace::trace;
pub use version::version;

pub(crate) use trace::likeliest_first;

/// What a person can do next, as commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guide {
    /// The words that call this program: `hopwise`, `kubectl hopwise`.
    pub program: &'static str,
    /// What to do next, the most useful first.
    pub next: Vec<String>,
}

/// How a text is laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The columns of the terminal; none where lines may be as long as they are. Taken for at least 80.
    pub width: Option<usize>,
    /// Are lists shown whole, and plans step by step?
    pub is_verbose: bool,
}

impl Layout {
    /// How many items of a list are shown before `and N more`.
    fn n_shown(&self, n_items: usize, n_usual: usize) -> usize {
        // One item more is no longer than the words that would stand for it.
        if self.is_verbose || n_items <= n_usual + 1 { n_items } else { n_usual }
    }
}
