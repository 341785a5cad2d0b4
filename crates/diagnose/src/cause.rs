//! What a cause is, and how it reports what it suspects.

use std::{collections::BTreeSet, fmt};

use hopwise_repair::Repair;
use hopwise_snapshot::{Element, Place};

use crate::case::Case;

/// The code of a cause, fixed for ever. Written `HW1001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

impl Code {
    /// Is it the fallback for its kind of element, which says less than any other?
    pub fn is_general(self) -> bool {
        self.0 >= 9000
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HW{:04}", self.0)
    }
}

/// One root-cause kind of the catalogue.
///
/// A static with a function pointer and no state: causes can be listed, sorted and compared.
#[derive(Debug)]
pub struct Cause {
    /// Its code.
    pub code: Code,
    /// Its name, which is also its file's.
    pub name: &'static str,
    /// What it does to packets, as a clause.
    pub summary: &'static str,
    /// Its manual page.
    pub manual: &'static str,
    /// Finds where the case shows it.
    pub detect: fn(&Case<'_>, &mut Suspects),
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
    }
}

impl Eq for Cause {}

/// A cause at definite elements that may explain what is broken.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// The cause.
    pub cause: &'static Cause,
    /// Where: the first is what is named, the others belong to it.
    pub elements: Vec<Element>,
    /// What it does, as a sentence.
    pub summary: String,
    /// What was observed.
    pub evidence: Vec<Evidence>,
    /// Since when, or why, where the facts say so.
    pub since: Option<String>,
    /// What to do about it.
    pub repair: Repair,
    /// What it will break later, if it breaks nothing now. A suspect without it is silent then.
    pub later: Option<String>,
    /// Does only what breaks tell that something is wrong here, and no comparison with what should be?
    pub is_by_blocker: bool,
    /// Is it something whose effect on packets cannot be read?
    pub is_opaque: bool,
    /// Places that it cannot do without: what breaks their promises brings it about.
    pub waits_for: BTreeSet<Place>,
}

/// A value that speaks for or against a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Of what.
    pub element: Element,
    /// What is.
    pub observed: String,
    /// What should be.
    pub expected: String,
    /// Where that was read: a path, a command.
    pub source: String,
}

/// What the causes suspect.
#[derive(Debug, Default)]
pub struct Suspects {
    all: Vec<Suspect>,
}

impl Suspects {
    /// Reports a cause at an element.
    pub fn report(&mut self, cause: &'static Cause, element: Element) -> &mut Suspect {
        self.all.push(Suspect {
            cause,
            elements: vec![element],
            summary: String::new(),
            evidence: Vec::new(),
            since: None,
            repair: Repair::default(),
            later: None,
            is_by_blocker: false,
            is_opaque: false,
            waits_for: BTreeSet::new(),
        });
        let last = self.all.len() - 1;
        &mut self.all[last]
    }

    /// What is suspected, each element once for each repair: a specific cause stands before a general one.
    pub fn into_list(mut self) -> Vec<Suspect> {
        self.all.sort_by(|a, b| {
            let key = |it: &Suspect| (it.cause.code.is_general(), it.is_by_blocker);
            key(a)
                .cmp(&key(b))
                .then_with(|| a.cause.code.cmp(&b.cause.code))
                .then_with(|| a.elements.cmp(&b.elements))
        });
        let mut kept: Vec<Suspect> = Vec::new();
        for suspect in self.all {
            let is_covered = |it: &Suspect| {
                let same = it.elements.iter().any(|whole| whole.covers(&suspect.elements[0]));
                let is_other_repair = !suspect.is_by_blocker
                    && it.cause != suspect.cause
                    && it.elements[0] == suspect.elements[0]
                    && it.repair.changes() != suspect.repair.changes();
                same && !is_other_repair && (suspect.cause.code.is_general() || it.cause == suspect.cause)
            };
            if !kept.iter().any(is_covered) {
                kept.push(suspect);
            }
        }
        kept
    }
}

impl Suspect {
    /// Says what it does.
    pub fn says(&mut self, summary: impl Into<String>) -> &mut Self {
        self.summary = summary.into();
        self
    }

    /// Gives what was observed.
    pub fn because(&mut self, evidence: impl IntoIterator<Item = Evidence>) -> &mut Self {
        self.evidence.extend(evidence);
        self
    }

    /// Says since when, or why.
    pub fn since(&mut self, since: Option<String>) -> &mut Self {
        self.since = since;
        self
    }

    /// Gives what to do about it.
    pub fn repaired_by(&mut self, repair: Repair) -> &mut Self {
        self.repair = repair;
        self
    }

    /// Says what it will break later.
    pub fn later(&mut self, later: impl Into<String>) -> &mut Self {
        self.later = Some(later.into());
        self
    }

    /// Says which places it cannot do without.
    pub fn waits_for(&mut self, places: impl IntoIterator<Item = Place>) -> &mut Self {
        self.waits_for.extend(places);
        self
    }

    /// Adds elements that belong to it.
    pub fn also(&mut self, elements: impl IntoIterator<Item = Element>) -> &mut Self {
        for element in elements {
            if !self.elements.contains(&element) {
                self.elements.push(element);
            }
        }
        self
    }
}
