//! `HW9001`: a rule, a policy or a traffic control filter drops packets that are promised to pass.

use hopwise_change::Change;
use hopwise_dataplane::{Blocker, BlockerKind, FilterDrop};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::Place;

use super::{lost_rule_does, report_blockers, report_deviation, report_foreign_rules};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
    rules::Does,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9001),
    name: "filter-rule-drops",
    summary: "a rule, a policy or a filter drops packets that are promised to pass",
    manual: include_str!("filter_rule_drops.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    report_foreign_rules(case, suspects, &CAUSE, Does::Filter);
    let lost = case.deviating(Aspect::OwnedRule).filter(|it| lost_rule_does(it) == Does::Filter);
    let filters = case.deviating(Aspect::TcFilter).chain(case.deviating(Aspect::Xfrm));
    for deviation in lost.chain(filters) {
        report_deviation(suspects, &CAUSE, deviation);
    }
    report_blockers(case, suspects, &CAUSE, |it| repair(case, it));
}

/// A policy lets pass again. A rule of a controller stays: only what nobody of the cluster wrote is deleted.
fn repair(case: &Case<'_>, blocker: &Blocker) -> Option<Repair> {
    let (BlockerKind::Filter(drop), Some(place)) = (&blocker.kind, &blocker.place) else { return None };
    drop.position.is_none().then(|| open_policy(case, place, drop))
}

/// Lets the policy of the chain pass again what its rules do not decide.
pub(in crate::causes) fn open_policy(case: &Case<'_>, place: &Place, drop: &FilterDrop) -> Repair {
    let (change, verify) = policy(place, drop);
    Repair::one(Action::change(change, case.snapshot, Risk::Disruptive, verify))
}

fn policy(place: &Place, drop: &FilterDrop) -> (Change, String) {
    let FilterDrop { tool, family, table, base_chain: chain, .. } = drop;
    if tool == "nft" {
        let change = Change::NftPolicy {
            place: place.clone(),
            family: family.clone(),
            table: table.clone(),
            chain: chain.clone(),
            policy: "accept".to_owned(),
        };
        (change, format!("nft list chain {family} {table} {chain}"))
    } else {
        let change = Change::IptablesPolicy {
            place: place.clone(),
            tool: tool.clone(),
            table: table.clone(),
            chain: chain.clone(),
            policy: "ACCEPT".to_owned(),
        };
        (change, format!("{tool} -t {table} -S {chain}"))
    }
}
