//! A trial: a healthy lab is changed by hand, measured, and diagnosed.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_dataplane::{Check, Contract, Network, Promise, State, contract, verify};
use hopwise_diagnose::{Diagnosis, Finding, Kind as FindingKind, diagnose};
use hopwise_lab::truth::{Pair, Truth};
use hopwise_snapshot::Snapshot;

use crate::{
    comparison::{Comparison, compare, flow_of},
    fault::{Fault, Kind, Scene},
    laboratory::{Laboratory, LaboratoryError},
};

/// What a trial showed.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What was changed.
    pub faults: Vec<Fault>,
    /// What came of it.
    pub outcome: Outcome,
    /// The tracer against packets, after the change.
    pub comparison: Comparison,
}

/// What came of a change.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The change could not be made.
    Impossible(String),
    /// No packet did anything else than before; of several changes, none that is promised by one of them.
    NoDifference,
    /// Packets differ, but none that is promised to arrive.
    NothingPromised {
        /// Causes that were reported all the same.
        accused: Vec<String>,
    },
    /// Promised packets are lost or go elsewhere.
    Broken(Judgement),
}

/// How well a diagnosis names what was changed.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What the findings are, in order: code, kind and first element.
    pub findings: Vec<String>,
    /// Is the first finding at what was changed? With several changes: are the first findings at one each?
    pub is_named_first: bool,
    /// Are there no more findings than pieces of state that were changed?
    pub is_exact: bool,
}

/// Changes a new lab by these kinds, each on a node of its own, and looks what comes of it.
///
/// `lab` is the lab's name; there must be none of that name.
pub fn try_out(
    laboratory: &Laboratory,
    lab: &str,
    base: &str,
    kinds: &[Kind],
    seed: u64,
) -> Result<Option<Trial>, LaboratoryError> {
    laboratory.up(lab, base)?;
    let tried = on_lab(laboratory, lab, kinds, seed);
    laboratory.down(lab)?;
    tried
}

fn on_lab(
    laboratory: &Laboratory,
    lab: &str,
    kinds: &[Kind],
    seed: u64,
) -> Result<Option<Trial>, LaboratoryError> {
    let healthy = laboratory.snapshot(lab)?;
    let mut before = (healthy.clone(), laboratory.truth(lab)?);
    let Some(faults) = choose(&healthy, kinds, seed) else { return Ok(None) };
    let unmeasured = |outcome| Trial { faults: faults.clone(), outcome, comparison: Comparison::default() };
    for (at, fault) in faults.iter().enumerate() {
        if let Err(error) = laboratory.exec(lab, &fault.member(), &fault.command) {
            return Ok(Some(unmeasured(Outcome::Impossible(error.to_string()))));
        }
        settle(laboratory, lab, &healthy)?;
        // Of several changes each must break something of its own.
        if at + 1 < faults.len() {
            let after = (laboratory.snapshot(lab)?, laboratory.truth(lab)?);
            if !breaks_more(&before, &after) {
                return Ok(Some(unmeasured(Outcome::NoDifference)));
            }
            before = after;
        }
    }
    let (snapshot, truth, comparison) = measured(laboratory, lab)?;
    let after = (snapshot, truth);
    if faults.len() > 1 && !breaks_more(&before, &after) {
        return Ok(Some(unmeasured(Outcome::NoDifference)));
    }
    let outcome = judge(&after.0, &faults, &before.1, &after.1);
    Ok(Some(Trial { faults, outcome, comparison }))
}

/// Is something promised broken by the last change that was whole after those before it?
///
/// A Service gives each attempt to another endpoint, by chance: that one comes through and a later one does not says
/// nothing where some endpoints were out of reach before. There the tracer is asked.
fn breaks_more(before: &(Snapshot, Truth), after: &(Snapshot, Truth)) -> bool {
    let promised = contract(&before.0);
    let is_one_attempt = |it: &&Pair| it.attempts.is_empty();
    let mut pairs = differing(&before.1, &after.1).into_iter().filter(is_one_attempt);
    if pairs.any(|it| is_promised(&before.0, &promised, it)) {
        return true;
    }
    let states = |snapshot: &Snapshot| verify(&Network::new(snapshot), snapshot, &promised).results;
    let mut both = states(&before.0).into_iter().zip(states(&after.0));
    both.any(|(then, now)| (then.state, now.state) == (State::Kept, State::Broken))
}

/// What Hopwise reads of a lab, what packets do in it, and how the tracer compares.
///
/// A busy machine loses packets that nobody stops: where the tracer is wrong, all is read and measured again, and only
/// what it is wrong about each time counts.
pub(crate) fn measured(
    laboratory: &Laboratory,
    lab: &str,
) -> Result<(Snapshot, Truth, Comparison), LaboratoryError> {
    const N_AGAIN: usize = 2;
    let measure = || -> Result<_, LaboratoryError> {
        let (snapshot, truth) = (laboratory.snapshot(lab)?, laboratory.truth(lab)?);
        let comparison = compare(&snapshot, &truth);
        Ok((snapshot, truth, comparison))
    };
    let mut last = measure()?;
    for _ in 0..N_AGAIN {
        if last.2.disagreements.is_empty() {
            break;
        }
        let mut next = measure()?;
        next.2.keep_repeated(&last.2);
        last = next;
    }
    Ok(last)
}

/// Lets nothing count that is nobody's state: what only the underlay remembers of before the change, and how long ago
/// the nodes last heard of their neighbours.
pub(crate) fn settle(laboratory: &Laboratory, lab: &str, healthy: &Snapshot) -> Result<(), LaboratoryError> {
    const CONFIRM: &str = "ip neigh show dev eth0 nud stale nud delay nud probe | while read to _ mac _; do \
                           ip neigh change $to lladdr $mac dev eth0 nud reachable; done 2>/dev/null || true";
    for node in healthy.nodes.keys() {
        laboratory.exec(lab, node.as_str(), CONFIRM)?;
    }
    for member in ["fab", "outside"] {
        laboratory.exec(lab, member, "ip neigh flush all")?;
    }
    Ok(())
}

/// Faults of some kinds, each on another node.
fn choose(healthy: &Snapshot, kinds: &[Kind], seed: u64) -> Option<Vec<Fault>> {
    /// How often the dice are thrown for a fault on a node that has none yet.
    const N_THROWS: usize = 50;
    let mut scene = Scene { snapshot: healthy, dice: fastrand::Rng::with_seed(seed) };
    let mut faults: Vec<Fault> = Vec::new();
    let mut nodes = BTreeSet::new();
    for kind in kinds {
        let fault = (0..N_THROWS).find_map(|_| {
            let fault = (kind.make)(&mut scene)?;
            let node = healthy.node_of(&fault.place)?;
            nodes.insert(node).then_some(Fault { kind: kind.name, ..fault })
        });
        faults.push(fault?);
    }
    Some(faults)
}

fn judge(snapshot: &Snapshot, faults: &[Fault], before: &Truth, after: &Truth) -> Outcome {
    let differing = differing(before, after);
    if differing.is_empty() {
        return Outcome::NoDifference;
    }
    let contract = contract(snapshot);
    let diagnosis = diagnose(snapshot);
    if !differing.iter().any(|it| is_promised(snapshot, &contract, it)) {
        let accused = diagnosis.findings.iter().filter(|it| it.kind != FindingKind::Latent);
        return Outcome::NothingPromised { accused: accused.map(line).collect() };
    }
    Outcome::Broken(judgement(faults, &diagnosis))
}

fn judgement(faults: &[Fault], diagnosis: &Diagnosis) -> Judgement {
    let findings: Vec<&Finding> =
        diagnosis.findings.iter().filter(|it| it.kind != FindingKind::Latent).collect();
    let is_at = |fault: &Fault, finding: &Finding| finding.elements.first().is_some_and(|it| fault.is_at(it));
    let first = &findings[..faults.len().min(findings.len())];
    Judgement {
        findings: findings.iter().map(|it| line(it)).collect(),
        is_named_first: faults.iter().all(|fault| first.iter().any(|it| is_at(fault, it))),
        is_exact: findings.len() <= faults.iter().map(|it| it.elements.len()).sum(),
    }
}

fn line(finding: &Finding) -> String {
    let element = finding.elements.first().map(ToString::to_string).unwrap_or_default();
    format!("{} {} {element}", finding.cause.code, finding.kind.word())
}

/// The pairs that do something else than before.
fn differing<'t>(before: &'t Truth, after: &Truth) -> Vec<&'t Pair> {
    let key = |it: &Pair| (it.from.clone(), it.to.clone(), it.proto.clone(), it.family, it.size.is_some());
    let then: BTreeMap<_, &Pair> = after.pairs.iter().map(|it| (key(it), it)).collect();
    let differs = |it: &&Pair| {
        let Some(now) = then.get(&key(it)) else { return true };
        let is_one_attempt = it.attempts.is_empty();
        it.reached != now.reached
            || (it.reached
                && is_one_attempt
                && (&it.answered_by, it.source_seen) != (&now.answered_by, now.source_seen))
    };
    before.pairs.iter().filter(differs).collect()
}

fn is_promised(snapshot: &Snapshot, contract: &Contract, pair: &Pair) -> bool {
    let flow = flow_of(snapshot, pair);
    let is = |promise: &Promise| match &promise.check {
        Check::Flow { flow: promised, .. } => flow.as_ref() == Some(promised),
        Check::Duty(_) => false,
        Check::Name { name } => pair.from == promise.from.to_string() && pair.to.starts_with(name.as_str()),
    };
    contract.promises.iter().any(is)
}
