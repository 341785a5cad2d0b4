//! What stands behind that which no repair of the model removes.
//!
//! Where the first that stops a flow can be repaired, the search repairs it and sees the next. Where it cannot, the
//! flow is forced on past it, and what it meets there is repaired as if it got so far.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_dataplane::{Blocker, Check, Network, State, all_blockers};
use hopwise_snapshot::Element;

use super::{Chosen, MOST_SUSPECTS, Search, classes, finding, representatives};
use crate::{
    cause::Suspect,
    causes,
    finding::{Finding, Kind, Proof, Violation},
    hypothesis::World,
};

/// Broken promises by their place in the contract, with all that stops each, one behind the other.
type Stopped = BTreeMap<usize, BTreeSet<Blocker>>;

impl Search<'_> {
    /// Chooses suspects for what stands behind that which nothing chosen so far removes.
    pub(super) fn look_behind(&mut self) {
        for _ in 0..MOST_SUSPECTS {
            let classes = classes(&self.world.verification);
            let stopped = stopped(&self.world, classes.values().flat_map(|it| representatives(it)));
            if stopped.is_empty() {
                return;
            }
            let blockers = stopped.values().flatten().cloned().collect();
            let mut helpful: Vec<(usize, Suspect)> = Vec::new();
            for suspect in self.suspects(&classes, &blockers) {
                let n_helped = self.helped(&suspect, &stopped).len();
                if n_helped > 0 {
                    helpful.push((n_helped, suspect));
                }
            }
            let best = helpful.into_iter().max_by(|(n_a, a), (n_b, b)| {
                let key = |it: &Suspect| (!it.is_by_blocker, !it.cause.code.is_general());
                n_a.cmp(n_b).then_with(|| key(a).cmp(&key(b))).then_with(|| b.elements.cmp(&a.elements))
            });
            let Some((_, best)) = best else { return };
            let stopped = self::stopped(&self.world, self.world.verification.broken());
            let mut chosen = Chosen::new(best);
            chosen.behind = self.helped(&chosen.suspect, &stopped);
            if self.world.make(&chosen.changes).is_err() {
                return;
            }
            self.chosen.push(chosen);
        }
    }

    /// The flows that less of the same stops with a suspect's repair.
    fn helped(&mut self, suspect: &Suspect, stopped: &Stopped) -> BTreeSet<usize> {
        let changes = suspect.repair.changes();
        if changes.is_empty() {
            return BTreeSet::new();
        }
        let contract = self.world.contract;
        let helped = self.world.try_out(&changes, |_, network, _| {
            let is_helped = |(at, before): &(&usize, &BTreeSet<Blocker>)| {
                let after = all_of(network, &contract.promises[**at].check);
                after.len() < before.len() && after.is_subset(before)
            };
            stopped.iter().filter(is_helped).map(|(at, _)| *at).collect()
        });
        helped.unwrap_or_default()
    }

    /// Findings for what nothing removes of what stands behind, unless it has a name already.
    pub(super) fn left_behind(&self, named: &BTreeSet<Element>, violations: &[Violation]) -> Vec<Finding> {
        let mut left: BTreeMap<Blocker, BTreeSet<usize>> = BTreeMap::new();
        for (at, all) in stopped(&self.world, self.world.verification.broken()) {
            let first = &self.world.verification.results[at].blockers;
            let is_new = |it: &&Blocker| !named.iter().any(|named| named.covers(&it.element));
            for blocker in all.difference(first).filter(is_new) {
                left.entry(blocker.clone()).or_default().insert(at);
            }
        }
        let left = left.into_iter().map(|(blocker, promises)| {
            let proof = Proof { not_tried: Some(BEHIND.to_owned()), ..Proof::default() };
            finding(causes::fallback(&blocker), Kind::Suspected, proof, &promises, violations)
        });
        left.collect()
    }
}

impl Chosen {
    /// The finding of what was chosen for what stands behind alone.
    pub(super) fn found_behind(&self, mut proof: Proof, violations: &[Violation]) -> Finding {
        proof.not_tried = Some(BEHIND.to_owned());
        finding(self.suspect.clone(), Kind::Suspected, proof, &self.behind, violations)
    }
}

/// Why the repair of what stands behind something else is not proven.
const BEHIND: &str = "its flows end earlier, at what the model cannot repair, and would end here next";

/// What stops some broken promises, for those that something else would stop next.
fn stopped(world: &World<'_>, promises: impl Iterator<Item = usize>) -> Stopped {
    let all = promises.map(|at| (at, all_of(&world.network, &world.contract.promises[at].check)));
    all.filter(|(at, all)| {
        let result = &world.verification.results[*at];
        result.state == State::Broken && !all.is_subset(&result.blockers)
    })
    .collect()
}

/// All that stops a flow. A name is asked for by flows that are promised themselves.
fn all_of(network: &Network, check: &Check) -> BTreeSet<Blocker> {
    match check {
        Check::Flow { flow, .. } => all_blockers(network, flow),
        Check::Name { .. } | Check::Duty(_) => BTreeSet::new(),
    }
}
