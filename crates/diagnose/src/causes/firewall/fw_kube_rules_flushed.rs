//! `HW1106`: somebody emptied the tables that the cluster's controllers write.

use std::collections::BTreeMap;

use hopwise_repair::Repair;
use hopwise_snapshot::Place;

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::{Aspect, Deviation},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1106),
    name: "fw-kube-rules-flushed",
    summary: "rules that kube-proxy or the network plugin wrote are gone from the node",
    manual: include_str!("fw_kube_rules_flushed.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    let mut by_tool: BTreeMap<(&Place, String), Vec<&Deviation>> = BTreeMap::new();
    for deviation in case.deviating(Aspect::OwnedTable) {
        let tool = deviation.element.parts().into_iter().next().unwrap_or_default();
        by_tool.entry((&deviation.place, tool)).or_default().push(deviation);
    }
    for ((place, tool), deviations) in by_tool {
        let Some(name) = place.as_node() else { continue };
        let mut repair = Repair::default();
        for action in deviations.iter().flat_map(|it| &it.repair.actions) {
            if !repair.actions.iter().any(|it| it.changes == action.changes) {
                repair.actions.push(action.clone());
            }
        }
        suspects
            .report(&CAUSE, deviations[0].element.clone())
            .says(format!("Rules of the cluster's controllers are gone from {tool} on node {name}."))
            .also(deviations.iter().map(|it| it.element.clone()))
            .because(deviations.iter().map(|it| it.evidence()))
            .repaired_by(repair);
    }
}
