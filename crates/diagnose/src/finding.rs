//! What a diagnosis says.

use std::collections::BTreeSet;

use hopwise_dataplane::{Assumption, Blocker, Disposition, Hop, PromiseKind};
use hopwise_repair::Repair;
use hopwise_snapshot::{Answers, Element, Place};

use crate::cause::{Cause, Evidence};

/// The result of a diagnosis.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// How many flows are promised.
    pub n_promised: usize,
    /// How many of them are broken.
    pub n_broken: usize,
    /// What breaks them, most first; what breaks nothing now comes last.
    pub findings: Vec<Finding>,
    /// The classes of broken promises.
    pub violations: Vec<Violation>,
    /// What the answer for some promise depends on and nobody knows.
    pub unknown: Vec<UnknownFact>,
    /// Places and facts that could not be read, whether or not a promise depends on them.
    pub not_seen: Vec<UnknownFact>,
}

/// Healthy, broken, or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every promise looked at is kept.
    Healthy,
    /// Some promise is broken.
    Broken,
    /// Nothing is broken for certain, and some answer is not known.
    Incomplete,
}

impl Diagnosis {
    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        if self.n_broken > 0 {
            Verdict::Broken
        } else if self.unknown.is_empty() {
            Verdict::Healthy
        } else {
            Verdict::Incomplete
        }
    }
}

impl Verdict {
    /// The word of machine output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Broken => "broken",
            Self::Incomplete => "incomplete",
        }
    }
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Its counterfactual holds: with its repair in the model its flows arrive, nothing else breaks, nothing
    /// forbidden opens.
    Proven,
    /// State cannot be read, and probes leave one explanation.
    Located,
    /// More than one explanation is left, or the model cannot try the repair.
    Suspected,
    /// It breaks no promise now.
    Latent,
}

impl Kind {
    /// The word of every output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Located => "located",
            Self::Suspected => "suspected",
            Self::Latent => "latent",
        }
    }
}

/// A cause at definite elements, with evidence, what it breaks and what to do.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The cause.
    pub cause: &'static Cause,
    /// How sure it is.
    pub kind: Kind,
    /// Between 0 and 1.
    pub confidence: f64,
    /// Where; the first is what is named.
    pub elements: Vec<Element>,
    /// What it does, as a sentence.
    pub summary: String,
    /// How many promised flows it breaks.
    pub n_flows: usize,
    /// The violations that it explains, by their place in [`Diagnosis::violations`].
    pub violations: Vec<usize>,
    /// What packets of flows that it breaks were answered, of those that were sent.
    pub packets: Answers,
    /// What was observed.
    pub evidence: Vec<Evidence>,
    /// Since when, or why, where the facts say so.
    pub since: Option<String>,
    /// What it is not, and why not.
    pub ruled_out: Vec<RuledOut>,
    /// What to do about it.
    pub repair: Repair,
    /// What the model says of the repair.
    pub proof: Proof,
    /// What it will break later, if it breaks nothing now.
    pub later: Option<String>,
}

impl Finding {
    /// Takes what another finding says as a consequence of this one.
    pub(crate) fn take(&mut self, consequence: Self) {
        self.n_flows += consequence.n_flows;
        let new = consequence.violations.into_iter().filter(|it| !self.violations.contains(it));
        let new: Vec<usize> = new.collect();
        self.violations.extend(new);
        self.evidence.extend(consequence.evidence);
    }
}

/// What the model says of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Promised flows that arrive with the repair and did not without.
    pub n_healed: usize,
    /// Promised flows that the repair would break.
    pub n_newly_broken: usize,
    /// Forbidden flows that the repair would open.
    pub n_opened: usize,
    /// Why the repair could not be tried.
    pub not_tried: Option<String>,
}

impl Proof {
    /// Does the counterfactual hold?
    pub fn holds(&self) -> bool {
        self.n_healed > 0 && self.n_newly_broken == 0 && self.n_opened == 0 && self.not_tried.is_none()
    }
}

/// A cause that could have been meant, and why it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuledOut {
    /// The cause.
    pub cause: &'static Cause,
    /// Why not.
    pub because: String,
}

/// A class of promised flows that break alike, with one of them traced.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What was promised.
    pub promise: PromiseKind,
    /// Who sends, of the representative.
    pub from: Place,
    /// To whom, of the representative, as written in every output.
    pub to: String,
    /// `tcp`, `udp`, `icmp`, `dns`.
    pub protocol: &'static str,
    /// 4 or 6.
    pub family: u8,
    /// How many promised flows are in the class.
    pub n_flows: usize,
    /// How the representative ends.
    pub disposition: Disposition,
    /// What stops the flows of the class.
    pub blockers: BTreeSet<Blocker>,
    /// The representative's hops.
    pub trace: Vec<Hop>,
    /// The promises in the class, by their place in the contract.
    pub(crate) promises: Vec<usize>,
}

/// Something that is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownFact {
    /// Of what.
    pub assumption: Assumption,
    /// The one command or right that would settle it.
    pub settled_by: String,
    /// How many promised flows depend on it.
    pub n_flows: usize,
}
