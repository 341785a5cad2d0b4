//! `HW1402`: a node has no route to another node's pods.

use hopwise_change::Controller;

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::{Aspect, Basis},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1402),
    name: "node-route-missing",
    summary: "the node has no route to the pods of another node",
    manual: include_str!("node_route_missing.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Route) {
        let is_gone =
            deviation.observed == "missing" && deviation.basis == Basis::Controller(Controller::Flannel);
        let Some(name) = deviation.place.as_node().filter(|_| is_gone) else { continue };
        let range = deviation.element.parts()[2].clone();
        let owner = owner(case, &range).map_or_else(String::new, |it| format!(" of node {it}"));
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!("Node {name} has no route to {range}, the pods{owner}."))
            .because([deviation.evidence()])
            .repaired_by(deviation.repair.clone());
    }
}

/// The node whose pods have addresses of this range.
fn owner(case: &Case<'_>, range: &str) -> Option<String> {
    let mut nodes = case.snapshot.cluster.nodes.known()?.iter();
    let owner = nodes.find(|it| it.pod_cidrs().iter().any(|cidr| cidr.to_string() == range))?;
    Some(owner.metadata.name.clone())
}
