//! What a proof is worth: it does not hold for the wrong element, not for what opens a denied flow, and not for want of
//! facts.
//!
//! With optimisation every fact is taken away and every promise looked at; without, a sample, so that it stays quick.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

mod behind;
mod denied;
mod missing;
mod neighbours;
mod plan;
mod texts;

use hopwise_change::Change;
use hopwise_dataplane::{Promise, PromiseKind, contract};
use hopwise_diagnose::{Diagnosis, Finding, Kind, diagnose_promises};
use hopwise_snapshot::{Element, Observed, Place, Snapshot, SysctlKey, hop};

fn healthy() -> Snapshot {
    hop::read(include_bytes!("../../../cli/tests/snapshots/healthy.hop")).unwrap()
}

/// Node w2 does not forward; node w1 and the CoreDNS pod on it have no name server.
fn broken() -> Snapshot {
    hop::read(include_bytes!("../../../cli/tests/snapshots/broken.hop")).unwrap()
}

/// What is wrong in [`broken`].
fn injected() -> Vec<Element> {
    [
        "node/w2/sysctl/net.ipv4.ip_forward",
        "node/w1/file/etc/resolv.conf",
        "pod/kube-system/coredns-a/file/etc/resolv.conf",
    ]
    .map(|it| it.parse().unwrap())
    .into()
}

/// Every how manieth is looked at.
fn step(without_optimisation: usize) -> usize {
    if cfg!(debug_assertions) { without_optimisation } else { 1 }
}

/// What is promised, or a sample of it with the names that nodes resolve.
fn promises(snapshot: &Snapshot, without_optimisation: usize) -> Vec<Promise> {
    let step = step(without_optimisation);
    let is_kept = |at: usize, it: &Promise| {
        at.is_multiple_of(step) || (it.kind == PromiseKind::Name && it.from.as_node().is_some())
    };
    let all = contract(snapshot).promises.into_iter().enumerate();
    all.filter(|(at, it)| is_kept(*at, it)).map(|(_, it)| it).collect()
}

fn diagnosis(snapshot: &Snapshot, without_optimisation: usize) -> Diagnosis {
    diagnose_promises(snapshot, promises(snapshot, without_optimisation))
}

/// The snapshot after changes.
fn changed(mut snapshot: Snapshot, changes: &[Change]) -> Snapshot {
    for change in changes {
        change.apply(&mut snapshot).unwrap_or_else(|error| panic!("{change:?}: {error}"));
    }
    snapshot
}

fn line(finding: &Finding) -> String {
    format!("{} {} {}", finding.cause.code, finding.kind.word(), finding.elements[0])
}

fn lines(diagnosis: &Diagnosis) -> Vec<String> {
    diagnosis.findings.iter().map(line).collect()
}

/// The findings that claim to be sure.
fn sure(diagnosis: &Diagnosis) -> impl Iterator<Item = &Finding> {
    diagnosis.findings.iter().filter(|it| matches!(it.kind, Kind::Proven | Kind::Located))
}

/// The route of a place to a range, where it has one.
fn has_route(snapshot: &Snapshot, place: &Place, destination: &str) -> bool {
    let Some(Observed::Known(routes)) = snapshot.net(place).map(|it| &it.routes) else { return false };
    routes.iter().any(|it| it.destination.to_string() == destination)
}

fn sysctl(node: &str, key: &str, value: &str) -> Change {
    Change::Sysctl { place: Place::node(node), key: SysctlKey::from_dotted(key), value: value.to_owned() }
}

/// A rule as the first of a chain.
fn inserted(node: &str, chain: &str, rule: &str) -> Change {
    Change::IptablesInserted {
        place: Place::node(node),
        tool: "iptables-nft".to_owned(),
        table: "filter".to_owned(),
        chain: chain.to_owned(),
        position: 1,
        rule: rule.to_owned(),
    }
}

/// A chain without a rule of its own.
fn deleted(node: &str, chain: &str, position: usize) -> Change {
    Change::IptablesDeleted {
        place: Place::node(node),
        tool: "iptables-nft".to_owned(),
        table: "filter".to_owned(),
        chain: chain.to_owned(),
        position,
    }
}
