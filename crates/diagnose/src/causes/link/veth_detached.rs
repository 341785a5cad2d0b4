//! `HW1302`: a pod's veth pair does not hang on the node's bridge.

use hopwise_snapshot::Place;

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::{Aspect, Basis},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1302),
    name: "veth-detached",
    summary: "a pod's link to its node is down or hangs on no bridge: the pod has no network",
    manual: include_str!("veth_detached.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Link) {
        let parts = deviation.element.parts();
        let [_, link, aspect] = &parts[..] else { continue };
        let Some(net) = case.snapshot.net(&deviation.place) else { continue };
        let Some(pod) = pod_behind(net, link) else { continue };
        let is_node_end = deviation.place.as_node().is_some() && deviation.basis == Basis::Cni;
        if !is_node_end || !matches!(aspect.as_str(), "master" | "up") {
            continue;
        }
        let what = if aspect == "up" { "is down" } else { "hangs on no bridge" };
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!("The link {link} of {pod} {what}: the pod has no network."))
            .because([deviation.evidence()])
            .repaired_by(deviation.repair.clone());
    }
}

/// The pod that a node's link leads to.
fn pod_behind<'a>(net: &'a hopwise_snapshot::NetNs, link: &str) -> Option<&'a Place> {
    let nsid = net.link(link)?.lower_nsid?;
    net.namespaces.known()?.get(&nsid).filter(|it| it.as_pod().is_some())
}
