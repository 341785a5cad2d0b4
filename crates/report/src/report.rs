//! A diagnosis as it is to be shown: with what was asked for, and without what is to be ignored.

use std::collections::BTreeSet;

use hopwise_diagnose::{Cause, Diagnosis, Finding, Kind, Verdict, Violation};
use hopwise_snapshot::Snapshot;

/// A diagnosis as it is to be shown.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// What was diagnosed.
    pub snapshot: &'a Snapshot,
    /// What was found out.
    pub diagnosis: &'a Diagnosis,
    /// The one flow that was asked for; none means every promise.
    pub asked: Option<Asked>,
    /// The causes that are not to be shown.
    ignored: Vec<&'static Cause>,
}

/// A flow that a person asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who sends, as the person wrote it.
    pub from: String,
    /// To whom, as the person wrote it.
    pub to: String,
}

/// A cause that is not shown.
#[derive(Clone, Copy, Debug)]
pub struct Ignored {
    /// The cause.
    pub cause: &'static Cause,
    /// How many findings of it are hidden. Zero: ignoring it is no longer of use.
    pub n_findings: usize,
    /// How many broken flows are hidden with them.
    pub n_flows: usize,
}

impl<'a> Report<'a> {
    /// All of a diagnosis.
    pub fn new(snapshot: &'a Snapshot, diagnosis: &'a Diagnosis) -> Self {
        Self { snapshot, diagnosis, asked: None, ignored: Vec::new() }
    }

    /// The same about one flow that was asked for.
    pub fn about(self, asked: Option<Asked>) -> Self {
        Self { asked, ..self }
    }

    /// The same without findings of some causes, and without what nothing but they break.
    pub fn ignoring(mut self, causes: impl IntoIterator<Item = &'static Cause>) -> Self {
        self.ignored.extend(causes);
        self.ignored.sort_by_key(|it| it.code);
        self.ignored.dedup();
        self
    }

    /// The findings to show, in the order of the diagnosis.
    pub fn findings(&self) -> impl Iterator<Item = &'a Finding> {
        self.diagnosis.findings.iter().filter(|it| !self.is_ignored(it.cause))
    }

    /// The violations to show, each with its place in the diagnosis.
    pub fn violations(&self) -> impl Iterator<Item = (usize, &'a Violation)> {
        let hidden = self.hidden();
        let all = self.diagnosis.violations.iter().enumerate();
        all.filter(move |(at, _)| !hidden.contains(at))
    }

    /// The number of broken promises that are shown.
    pub fn n_broken(&self) -> usize {
        let hidden = self.hidden();
        let n_hidden: usize = hidden.iter().map(|it| self.diagnosis.violations[*it].n_flows).sum();
        self.diagnosis.n_broken.saturating_sub(n_hidden)
    }

    /// The verdict about what is shown.
    pub fn verdict(&self) -> Verdict {
        if self.n_broken() > 0 {
            Verdict::Broken
        } else if self.diagnosis.unknown.is_empty() {
            Verdict::Healthy
        } else {
            Verdict::Incomplete
        }
    }

    /// Is any finding that is shown proven?
    pub fn is_proven(&self) -> bool {
        self.findings().any(|it| it.kind == Kind::Proven)
    }

    /// What is not shown, by code.
    pub fn ignored(&self) -> Vec<Ignored> {
        let hidden = self.hidden();
        let of_cause = |cause: &&'static Cause| {
            let findings: Vec<&Finding> =
                self.diagnosis.findings.iter().filter(|it| it.cause == *cause).collect();
            let violations: BTreeSet<usize> =
                findings.iter().flat_map(|it| it.violations.iter().copied()).collect();
            let n_flows =
                violations.intersection(&hidden).map(|it| self.diagnosis.violations[*it].n_flows).sum();
            Ignored { cause, n_findings: findings.len(), n_flows }
        };
        self.ignored.iter().map(of_cause).collect()
    }

    fn is_ignored(&self, cause: &Cause) -> bool {
        self.ignored.contains(&cause)
    }

    /// Violations that findings explain, all of which are ignored.
    fn hidden(&self) -> BTreeSet<usize> {
        let of = |is_ignored: bool| -> BTreeSet<usize> {
            let findings = self.diagnosis.findings.iter();
            let wanted = findings.filter(|it| self.is_ignored(it.cause) == is_ignored);
            wanted.flat_map(|it| it.violations.iter().copied()).collect()
        };
        of(true).difference(&of(false)).copied().collect()
    }
}
