//! `HW2004`: a node lost its name servers, and so do the pods that copy its file.

use hopwise_snapshot::Observed;

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::{Aspect, Deviation},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(2004),
    name: "node-resolvconf-empty",
    summary: "the node's resolv.conf names no server: it resolves nothing, nor do pods that copied the file",
    manual: include_str!("node_resolvconf_empty.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    let is_empty = |it: &&Deviation| it.observed == "no name server";
    for deviation in case.deviating(Aspect::Resolver).filter(is_empty) {
        let Some(name) = deviation.place.as_node() else { continue };
        let copies: Vec<&Deviation> = case
            .deviating(Aspect::Resolver)
            .filter(is_empty)
            .filter(|it| {
                let pod =
                    it.place.as_pod().and_then(|pod| case.snapshot.pods.get(pod)).and_then(Observed::known);
                pod.is_some_and(|pod| pod.node == *name)
            })
            .collect();
        let mut repair = deviation.repair.clone();
        repair.actions.extend(copies.iter().flat_map(|it| it.repair.actions.clone()));
        let pods: Vec<String> = copies.iter().map(|it| it.place.to_string()).collect();
        let with = if pods.is_empty() { String::new() } else { format!(", and so did {}", pods.join(", ")) };
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!("Node {name} lost its name servers{with}."))
            .also(copies.iter().map(|it| it.element.clone()))
            .because([deviation.evidence()])
            .because(copies.iter().map(|it| it.evidence()))
            .repaired_by(repair);
    }
}
