//! A flow's way in one line: `client-w2 eth0 → w2 veth3a1 → w2 cni0 → ✗ routing: not forwarding`.

use std::collections::BTreeSet;

use hopwise_dataplane::{Blocker, BlockerKind, Hop, PromiseKind, Stage};
use hopwise_diagnose::Violation;
use hopwise_snapshot::Element;

/// A promised flow as a person writes it: `pod/default/a → pod/default/b:8080/tcp`.
pub(super) fn flow(violation: &Violation) -> String {
    let (from, to) = (&violation.from, &violation.to);
    match violation.promise {
        PromiseKind::Duty => format!("{from} → {to}"),
        PromiseKind::Name => format!("{from} → the name {to}"),
        PromiseKind::PathMtu => format!("{from} → {to}/icmp with its largest packets"),
        _ if violation.protocol == "icmp" => format!("{from} → {to}/icmp"),
        _ => format!("{from} → {to}"),
    }
}

/// The way of the flow that stands for a violation, up to what stops it. `is_own` tells which elements are those of the
/// finding that is told about: where the flow ends earlier, by something else, its way there is not known.
pub(super) fn path(violation: &Violation, is_own: impl Fn(&Element) -> bool) -> String {
    let end = violation.trace.iter().rposition(|it| it.stage == Stage::Drop);
    let at_end = end.and_then(|it| violation.trace[it].element.as_ref());
    let own = violation.blockers.iter().find(|it| is_own(&it.element));
    match (own, at_end) {
        (Some(own), Some(at_end)) if own.element != *at_end && !is_own(at_end) => {
            format!("{} → … → ✗ {}", violation.from.short(), stop(own))
        }
        _ => path_of(&violation.trace, &violation.blockers, violation.from.short()),
    }
}

/// The interfaces of a trace up to what stops it, and what that is.
fn path_of(hops: &[Hop], blockers: &BTreeSet<Blocker>, from: &str) -> String {
    let end = hops.iter().rposition(|it| it.stage == Stage::Drop);
    let (leg, hops) = match end {
        Some(end) => (hops[end].leg, &hops[..=end]),
        None => (hops.last().map_or(0, |it| it.leg), hops),
    };
    let mut steps: Vec<String> = Vec::new();
    for hop in hops.iter().filter(|it| it.leg == leg) {
        if let Some(step) = step(hop).filter(|it| steps.last() != Some(it)) {
            steps.push(step);
        }
    }
    if steps.is_empty() {
        steps.push(from.to_owned());
    }
    let element = end.and_then(|it| hops[it].element.as_ref());
    let blocker = blockers.iter().find(|it| element.is_some_and(|at| it.element == *at));
    match blocker.or_else(|| blockers.first()) {
        Some(blocker) => steps.push(format!("✗ {}", stop(blocker))),
        None => steps.extend(end.map(|it| format!("✗ {}", hops[it].note))),
    }
    let packet = match leg {
        0 => "",
        1 => "the answer: ",
        2 => "further packets: ",
        _ => "their answer: ",
    };
    format!("{packet}{}", steps.join(" → "))
}

/// Where a packet is, by place and interface.
fn step(hop: &Hop) -> Option<String> {
    if !matches!(hop.stage, Stage::Send | Stage::Receive) {
        return None;
    }
    let place = hop.place.as_ref()?;
    let parts = hop.element.as_ref()?.parts();
    Some(format!("{} {}", place.short(), parts.get(1)?))
}

/// What stops a flow: the part of the kernel, and how.
pub(super) fn stop(blocker: &Blocker) -> String {
    let part = match &blocker.kind {
        BlockerKind::Filter(_) => "packet filter",
        BlockerKind::Switch { key, .. } if key.path().ends_with("forward") => {
            return "routing: not forwarding".to_owned();
        }
        BlockerKind::Switch { key, .. } if key.path().ends_with("/forwarding") => {
            let link = key.link_and_leaf().map_or("the interface", |(link, _)| link);
            return format!("routing: {link} does not forward");
        }
        BlockerKind::Switch { .. } => "kernel switch",
        BlockerKind::NotRunning { .. }
        | BlockerKind::NotReporting { .. }
        | BlockerKind::AsksNobody { .. } => "program",
        BlockerKind::AddressNotOwn { .. } => "address",
        BlockerKind::NoPodNetwork(_) => "pod network",
        BlockerKind::NoRoute { .. }
        | BlockerKind::RouteRefuses { .. }
        | BlockerKind::RuleRefuses { .. }
        | BlockerKind::NoWayBack { .. }
        | BlockerKind::NoSource { .. }
        | BlockerKind::TimeToLive => "routing",
        BlockerKind::ReversePath { .. } | BlockerKind::Martian { .. } => "source check",
        BlockerKind::LinkDown { .. }
        | BlockerKind::NoCarrier { .. }
        | BlockerKind::LinkMissing { .. }
        | BlockerKind::Detached { .. } => "link",
        BlockerKind::BridgePort { .. } => "bridge",
        BlockerKind::NoNeighbour { .. }
        | BlockerKind::AddressMissing { .. }
        | BlockerKind::WrongStation { .. } => "neighbour",
        BlockerKind::NoTunnelEnd { .. } | BlockerKind::NoTunnelDevice { .. } => "tunnel",
        BlockerKind::TooBig { .. } => "size",
        BlockerKind::NobodyListens { .. } => "socket",
        BlockerKind::UnexpectedAnswer { .. } | BlockerKind::Misdirected { .. } => "delivery",
        BlockerKind::Queue { .. } | BlockerKind::TcFilter { .. } => "traffic control",
        BlockerKind::Xfrm { .. } => "IPsec",
        BlockerKind::NoNameServer { .. } | BlockerKind::NameNotFound { .. } => "names",
        BlockerKind::Lost { .. } => "underlay",
        BlockerKind::ConntrackFull => "connection tracking",
        BlockerKind::Unknown => "unknown",
    };
    format!("{part}: {}", blocker.note())
}
