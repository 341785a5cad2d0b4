//! `HW1601`: a pod sends packets that are larger than its path takes.

use hopwise_snapshot::Place;

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1601),
    name: "mtu-pod-too-large",
    summary: "packets of the size that the pod's interface allows do not fit their path",
    manual: include_str!("mtu_pod_too_large.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Size) {
        let (Ok(is), Ok(should)) = (deviation.observed.parse::<u32>(), deviation.expected.parse::<u32>())
        else {
            continue;
        };
        let Place::Pod(name) = &deviation.place else { continue };
        if is <= should {
            continue;
        }
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!("Pod {name} may send packets of {is} bytes, and its path takes {should}."))
            .because([deviation.evidence()])
            .repaired_by(deviation.repair.clone());
    }
}
