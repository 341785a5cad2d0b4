//! `HW1004`: bridged packets pass the packet filter by.

use crate::{
    case::{Case, missing_file},
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1004),
    name: "node-bridge-nf-call-off",
    summary: "answers between pods of one node are bridged past the translation that a Service needs",
    manual: include_str!("node_bridge_nf_call_off.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Switch) {
        let is_call =
            deviation.element.parts().get(1).is_some_and(|it| it.starts_with("net.bridge.bridge-nf-call-ip"));
        let Some(name) = deviation.place.as_node().filter(|_| is_call) else { continue };
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!(
                "Node {name} bridges answers between its pods past the translation that Services need."
            ))
            .because([deviation.evidence()])
            .since(missing_file(case, name, "/etc/sysctl.d/k8s.conf"))
            .repaired_by(deviation.repair.clone());
    }
}
