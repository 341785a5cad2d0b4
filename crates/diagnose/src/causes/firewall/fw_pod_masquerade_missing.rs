//! `HW1108`: pods' packets leave the cluster with an address that nobody outside can answer.

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1108),
    name: "fw-pod-masquerade-missing",
    summary: "pods' packets leave the cluster untranslated, and answers find no way back",
    manual: include_str!("fw_pod_masquerade_missing.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::OwnedRule) {
        let is_masquerade =
            deviation.expected.contains("-j MASQUERADE") || deviation.expected.contains("-j FLANNEL-POSTRTG");
        let Some(name) = deviation.place.as_node().filter(|_| is_masquerade) else { continue };
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!(
                "Node {name} lets pods' packets out with addresses that nobody outside can answer."
            ))
            .because([deviation.evidence()])
            .repaired_by(deviation.repair.clone());
    }
}
