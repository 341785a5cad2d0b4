//! HW90xx: one cause for each kind of element, for what no specific cause explains.

mod address_missing;
mod bridge_port_blocks;
mod filter_rule_drops;
mod kernel_switch_blocks;
mod link_down;
mod mark_diverts;
mod name_resolves_wrong;
mod nat_rule_misdirects;
mod neighbour_wrong;
mod nobody_listens;
mod process_down;
mod program_decides;
mod queue_limits;
mod route_wrong;
mod size_blocks;
mod underlay_blocks;

use hopwise_dataplane::{Blocker, BlockerKind};
use hopwise_repair::Repair;
use hopwise_snapshot::Place;

pub(super) use filter_rule_drops::open_policy;
pub(super) use underlay_blocks::report_losses;

use crate::{
    case::Case,
    cause::{Cause, Evidence, Suspect, Suspects},
    intent::{Aspect, Deviation, nftables},
    rules::{Does, ForeignRule, does_in},
};

pub(super) static CAUSES: &[&Cause] = &[
    &filter_rule_drops::CAUSE,
    &nat_rule_misdirects::CAUSE,
    &mark_diverts::CAUSE,
    &link_down::CAUSE,
    &address_missing::CAUSE,
    &route_wrong::CAUSE,
    &neighbour_wrong::CAUSE,
    &bridge_port_blocks::CAUSE,
    &kernel_switch_blocks::CAUSE,
    &size_blocks::CAUSE,
    &queue_limits::CAUSE,
    &program_decides::CAUSE,
    &nobody_listens::CAUSE,
    &name_resolves_wrong::CAUSE,
    &process_down::CAUSE,
    &underlay_blocks::CAUSE,
];

/// The cause for what packets alone tell.
pub(crate) fn program_decides() -> &'static Cause {
    &program_decides::CAUSE
}

/// The general cause of what the tracer blames.
fn of_blocker(kind: &BlockerKind) -> &'static Cause {
    match kind {
        BlockerKind::Filter(_) | BlockerKind::TcFilter { .. } | BlockerKind::Xfrm { .. } => {
            &filter_rule_drops::CAUSE
        }
        BlockerKind::Misdirected { .. } | BlockerKind::UnexpectedAnswer { .. } => &nat_rule_misdirects::CAUSE,
        BlockerKind::LinkDown { .. }
        | BlockerKind::NoCarrier { .. }
        | BlockerKind::LinkMissing { .. }
        | BlockerKind::Detached { .. }
        | BlockerKind::NoTunnelDevice { .. } => &link_down::CAUSE,
        BlockerKind::AddressMissing { .. }
        | BlockerKind::AddressNotOwn { .. }
        | BlockerKind::NoSource { .. }
        | BlockerKind::Martian { .. } => &address_missing::CAUSE,
        BlockerKind::NoRoute { .. }
        | BlockerKind::RouteRefuses { .. }
        | BlockerKind::RuleRefuses { .. }
        | BlockerKind::NoWayBack { .. }
        | BlockerKind::TimeToLive => &route_wrong::CAUSE,
        BlockerKind::NoNeighbour { .. }
        | BlockerKind::WrongStation { .. }
        | BlockerKind::NoTunnelEnd { .. } => &neighbour_wrong::CAUSE,
        BlockerKind::BridgePort { .. } => &bridge_port_blocks::CAUSE,
        BlockerKind::Switch { .. } | BlockerKind::ReversePath { .. } | BlockerKind::ConntrackFull => {
            &kernel_switch_blocks::CAUSE
        }
        BlockerKind::TooBig { .. } => &size_blocks::CAUSE,
        BlockerKind::Queue { .. } => &queue_limits::CAUSE,
        BlockerKind::NobodyListens { .. } => &nobody_listens::CAUSE,
        BlockerKind::NotRunning { .. }
        | BlockerKind::NotReporting { .. }
        | BlockerKind::AsksNobody { .. } => &process_down::CAUSE,
        BlockerKind::NoPodNetwork(why) => super::cni::of(why),
        BlockerKind::NoNameServer { .. } | BlockerKind::NameNotFound { .. } => &name_resolves_wrong::CAUSE,
        BlockerKind::Lost { .. } => &underlay_blocks::CAUSE,
        BlockerKind::Unknown => &program_decides::CAUSE,
    }
}

/// What is said of a blocker that no suspect explains: where packets end, and that nobody knows a repair.
pub(crate) fn fallback(blocker: &Blocker) -> Suspect {
    let mut suspects = Suspects::default();
    report_blocker(&mut suspects, blocker, None);
    suspects.into_list().remove(0)
}

/// Reports each blocker of a cause, with the repair that is known for it.
pub(super) fn report_blockers(
    case: &Case<'_>,
    suspects: &mut Suspects,
    own: &'static Cause,
    repair: impl Fn(&Blocker) -> Option<Repair>,
) {
    for blocker in case.blockers.keys().filter(|it| of_blocker(&it.kind) == own) {
        report_blocker(suspects, blocker, repair(blocker));
    }
}

fn report_blocker(suspects: &mut Suspects, blocker: &Blocker, repair: Option<Repair>) {
    let subject = blocker.place.as_ref().map_or_else(|| "Between the nodes".to_owned(), subject);
    let suspect = suspects.report(of_blocker(&blocker.kind), blocker.element.clone());
    suspect.is_by_blocker = true;
    suspect
        .says(format!("{subject}: {}.", blocker.note()))
        .because([Evidence {
            element: blocker.element.clone(),
            observed: blocker.note(),
            expected: "promised packets pass".to_owned(),
            source: "the traced flow".to_owned(),
        }])
        .repaired_by(repair.unwrap_or_default());
}

/// Reports what is not as it should be.
fn report_deviation<'s>(
    suspects: &'s mut Suspects,
    cause: &'static Cause,
    deviation: &Deviation,
) -> &'s mut Suspect {
    let what = what(deviation);
    let (who, is, should) = (subject(&deviation.place), &deviation.observed, &deviation.expected);
    let basis = deviation.basis.text();
    let sentence = match (is.as_str(), should.as_str()) {
        ("missing", should) => format!("{who} lacks {what}, which should be {should} {basis}."),
        (is, should) if should.starts_with("no ") => {
            format!("{who} has {what} ({is}); there is {should} {basis}.")
        }
        (is, should) => format!("{who}: {what} is {is}, not {should} {basis}."),
    };
    suspects
        .report(cause, deviation.element.clone())
        .says(sentence)
        .because([deviation.evidence()])
        .repaired_by(deviation.repair.clone())
}

/// What is not as it should be, in words.
fn what(deviation: &Deviation) -> String {
    let parts = deviation.element.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts[..] {
        ["nft", family, table, "set", set, "element", _] => {
            format!("an element of nft {family} {table} {set}")
        }
        ["nft", family, table, chain] if deviation.aspect == Aspect::OwnedRule => {
            format!("a rule of nft {family} {table} {chain}")
        }
        _ => parts.join(" "),
    }
}

/// What a controller's rule does that is missing, or an element of its sets.
fn lost_rule_does(deviation: &Deviation) -> Does {
    let parts = deviation.element.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let table = match parts[..] {
        ["nft", _, _, "set", name, ..] | ["nft", _, _, name, ..] => nftables::kind_of(name),
        [_, table, ..] => table,
        _ => "",
    };
    does_in(table, &deviation.expected)
}

/// Reports rules on the way of broken flows that no controller of the cluster wrote.
fn report_foreign_rules(case: &Case<'_>, suspects: &mut Suspects, own: &'static Cause, does: Does) {
    for rule in case.foreign_rules.iter().filter(|it| it.does == does) {
        report_foreign_rule(suspects, own, rule);
    }
}

fn report_foreign_rule(suspects: &mut Suspects, cause: &'static Cause, rule: &ForeignRule) {
    suspects
        .report(cause, rule.element.clone())
        .says(format!("{} has a rule by {}: {}.", subject(&rule.place), rule.owner, rule.text))
        .because([Evidence {
            element: rule.element.clone(),
            observed: rule.text.clone(),
            expected: "no such rule: the cluster's controllers did not write it".to_owned(),
            source: rule.source.clone(),
        }])
        .repaired_by(rule.repair.clone());
}

/// A place as the subject of a sentence.
fn subject(place: &Place) -> String {
    match place {
        Place::Node(name) => format!("Node {name}"),
        Place::Pod(name) => format!("Pod {name}"),
    }
}
