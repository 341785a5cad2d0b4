//! `HW1504`: the node's tunnel speaks another UDP port than the others'.

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1504),
    name: "overlay-port-mismatch",
    summary: "the node's tunnel speaks another UDP port than the others'",
    manual: include_str!("overlay_port_mismatch.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Tunnel) {
        let parts = deviation.element.parts();
        let (Some(name), [_, device, attribute]) = (deviation.place.as_node(), &parts[..]) else { continue };
        if attribute != "port" {
            continue;
        }
        let (is, should) = (&deviation.observed, &deviation.expected);
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!("The tunnel {device} of node {name} has UDP port {is}, the others have {should}."))
            .because([deviation.evidence()])
            .repaired_by(deviation.repair.clone());
    }
}
