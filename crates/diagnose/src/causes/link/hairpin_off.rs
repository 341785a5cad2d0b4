//! `HW1306`: a bridge port does not send a frame back by the way it came.

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1306),
    name: "hairpin-off",
    summary: "a pod cannot reach itself through its own Service",
    manual: include_str!("hairpin_off.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::BridgePort) {
        let parts = deviation.element.parts();
        let [_, bridge, _, port, attribute] = &parts[..] else { continue };
        if attribute != "hairpin" {
            continue;
        }
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!("The port {port} of {bridge} sends nothing back to its own pod: it cannot reach itself by its Service."))
            .because([deviation.evidence()])
            .repaired_by(deviation.repair.clone());
    }
}
