//! What the tracer says of one flow, and of all that are promised.

use std::collections::BTreeSet;

use hopwise_dataplane::{
    Assumption, Blocker, Contract, Expectation, Resolution, State, Traces, Verification,
};
use hopwise_snapshot::Snapshot;

/// One flow, or the resolution of one name, through the model.
#[derive(Clone, Debug)]
pub struct Traced<'a> {
    /// What the model was built of.
    pub snapshot: &'a Snapshot,
    /// Who sends.
    pub from: String,
    /// To whom.
    pub to: String,
    /// Does it arrive?
    pub state: State,
    /// The flows: one, or for a name one for each question that is asked.
    pub flows: Vec<Traces>,
    /// What stops it, on any of its ways.
    pub blockers: BTreeSet<Blocker>,
    /// What the answer depends on and nobody knows.
    pub assumptions: BTreeSet<Assumption>,
}

impl<'a> Traced<'a> {
    /// What else would stop it, once [`Traced::blockers`] are out of its way.
    pub(crate) fn further(&self) -> BTreeSet<&Blocker> {
        let further = self.flows.iter().flat_map(|it| &it.further);
        further.filter(|it| !self.blockers.contains(it)).collect()
    }

    /// One flow, judged by what is expected of it.
    pub fn flow(
        snapshot: &'a Snapshot,
        (from, to): (String, String),
        traces: Traces,
        expectation: &Expectation,
    ) -> Self {
        let traces = traces.judged(expectation);
        Self {
            snapshot,
            from,
            to,
            state: traces.state(),
            blockers: traces.blockers().into_iter().cloned().collect(),
            assumptions: traces.assumptions().into_iter().cloned().collect(),
            flows: vec![traces],
        }
    }

    /// The resolution of a name.
    pub fn name(snapshot: &'a Snapshot, (from, to): (String, String), resolution: Resolution) -> Self {
        let Resolution { questions, verified } = resolution;
        Self {
            snapshot,
            from,
            to,
            state: verified.state,
            blockers: verified.blockers,
            assumptions: verified.assumptions,
            flows: questions,
        }
    }
}

/// Every promise, with how it ends by the model.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// What the model was built of.
    pub snapshot: &'a Snapshot,
    /// The promises.
    pub contract: &'a Contract,
    /// Which of them are kept.
    pub verification: &'a Verification,
}
