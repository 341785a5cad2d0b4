//! Which promises are kept.

use std::collections::BTreeSet;

use hopwise_snapshot::{Place, Snapshot};

use crate::{
    Network,
    contract::{Check, Contract, Promise},
    duties,
    model::PlaceId,
    names,
    trace::{Assumption, Blocker, BlockerKind, Disposition, Flow, Trace},
    tracer::{State, Traces, all_blockers, follow},
    walk::Mode,
};

/// Whether one promise is kept, and what stands in its way.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Kept, broken or unknown.
    pub state: State,
    /// How its representative trace ends.
    pub disposition: Disposition,
    /// What stops it, on any of its ways.
    pub blockers: BTreeSet<Blocker>,
    /// What the answer depends on and nobody knows.
    pub assumptions: BTreeSet<Assumption>,
    pub(crate) visited: BTreeSet<PlaceId>,
    pub(crate) touches_underlay: bool,
}

impl Verified {
    pub(crate) fn of(traces: &Traces) -> Self {
        Self {
            state: traces.state(),
            disposition: traces.representative().disposition.clone(),
            blockers: traces.blockers().into_iter().cloned().collect(),
            assumptions: traces.assumptions().into_iter().cloned().collect(),
            visited: traces.visited.clone(),
            touches_underlay: traces.touches_underlay,
        }
    }

    pub(crate) fn kept() -> Self {
        Self {
            state: State::Kept,
            disposition: Disposition::Unknown,
            blockers: BTreeSet::new(),
            assumptions: BTreeSet::new(),
            visited: BTreeSet::new(),
            touches_underlay: false,
        }
    }

    pub(crate) fn broken(blocker: Blocker) -> Self {
        let mut verified = Self::kept();
        verified.state = State::Broken;
        verified.disposition = Disposition::Dropped;
        verified.blockers.insert(blocker);
        verified
    }

    /// Takes over what a further step of the same promise came to: the worse counts.
    pub(crate) fn merge(&mut self, other: Self) {
        let worse = |it: State| match it {
            State::Broken => 2,
            State::Unknown => 1,
            State::Kept => 0,
        };
        if worse(other.state) > worse(self.state) {
            self.state = other.state;
            self.disposition = other.disposition;
        }
        self.blockers.extend(other.blockers);
        self.assumptions.extend(other.assumptions);
        self.visited.extend(other.visited);
        self.touches_underlay |= other.touches_underlay;
    }
}

/// All promises of a contract, checked against a network.
#[derive(Clone, Debug)]
pub struct Verification {
    /// One for each promise of the contract, in its order.
    pub results: Vec<Verified>,
    /// What becomes of each forbidden flow, in the contract's order.
    pub forbidden: Vec<Denied>,
}

/// What becomes of a flow that policies deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Something that filters stops it, whatever else does.
    Filtered,
    /// Only what would stop any packet stops it: a switch, a missing route.
    Hindered,
    /// It arrives, or would if anybody listened.
    Open,
}

/// Checks every promise.
pub fn verify(network: &Network, snapshot: &Snapshot, contract: &Contract) -> Verification {
    Verification {
        results: contract.promises.iter().map(|it| check(network, snapshot, it)).collect(),
        forbidden: contract.forbidden.iter().map(|it| denied(network, it)).collect(),
    }
}

/// Checks one promise.
pub fn check(network: &Network, snapshot: &Snapshot, promise: &Promise) -> Verified {
    match &promise.check {
        Check::Flow { flow, expectation } => {
            Verified::of(&follow(network, flow, Mode::Plain).judged(expectation))
        }
        Check::Name { name } => names::check(network, snapshot, &promise.from, name),
        Check::Duty(duty) => match promise.from.as_node() {
            Some(node) => duties::check(snapshot, node, duty),
            None => Verified::kept(),
        },
    }
}

/// What becomes of a forbidden flow.
fn denied(network: &Network, flow: &Flow) -> Denied {
    let traces = follow(network, flow, Mode::Plain).traces;
    let arrives = |it: &Trace| {
        it.disposition.is_delivered()
            || matches!(it.blocker.as_ref().map(|it| &it.kind), Some(BlockerKind::NobodyListens { .. }))
    };
    let filters = |it: &Blocker| {
        matches!(
            it.kind,
            BlockerKind::Filter(_)
                | BlockerKind::TcFilter { .. }
                | BlockerKind::Xfrm { .. }
                | BlockerKind::RouteRefuses { .. }
                | BlockerKind::RuleRefuses { .. }
        )
    };
    if traces.iter().any(arrives) {
        Denied::Open
    } else if traces.iter().all(|it| it.blocker.as_ref().is_some_and(filters))
        || all_blockers(network, flow).iter().any(filters)
    {
        Denied::Filtered
    } else {
        Denied::Hindered
    }
}

impl Verification {
    /// Checks again what a change of some places can have changed.
    ///
    /// `before` is the network that this verification was made with.
    pub fn again(
        &self,
        before: &Network,
        network: &Network,
        snapshot: &Snapshot,
        contract: &Contract,
        changed: &BTreeSet<Place>,
    ) -> Self {
        let ids: BTreeSet<PlaceId> = changed.iter().filter_map(|it| network.id(it)).collect();
        let underlay_changed = !before.underlay.looks_like(&network.underlay);
        let is_touched = |it: &Verified| {
            (underlay_changed && it.touches_underlay) || it.visited.intersection(&ids).next().is_some()
        };
        let results = contract.promises.iter().zip(&self.results).map(|(promise, old)| {
            let reads_files = matches!(promise.check, Check::Name { .. } | Check::Duty(_));
            if is_touched(old) || reads_files { check(network, snapshot, promise) } else { old.clone() }
        });
        Self {
            results: results.collect(),
            forbidden: contract.forbidden.iter().map(|it| denied(network, it)).collect(),
        }
    }

    /// The promises that are certainly broken, by their place in the contract.
    pub fn broken(&self) -> impl Iterator<Item = usize> {
        self.in_state(State::Broken)
    }

    /// The promises of which it is not known whether they are kept, by their place in the contract.
    pub fn unknown(&self) -> impl Iterator<Item = usize> {
        self.in_state(State::Unknown)
    }

    fn in_state(&self, state: State) -> impl Iterator<Item = usize> {
        self.results.iter().enumerate().filter(move |(_, it)| it.state == state).map(|(at, _)| at)
    }
}
