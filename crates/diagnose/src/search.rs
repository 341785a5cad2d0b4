//! The search: which suspects explain what is broken, fewest and likeliest first, and the proof of each.

mod behind;

use std::collections::{BTreeMap, BTreeSet};

use hopwise_change::Change;
use hopwise_dataplane::{
    Blocker, BlockerKind, Check, Contract, Denied, Hop, Network, Promise, Recipient, State, Verification,
    contract, resolve, trace, verify,
};
use hopwise_repair::Repair;
use hopwise_snapshot::{Answers, Element, Place, Snapshot};

use crate::{
    case::Case,
    cause::{Suspect, Suspects},
    causes, crossed,
    finding::{Diagnosis, Finding, Kind, Proof, Violation},
    hypothesis::World,
    intent::deviations,
    look_alikes,
    plan::packets,
    rules::{ForeignRule, Owned},
    seen,
};

/// How many flows of a class stand for all of it while suspects are tried.
const N_REPRESENTATIVES: usize = 3;
/// How many suspects are put together at most.
const MOST_SUSPECTS: usize = 16;

/// Finds out what breaks the promises of a snapshot.
pub fn diagnose(snapshot: &Snapshot) -> Diagnosis {
    let network = Network::new(snapshot);
    let contract = contract(snapshot);
    diagnose_contract(snapshot, network, &contract)
}

/// Finds out what breaks some promises alone.
pub fn diagnose_promises(snapshot: &Snapshot, promises: Vec<Promise>) -> Diagnosis {
    let network = Network::new(snapshot);
    let whole = contract(snapshot);
    let contract = Contract { promises, forbidden: whole.forbidden };
    diagnose_contract(snapshot, network, &contract)
}

fn diagnose_contract(snapshot: &Snapshot, network: Network, contract: &Contract) -> Diagnosis {
    let verification = verify(&network, snapshot, contract);
    let base = World { snapshot: snapshot.clone(), network, contract, verification };
    let violations = violations(&base);
    let disagreements = crossed::disagreements(snapshot, &base.network);
    let (n_broken, unknown) = (base.verification.broken().count(), seen::unknown(&base.verification));
    let mut search = Search {
        world: base.clone(),
        base,
        chosen: Vec::new(),
        tried: Vec::new(),
        latent: Vec::new(),
        opaque: Vec::new(),
    };
    search.run();
    let mut findings = search.findings(&violations);
    let at = findings.iter().position(|it| it.kind == Kind::Latent).unwrap_or(findings.len());
    findings.splice(at..at, disagreements.into_iter().map(disagreement));
    packets(snapshot, &contract.promises, (&mut findings, &violations));
    Diagnosis {
        n_promised: contract.promises.len(),
        n_broken,
        findings,
        unknown,
        not_seen: seen::not_seen(snapshot),
        violations,
    }
}

/// Tries a repair on the model, all by itself: what it heals, and what it must not do.
pub fn prove(snapshot: &Snapshot, repair: &Repair) -> Proof {
    let network = Network::new(snapshot);
    let contract = contract(snapshot);
    let verification = verify(&network, snapshot, &contract);
    let mut world = World { snapshot: snapshot.clone(), network, contract: &contract, verification };
    match world.verification_with(&repair.changes()) {
        Ok(after) => proof(&world.verification, &after).0,
        Err(error) => Proof { not_tried: Some(error.to_string()), ..Proof::default() },
    }
}

/// What lies between a world without a repair and one with it, and which promises it heals.
fn proof(without: &Verification, with: &Verification) -> (Proof, BTreeSet<usize>) {
    let mut proof = Proof::default();
    let mut healed = BTreeSet::new();
    for (at, (before, after)) in without.results.iter().zip(&with.results).enumerate() {
        match (before.state, after.state) {
            (State::Kept, State::Broken | State::Unknown) => proof.n_newly_broken += 1,
            (State::Broken, State::Kept) => {
                healed.insert(at);
            }
            _ => {}
        }
    }
    let opened = without
        .forbidden
        .iter()
        .zip(&with.forbidden)
        .filter(|it| matches!(it, (Denied::Filtered, Denied::Open)));
    proof.n_healed = healed.len();
    proof.n_opened = opened.count();
    (proof, healed)
}

/// A suspect that was taken to explain something.
#[derive(Clone, Debug)]
struct Chosen {
    suspect: Suspect,
    changes: Vec<Change>,
    /// The promises that it would break next, if something that no repair removes did not break them before.
    behind: BTreeSet<usize>,
}

impl Chosen {
    /// What would take its repair back in a world: equal where the world is equally wrong.
    fn taken_back(&self, snapshot: &Snapshot) -> Vec<Change> {
        self.changes.iter().flat_map(|it| it.inverse(snapshot)).collect()
    }

    fn new(suspect: Suspect) -> Self {
        Self { changes: suspect.repair.changes(), suspect, behind: BTreeSet::new() }
    }

    /// Takes what another was chosen for as a consequence of this one.
    fn join(&mut self, consequence: Self) {
        self.suspect.also(consequence.suspect.elements);
        self.suspect.because(consequence.suspect.evidence);
        self.suspect.repair.actions.extend(consequence.suspect.repair.actions);
        self.changes.extend(consequence.changes);
        self.behind.extend(consequence.behind);
    }
}

struct Search<'a> {
    /// The world as it is.
    base: World<'a>,
    /// The world with the repairs of all chosen suspects.
    world: World<'a>,
    chosen: Vec<Chosen>,
    /// Suspects whose repair helps nothing that was broken when they were tried.
    tried: Vec<Suspect>,
    /// Suspects that break nothing now and will later.
    latent: Vec<Suspect>,
    /// Suspects that are not modelled.
    opaque: Vec<Suspect>,
}

/// A suspect with what its repair does.
struct Candidate {
    suspect: Suspect,
    n_healed: usize,
    n_moved: usize,
    is_at_blocker: bool,
}

impl Search<'_> {
    fn run(&mut self) {
        let mut first_seen: BTreeSet<Element> = BTreeSet::new();
        for round in 0..MOST_SUSPECTS {
            let classes = classes(&self.world.verification);
            let suspects = self.suspects(&classes, &BTreeSet::new());
            if round == 0 {
                self.latent.extend(suspects.iter().filter(|it| it.later.is_some()).cloned());
                self.opaque.extend(suspects.iter().filter(|it| it.is_opaque).cloned());
                // Where packets end alone says nothing of what should be there.
                let known = suspects.iter().filter(|it| !it.is_by_blocker);
                first_seen.extend(known.flat_map(|it| it.elements.clone()));
            }
            if classes.is_empty() {
                break;
            }
            let Some(best) = self.best(suspects, &classes) else { break };
            self.choose(best, &first_seen);
        }
        self.prune();
        self.look_behind();
        self.join_consequences();
        self.adopt_roots();
    }

    /// Joins what one change made at once: a chosen suspect is another's consequence if it is wrong again, in the
    /// same way, when only that other one's repair is taken back in the world where all is repaired.
    fn join_consequences(&mut self) {
        let mut at = 0;
        while at < self.chosen.len() {
            let root = &self.chosen[at];
            let undo: Vec<Change> =
                root.changes.iter().rev().flat_map(|it| it.inverse(&self.base.snapshot)).collect();
            let undone = self.world.try_out(&undo, |snapshot, _, _| {
                let shown: BTreeSet<Element> =
                    deviations(snapshot).into_iter().map(|it| it.element).collect();
                (shown, self.chosen.iter().map(|it| it.taken_back(snapshot)).collect::<Vec<_>>())
            });
            let Ok((shown, taken_back)) = undone else {
                at += 1;
                continue;
            };
            let place = root.suspect.elements[0].of_place();
            let is_consequence = |it: usize| {
                let first = &self.chosen[it].suspect.elements[0];
                first.of_place() == place
                    && *first != self.chosen[at].suspect.elements[0]
                    && (shown.contains(first) || self.is_wrong_again(&self.chosen[it], &taken_back[it]))
            };
            let joined: Vec<usize> =
                (0..self.chosen.len()).filter(|it| *it != at && is_consequence(*it)).collect();
            for it in joined.into_iter().rev() {
                let consequence = self.chosen.remove(it);
                at -= usize::from(it < at);
                self.chosen[at].join(consequence);
            }
            at += 1;
        }
    }

    /// Finds what made chosen suspects wrong without standing in any flow's way itself: an interface that lost its last
    /// address lost its routes with it, and the routes alone are missed. It is a root if those are wrong again, in the
    /// same way, when its repair is taken back where all is repaired.
    fn adopt_roots(&mut self) {
        for root in std::mem::take(&mut self.tried) {
            let changes = root.repair.changes();
            let place = root.elements[0].of_place();
            let near = |it: &Chosen| it.suspect.elements[0].of_place() == place;
            let is_said = |it: &Chosen| it.suspect.elements.contains(&root.elements[0]);
            if self.chosen.iter().any(is_said) {
                continue;
            }
            if root.is_by_blocker || changes.is_empty() || !self.chosen.iter().any(near) {
                self.tried.push(root);
                continue;
            }
            let undo = changes.iter().rev().flat_map(|it| it.inverse(&self.base.snapshot));
            let there_and_back: Vec<Change> = changes.iter().cloned().chain(undo).collect();
            let undone = self.world.try_out(&there_and_back, |snapshot, _, _| {
                self.chosen.iter().map(|it| it.taken_back(snapshot)).collect::<Vec<_>>()
            });
            let Ok(undone) = undone else {
                self.tried.push(root);
                continue;
            };
            let is_consequence = |at: &usize| {
                let chosen = &self.chosen[*at];
                near(chosen) && self.is_wrong_again(chosen, &undone[*at])
            };
            let consequences: Vec<usize> = (0..self.chosen.len()).filter(is_consequence).collect();
            if consequences.is_empty() || self.world.make(&changes).is_err() {
                self.tried.push(root);
                continue;
            }
            let mut adopted = Chosen::new(root);
            for it in consequences.into_iter().rev() {
                adopted.join(self.chosen.remove(it));
            }
            self.chosen.push(adopted);
        }
    }

    /// Would the same take a chosen suspect's repair back as where nothing is repaired, and not as where all is?
    fn is_wrong_again(&self, chosen: &Chosen, taken_back: &[Change]) -> bool {
        let broken = chosen.taken_back(&self.base.snapshot);
        taken_back == broken && chosen.taken_back(&self.world.snapshot) != broken
    }

    /// What the causes suspect in the world as it is now, where besides what stops its flows something stands behind.
    fn suspects(
        &self,
        classes: &BTreeMap<Vec<Element>, Vec<usize>>,
        behind: &BTreeSet<Blocker>,
    ) -> Vec<Suspect> {
        let snapshot = &self.world.snapshot;
        let deviations = deviations(snapshot);
        let mut blockers: BTreeMap<Blocker, usize> = BTreeMap::new();
        for at in self.world.verification.broken() {
            for blocker in &self.world.verification.results[at].blockers {
                *blockers.entry(blocker.clone()).or_default() += 1;
            }
        }
        for blocker in behind {
            blockers.entry(blocker.clone()).or_default();
        }
        let mut hops = self.hops(classes);
        // A rule that keeps neighbours from finding each other is on no packet's own way.
        let filters = blockers.keys().filter(|it| matches!(it.kind, BlockerKind::Filter(_)));
        hops.extend(filters.map(Hop::of_filter));
        let foreign_rules: Vec<ForeignRule> = foreign_rules(snapshot, &hops)
            .into_iter()
            .map(|it| Owned::named_as_in(it, &self.base.snapshot))
            .collect();
        let broken = self
            .world
            .verification
            .broken()
            .map(|at| (&self.world.contract.promises[at], &self.world.verification.results[at].blockers));
        let broken = broken.collect();
        let forbidden = &self.base.verification.forbidden;
        let case = Case {
            snapshot,
            blockers,
            broken,
            n_forbidden: forbidden.len(),
            n_open: forbidden.iter().filter(|it| **it == Denied::Open).count(),
            deviations: &deviations,
            foreign_rules: &foreign_rules,
        };
        let mut suspects = Suspects::default();
        for cause in causes::all() {
            (cause.detect)(&case, &mut suspects);
        }
        let is_chosen = |it: &Suspect| {
            let is_same = |chosen: &Chosen| {
                chosen.suspect.elements == it.elements && chosen.changes.starts_with(&it.repair.changes())
            };
            self.chosen.iter().any(is_same)
        };
        suspects.into_list().into_iter().filter(|it| !is_chosen(it)).collect()
    }

    /// The hops of the flows that stand for their classes.
    fn hops(&self, classes: &BTreeMap<Vec<Element>, Vec<usize>>) -> Vec<Hop> {
        let mut hops = Vec::new();
        for at in classes.values().flat_map(|it| representatives(it)) {
            match &self.world.contract.promises[at].check {
                Check::Flow { flow, .. } => {
                    hops.extend(trace(&self.world.network, flow).traces.into_iter().flat_map(|it| it.hops));
                }
                Check::Duty(_) => {}
                Check::Name { name } => {
                    let from = &self.world.contract.promises[at].from;
                    let resolution = resolve(&self.world.network, &self.world.snapshot, from, name);
                    let traces = resolution.questions.into_iter().flat_map(|it| it.traces);
                    hops.extend(traces.flat_map(|it| it.hops));
                }
            }
        }
        hops
    }

    /// The suspect whose repair helps most.
    fn best(
        &mut self,
        suspects: Vec<Suspect>,
        classes: &BTreeMap<Vec<Element>, Vec<usize>>,
    ) -> Option<Candidate> {
        let mut weights: BTreeMap<usize, usize> = BTreeMap::new();
        for members in classes.values() {
            let standing = representatives(members);
            for at in &standing {
                weights.insert(*at, members.len().div_ceil(standing.len()));
            }
        }
        let promises: Vec<usize> = weights.keys().copied().collect();
        let weigh = |all: &[usize]| all.iter().map(|it| weights[it]).sum::<usize>();
        let blocking: BTreeSet<&Element> = classes.keys().flatten().collect();
        let mut candidates = Vec::new();
        for suspect in suspects {
            let changes = suspect.repair.changes();
            let Ok(progress) = self.world.progress(&changes, &promises) else { continue };
            let (n_healed, n_moved) = (weigh(&progress.healed), weigh(&progress.moved));
            if n_healed + n_moved == 0 || changes.is_empty() {
                self.tried.push(suspect);
                continue;
            }
            let is_at_blocker = suspect.elements.iter().any(|it| blocking.iter().any(|at| it.covers(at)));
            candidates.push(Candidate { suspect, n_healed, n_moved, is_at_blocker });
        }
        candidates.into_iter().max_by(|a, b| {
            let key = |it: &Candidate| {
                (
                    it.n_healed,
                    it.is_at_blocker,
                    !it.suspect.is_by_blocker,
                    !it.suspect.cause.code.is_general(),
                    it.n_moved,
                    std::cmp::Reverse(it.suspect.repair.risk()),
                )
            };
            // Among equals the first element by name, so that the choice is stable.
            key(a).cmp(&key(b)).then_with(|| b.suspect.elements.cmp(&a.suspect.elements))
        })
    }

    /// Takes a suspect: its repair is made in the search's world.
    fn choose(&mut self, candidate: Candidate, first_seen: &BTreeSet<Element>) {
        let chosen = Chosen::new(candidate.suspect);
        if self.world.make(&chosen.changes).is_err() {
            self.tried.push(chosen.suspect);
            return;
        }
        // What shows only when another repair is made is that one's consequence, where it is of the same link.
        let is_consequence = !first_seen.contains(&chosen.suspect.elements[0]);
        let root = self.chosen.iter_mut().rev().find(|it| is_of_one_link(&it.suspect, &chosen.suspect));
        if let (true, Some(root)) = (is_consequence, root) {
            root.join(chosen);
            return;
        }
        self.chosen.push(chosen);
    }

    /// Drops chosen suspects without which nothing is broken that is whole with them.
    fn prune(&mut self) {
        let n_broken = self.world.verification.broken().count();
        let mut at = self.chosen.len();
        while at > 0 && self.chosen.len() > 1 {
            at -= 1;
            let changes = self.changes_without(at);
            let mut world = self.base.clone();
            if world.make(&changes).is_ok() && world.verification.broken().count() <= n_broken {
                let left_out = self.chosen.remove(at);
                self.tried.push(left_out.suspect);
                self.world = world;
            }
        }
    }

    /// The repairs of all chosen suspects but one.
    fn changes_without(&self, left_out: usize) -> Vec<Change> {
        let others = self.chosen.iter().enumerate().filter(|(at, _)| *at != left_out);
        others.flat_map(|(_, it)| it.changes.clone()).collect()
    }

    /// What is to be said: what was chosen, with its proof; what is left; what will break later.
    fn findings(mut self, violations: &[Violation]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut behind = Vec::new();
        // The places whose promises each finding's repair heals.
        let mut healed_places = Vec::new();
        for at in 0..self.chosen.len() {
            let changes = self.changes_without(at);
            let without = if changes.is_empty() {
                self.base.verification.clone()
            } else {
                let tried = self.base.verification_with(&changes);
                tried.unwrap_or_else(|_| self.base.verification.clone())
            };
            let (proof, healed) = proof(&without, &self.world.verification);
            let chosen = &self.chosen[at];
            if healed.is_empty() && !chosen.behind.is_empty() {
                behind.push(chosen.found_behind(proof, violations));
                continue;
            }
            let kind = if proof.holds() { Kind::Proven } else { Kind::Suspected };
            findings.push(finding(chosen.suspect.clone(), kind, proof, &healed, violations));
            healed_places.push(self.places(&healed));
        }
        self.leave_over(&mut findings, &healed_places, violations);
        findings.extend(self.undecided(violations));
        findings.sort_by(|a, b| b.n_flows.cmp(&a.n_flows).then_with(|| a.elements.cmp(&b.elements)));
        findings.extend(behind);
        let named = findings.iter().flat_map(|it| it.elements.clone()).collect();
        findings.extend(self.left_behind(&named, violations));
        look_alikes::rule_out(&mut findings, &self.tried);
        let named: Vec<Element> = findings.iter().flat_map(|it| it.elements.clone()).collect();
        for suspect in self.latent {
            if !suspect.elements.iter().any(|it| named.contains(it)) {
                findings.push(finding(suspect, Kind::Latent, Proof::default(), &BTreeSet::new(), violations));
            }
        }
        findings
    }

    /// Findings for what is not modelled and decides about promised flows: only packets tell what it does.
    fn undecided(&self, violations: &[Violation]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let is_said = |it: &&Suspect| !self.chosen.iter().any(|c| c.suspect.elements[0] == it.elements[0]);
        for suspect in self.opaque.iter().filter(is_said) {
            let depends = |at: &usize| {
                let assumptions = &self.base.verification.results[*at].assumptions;
                assumptions.iter().any(|it| suspect.elements.contains(&it.element))
            };
            let results = self.base.verification.results.iter().enumerate();
            let unknown = results.filter(|(_, it)| it.state == State::Unknown).map(|(at, _)| at);
            let promises: BTreeSet<usize> = unknown.filter(depends).collect();
            if !promises.is_empty() {
                let not_tried = Some("what it does to packets is not modelled".to_owned());
                let proof = Proof { not_tried, ..Proof::default() };
                findings.push(finding(suspect.clone(), Kind::Suspected, proof, &promises, violations));
            }
        }
        findings
    }

    /// The places that promises are about: who sends, and who should answer.
    fn places(&self, promises: &BTreeSet<usize>) -> BTreeSet<Place> {
        let mut places = BTreeSet::new();
        for promise in promises.iter().map(|it| &self.base.contract.promises[*it]) {
            places.insert(promise.from.clone());
            if let Check::Flow { expectation, .. } = &promise.check {
                let recipients = expectation.recipients.iter().filter_map(|it| match it {
                    Recipient::Place(place) => Some(place.clone()),
                    Recipient::Outside(_) => None,
                });
                places.extend(recipients);
            }
        }
        places
    }

    /// Adds findings for what is broken even with all chosen repairs: no broken promise stays without a name. What only
    /// waits for a place that a chosen repair heals is that finding's consequence, and told there.
    fn leave_over(
        &self,
        findings: &mut Vec<Finding>,
        healed_places: &[BTreeSet<Place>],
        violations: &[Violation],
    ) {
        let mut by_blocker: BTreeMap<&Blocker, BTreeSet<usize>> = BTreeMap::new();
        for at in self.world.verification.broken() {
            for blocker in &self.world.verification.results[at].blockers {
                by_blocker.entry(blocker).or_default().insert(at);
            }
        }
        let mut by_elements: BTreeMap<Vec<Element>, (Suspect, Kind, BTreeSet<usize>)> = BTreeMap::new();
        for (blocker, promises) in by_blocker {
            let told = self.tried.iter().find(|it| it.elements.iter().any(|e| e.covers(&blocker.element)));
            let suspect = told.cloned().unwrap_or_else(|| causes::fallback(blocker));
            let is_seen = matches!(blocker.kind, BlockerKind::Lost { .. });
            let kind = if is_seen { Kind::Located } else { Kind::Suspected };
            let told =
                by_elements.entry(suspect.elements.clone()).or_insert((suspect, kind, BTreeSet::new()));
            told.2.extend(promises);
        }
        for (suspect, kind, promises) in by_elements.into_values() {
            let root = healed_places.iter().position(|it| !it.is_disjoint(&suspect.waits_for));
            if let Some(root) = root {
                let consequence = finding(suspect, kind, Proof::default(), &promises, violations);
                findings[root].take(consequence);
                continue;
            }
            let why = match kind {
                Kind::Located => {
                    "no node's state shows it: packets were watched where they leave and where they arrive"
                }
                _ => "the model cannot try its repair",
            };
            let proof = Proof { not_tried: Some(why.to_owned()), ..Proof::default() };
            findings.push(finding(suspect, kind, proof, &promises, violations));
        }
    }
}

/// A finding for packets and a model that disagree.
fn disagreement(suspect: Suspect) -> Finding {
    let not_tried = Some("packets do otherwise than the model says".to_owned());
    let proof = Proof { not_tried, ..Proof::default() };
    Finding { n_flows: 1, ..finding(suspect, Kind::Suspected, proof, &BTreeSet::new(), &[]) }
}

fn finding(
    suspect: Suspect,
    kind: Kind,
    proof: Proof,
    promises: &BTreeSet<usize>,
    violations: &[Violation],
) -> Finding {
    let explained =
        violations.iter().enumerate().filter(|(_, it)| it.promises.iter().any(|at| promises.contains(at)));
    let confidence = match kind {
        Kind::Proven => 0.99,
        Kind::Located => 0.95,
        Kind::Suspected => 0.5,
        Kind::Latent => 0.9,
    };
    Finding {
        cause: suspect.cause,
        kind,
        confidence,
        elements: suspect.elements,
        summary: suspect.summary,
        n_flows: promises.len(),
        violations: explained.map(|(at, _)| at).collect(),
        evidence: suspect.evidence,
        since: suspect.since,
        ruled_out: Vec::new(),
        repair: suspect.repair,
        proof,
        later: suspect.later,
        packets: Answers::default(),
    }
}

fn foreign_rules(snapshot: &Snapshot, hops: &[Hop]) -> Vec<ForeignRule> {
    let owned = Owned::new(snapshot);
    let mut found: BTreeMap<Element, ForeignRule> = BTreeMap::new();
    for hop in hops {
        if let Some(element) = &hop.element
            && !found.contains_key(element)
            && let Some(rule) = owned.foreign(snapshot, hop)
        {
            found.insert(element.clone(), rule);
        }
    }
    found.into_values().collect()
}

/// The broken promises by what stops them.
fn classes(verification: &Verification) -> BTreeMap<Vec<Element>, Vec<usize>> {
    let mut classes: BTreeMap<Vec<Element>, Vec<usize>> = BTreeMap::new();
    for at in verification.broken() {
        let elements = verification.results[at].blockers.iter().map(|it| it.element.clone());
        let elements: BTreeSet<Element> = elements.collect();
        classes.entry(elements.into_iter().collect()).or_default().push(at);
    }
    classes
}

/// A few members of a class that are as different as its order has them.
fn representatives(members: &[usize]) -> Vec<usize> {
    let n = members.len().min(N_REPRESENTATIVES);
    (0..n).map(|it| members[it * (members.len() - 1) / (n - 1).max(1)]).collect()
}

/// Do two suspects speak of the same link of the same place?
fn is_of_one_link(a: &Suspect, b: &Suspect) -> bool {
    let place = |it: &Suspect| it.elements[0].of_place();
    let links = |it: &Suspect| -> BTreeSet<String> {
        let of_changes = it.repair.changes().into_iter().filter_map(|it| match it {
            Change::LinkUp { link, .. }
            | Change::LinkMaster { link, .. }
            | Change::AddressAdded { link, .. }
            | Change::AddressRemoved { link, .. }
            | Change::LinkMtu { link, .. }
            | Change::NeighbourReplaced { link, .. }
            | Change::NeighbourRemoved { link, .. }
            | Change::FdbReplaced { link, .. } => Some(link),
            Change::BridgePort { port, .. } => Some(port),
            Change::RouteReplaced { route, .. } => route.link,
            Change::Sysctl { key, .. } => key.link_and_leaf().map(|(link, _)| link.to_owned()),
            _ => None,
        });
        of_changes.collect()
    };
    place(a) == place(b) && links(a).intersection(&links(b)).next().is_some()
}

/// The broken promises as classes of one kind of promise and one set of blockers.
fn violations(world: &World<'_>) -> Vec<Violation> {
    let mut classes: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for at in world.verification.broken() {
        let promise = &world.contract.promises[at];
        let elements: BTreeSet<Element> =
            world.verification.results[at].blockers.iter().map(|it| it.element.clone()).collect();
        classes.entry((elements, promise.kind)).or_default().push(at);
    }
    let mut violations: Vec<Violation> = classes.into_values().map(|it| violation(world, it)).collect();
    violations.sort_by_key(|it| std::cmp::Reverse(it.n_flows));
    violations
}

fn violation(world: &World<'_>, promises: Vec<usize>) -> Violation {
    let at = promises[0];
    let promise = &world.contract.promises[at];
    let result = &world.verification.results[at];
    let hops = match &promise.check {
        Check::Flow { flow, expectation } => {
            trace(&world.network, flow).judged(expectation).representative().hops.clone()
        }
        Check::Duty(_) => Vec::new(),
        Check::Name { name } => {
            let resolution = resolve(&world.network, &world.snapshot, &promise.from, name);
            let failing = resolution.questions.iter().find(|it| it.state() != State::Kept);
            failing.map_or_else(Vec::new, |it| it.representative().hops.clone())
        }
    };
    let blockers = promises.iter().flat_map(|it| world.verification.results[*it].blockers.clone()).collect();
    Violation {
        promise: promise.kind,
        from: promise.from.clone(),
        to: promise.to.clone(),
        protocol: promise.protocol(),
        family: promise.family(),
        n_flows: promises.len(),
        disposition: result.disposition.clone(),
        blockers,
        trace: hops,
        promises,
    }
}
