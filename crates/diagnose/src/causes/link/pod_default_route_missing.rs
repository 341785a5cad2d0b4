//! `HW1308`: a pod has no way out of its own subnet.

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::{Aspect, Basis},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1308),
    name: "pod-default-route-missing",
    summary: "a pod lacks a route by its gateway: it reaches no further than its own subnet",
    manual: include_str!("pod_default_route_missing.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Route) {
        let Some(name) = deviation.place.as_pod() else { continue };
        let is_gone = deviation.observed == "missing" && deviation.basis == Basis::Cni;
        if !is_gone {
            continue;
        }
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!("Pod {name} lacks the route {} by its gateway.", deviation.element.parts()[2]))
            .because([deviation.evidence()])
            .repaired_by(deviation.repair.clone());
    }
}
