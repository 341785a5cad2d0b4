//! `HW1406`: the API server gives a node an address that is none of its own.

use std::{collections::BTreeSet, net::IpAddr};

use hopwise_dataplane::{BlockerKind, Check};
use hopwise_repair::{Action, Repair};
use hopwise_snapshot::{Element, NodeName, Place};

use crate::{
    case::{Case, listed},
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1406),
    name: "kubelet-wrong-node-ip",
    summary: "kubelet posts an address that the node does not have: logs, exec and the network plugin go astray",
    manual: include_str!("kubelet_wrong_node_ip.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for blocker in case.blockers.keys() {
        let BlockerKind::AddressNotOwn { address } = &blocker.kind else { continue };
        let Some(name) = blocker.place.as_ref().and_then(|it| it.as_node()) else { continue };
        let own = own_addresses(case, name);
        let told = match own.as_slice() {
            [one] => format!(
                "let kubelet post {one}: --node-ip={one} in /var/lib/kubelet/kubeadm-flags.env, and restart it"
            ),
            _ => "let kubelet post the node's own address by --node-ip, and restart it".to_owned(),
        };
        let verify = format!("kubectl get node {name} -o wide");
        suspects
            .report(&CAUSE, blocker.element.clone())
            .says(format!("Node {name} is known by {address}, which none of its interfaces has."))
            .because([Evidence {
                element: blocker.element.clone(),
                observed: address.to_string(),
                expected: if own.is_empty() { "an address of its own".to_owned() } else { listed(&own) },
                source: verify.clone(),
            }])
            .also(gone_astray(case, *address))
            .repaired_by(Repair::one(Action::told(Some(Place::Node(name.clone())), told, verify)));
    }
}

/// What stops flows to an address that is nobody's.
fn gone_astray(case: &Case<'_>, address: IpAddr) -> BTreeSet<Element> {
    let own = case.broken.iter().filter(|(promise, _)| match &promise.check {
        Check::Flow { flow, .. } => flow.to == address,
        _ => false,
    });
    own.flat_map(|(_, blockers)| blockers.iter().map(|it| it.element.clone())).collect()
}

/// The addresses of the interface that a node's default route leaves by.
fn own_addresses(case: &Case<'_>, name: &NodeName) -> Vec<String> {
    let Some(net) = case.snapshot.net(&Place::Node(name.clone())) else { return Vec::new() };
    let routes = net.routes.known().into_iter().flatten();
    let default =
        routes.filter(|it| it.destination.prefix_len() == 0).find_map(|it| it.next_hops.first()?.link);
    let addresses = net.addresses.known().into_iter().flatten();
    let own = addresses.filter(|it| Some(it.link) == default && it.scope == 0 && it.address.addr().is_ipv4());
    own.map(|it| it.address.addr().to_string()).collect()
}
