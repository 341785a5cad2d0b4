//! `HW1301`: the bridge that the node's pods hang on is switched off.

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1301),
    name: "bridge-down",
    summary: "the bridge of the node's pods is down: none of them has a network",
    manual: include_str!("bridge_down.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Link) {
        let parts = deviation.element.parts();
        let (Some(name), [_, link, aspect]) = (deviation.place.as_node(), &parts[..]) else { continue };
        let net = case.snapshot.net(&deviation.place);
        let is_bridge = net.and_then(|it| it.link(link)).is_some_and(|it| it.kind == "bridge");
        if !is_bridge || aspect != "up" {
            continue;
        }
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!("The bridge {link} of node {name} is down: no pod on the node has a network."))
            .because([deviation.evidence()])
            .repaired_by(deviation.repair.clone());
    }
}
