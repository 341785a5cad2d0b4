//! `HW1101`: the policy of FORWARD drops what the network plugin does not accept.

use hopwise_change::{Change, Controller};
use hopwise_dataplane::{BlockerKind, FilterDrop};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Element, Place};

use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
    intent::{Aspect, Deviation},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1101),
    name: "fw-forward-policy-drop",
    summary: "the policy of FORWARD drops pods' packets, and nothing accepts them before",
    manual: include_str!("fw_forward_policy_drop.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for blocker in case.blockers.keys() {
        let (BlockerKind::Filter(drop), Some(place)) = (&blocker.kind, &blocker.place) else { continue };
        let Some(name) = place.as_node() else { continue };
        let is_forward =
            drop.position.is_none() && drop.base_chain == "FORWARD" && drop.tool.starts_with("ip");
        if !is_forward {
            continue;
        }
        suspects
            .report(&CAUSE, blocker.element.clone())
            .says(format!(
                "Node {name} drops forwarded packets by the policy of FORWARD: nothing accepts them before."
            ))
            .because([Evidence {
                element: blocker.element.clone(),
                observed: "DROP".to_owned(),
                expected: "ACCEPT, or accepts for the pods' range before it".to_owned(),
                source: format!("{}-save", drop.tool),
            }])
            .repaired_by(repair(case, place, drop));
    }
}

/// The network plugin's own accepts if they are what is missing; else the policy.
fn repair(case: &Case<'_>, place: &Place, drop: &FilterDrop) -> Repair {
    let is_flannels = |it: &&Deviation| {
        it.repair
            .changes()
            .iter()
            .any(|it| matches!(it, Change::Resynced { controller: Controller::Flannel, .. }))
    };
    let owned =
        case.deviations.iter().filter(|it| matches!(it.aspect, Aspect::OwnedRule | Aspect::OwnedTable));
    let table = Element::iptables_table(place, &drop.tool, &drop.table);
    let mut lost = owned.filter(is_flannels).filter(|it| table.covers(&it.element));
    if let Some(deviation) = lost.next() {
        return deviation.repair.clone();
    }
    let change = Change::IptablesPolicy {
        place: place.clone(),
        tool: drop.tool.clone(),
        table: drop.table.clone(),
        chain: drop.base_chain.clone(),
        policy: "ACCEPT".to_owned(),
    };
    let verify = format!("{} -t {} -S {}", drop.tool, drop.table, drop.base_chain);
    Repair::one(Action::change(change, case.snapshot, Risk::Disruptive, verify))
}
