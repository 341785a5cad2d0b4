//! Files of nodes and pods.

use hopwise_snapshot::Element;

use crate::fault::{Fault, Kind, Scene};

/// Where resolvers look.
const RESOLV_CONF: &str = "/etc/resolv.conf";

pub(super) static KINDS: &[Kind] = &[
    Kind { name: "a node has no name server", make: node_emptied },
    Kind { name: "a node asks nobody", make: node_elsewhere },
    Kind { name: "a pod has no name server", make: pod_emptied },
    Kind { name: "a pod asks somebody else", make: pod_elsewhere },
];

fn node_emptied(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    Some(Fault::new(&place, "echo > /etc/resolv.conf", Element::file(&place, RESOLV_CONF)))
}

fn node_elsewhere(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let server = scene.one_of(&["127.0.0.53", "192.168.50.11"])?;
    let command = format!("echo nameserver {server} > /etc/resolv.conf");
    Some(Fault::new(&place, command, Element::file(&place, RESOLV_CONF)))
}

fn pod_emptied(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_pod();
    Some(Fault::new(&place, "echo > /etc/resolv.conf", Element::file(&place, RESOLV_CONF)))
}

fn pod_elsewhere(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_pod();
    let server = scene.one_of(&["127.0.0.1", "10.244.0.1", "203.0.113.53"])?;
    let command = format!("echo nameserver {server} > /etc/resolv.conf");
    Some(Fault::new(&place, command, Element::file(&place, RESOLV_CONF)))
}
