//! What became of a repair, and of taking one back.

use std::collections::BTreeSet;

use hopwise_diagnose::plan::Plan;
use hopwise_repair::{Conflict, Journal};
use hopwise_snapshot::Element;

/// A repair that was planned, and perhaps done.
#[derive(Clone, Debug)]
pub struct Repaired<'a> {
    /// What was planned.
    pub plan: &'a Plan,
    /// The number of the run; none where nothing was done.
    pub run: Option<u32>,
    /// Does it hold? None where nothing was to be done.
    pub is_healed: Option<bool>,
    /// Why it does not hold, as a sentence.
    pub why: Option<String>,
    /// How many flows that were broken were asked for with packets, and answered.
    pub n_asked: usize,
    /// What could not be taken back of what did not hold.
    pub left: Vec<String>,
}

/// A repair that was taken back.
#[derive(Clone, Debug)]
pub struct Undone<'a> {
    /// The number of the run.
    pub run: u32,
    /// What had been done.
    pub journal: &'a Journal,
    /// What was set back.
    pub elements: BTreeSet<Element>,
    /// What somebody changed since. Where this is not empty, nothing was set back.
    pub conflicts: Vec<Conflict>,
    /// What could not be set back.
    pub left: Vec<String>,
}

impl Undone<'_> {
    /// Is everything as it was?
    pub fn is_whole(&self) -> bool {
        self.conflicts.is_empty() && self.left.is_empty()
    }
}
