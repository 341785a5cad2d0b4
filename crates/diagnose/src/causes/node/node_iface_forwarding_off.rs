//! `HW1002`: one interface does not forward although the node does.

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1002),
    name: "node-iface-forwarding-off",
    summary: "one interface drops every packet that is not for the node, although the node forwards",
    manual: include_str!("node_iface_forwarding_off.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Switch) {
        let parts = deviation.element.parts();
        let (Some(name), Some(link)) = (deviation.place.as_node(), link_of(parts.get(1))) else { continue };
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!(
                "Node {name} drops what comes in by {link} and is not for itself, although it forwards."
            ))
            .because([deviation.evidence()])
            .repaired_by(deviation.repair.clone());
    }
}

/// The interface in `net.ipv4.conf.LINK.forwarding`, `all` excepted.
fn link_of(key: Option<&String>) -> Option<&str> {
    let link = key?.strip_prefix("net.ipv4.conf.")?.strip_suffix(".forwarding")?;
    (link != "all" && link != "default").then_some(link)
}
