//! Interfaces: there, up, attached, of the right size, resolving addresses.

use hopwise_change::{Change, Controller};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Element, Link, LinkFlags, NetNs, NodeName, Place, PodName};

use super::{Aspect, Basis, Deviation, Intent, devices, nodes, pods, twins};

pub(super) fn find(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    for (name, node) in nodes(intent.snapshot) {
        let place = Place::Node(name.clone());
        of_node(intent, name, &place, &node.net, found);
    }
    for (name, pod) in pods(intent.snapshot) {
        of_pod(intent, name, &pod.node, &pod.net, found);
    }
}

fn of_node(intent: &Intent<'_>, name: &NodeName, place: &Place, net: &NetNs, found: &mut Vec<Deviation>) {
    if net.links.known().is_none() {
        return;
    }
    up(intent, place, net, "lo", Basis::Default, found);
    if let Some(uplink) = intent.uplinks.get(name) {
        up(intent, place, net, &uplink.name, Basis::Need, found);
        let usual = twins::majority(intent.uplinks.values().map(|it| it.mtu));
        if let Some(usual) = usual {
            mtu(intent, place, net, &uplink.name, usual, Basis::Twins, found);
        }
    }
    for device in intent.flannel.get(name).into_iter().flat_map(|it| &it.devices) {
        let basis = Basis::Controller(Controller::Flannel);
        if net.link(&device.name).is_none() {
            missing(intent, place, &device.name, basis, Some((name, Controller::Flannel)), found);
            continue;
        }
        up(intent, place, net, &device.name, basis, found);
        let expected = expected_tunnel_mtu(intent, name, device.mtu);
        mtu(intent, place, net, &device.name, expected, basis, found);
    }
    let Some(bridge) = intent.bridge() else { return };
    if net.link(bridge).is_some() {
        up(intent, place, net, bridge, Basis::Cni, found);
        if let Some(size) = pod_mtu(intent, name) {
            mtu(intent, place, net, bridge, size, Basis::Cni, found);
        }
    } else if has_pods(intent, name) {
        missing(intent, place, bridge, Basis::Cni, None, found);
    }
}

fn has_pods(intent: &Intent<'_>, node: &NodeName) -> bool {
    pods(intent.snapshot).any(|(_, pod)| pod.node == *node)
}

/// What pods get: what flannel wrote down for the CNI plugin when it started, which stays when an uplink changes.
fn pod_mtu(intent: &Intent<'_>, node: &NodeName) -> Option<u32> {
    let delegate = intent.cni.as_ref()?;
    if let Some(mtu) = delegate.mtu {
        return Some(mtu);
    }
    written_mtu(intent, node).or_else(|| intent.subnet_env(node).map(|it| it.mtu))
}

fn written_mtu(intent: &Intent<'_>, node: &NodeName) -> Option<u32> {
    let node = intent.snapshot.nodes.get(node)?.known()?;
    let file = node.files.get(hopwise_controllers::flannel::SubnetEnv::PATH)?.known()?;
    let text = String::from_utf8_lossy(file.content.bytes()).into_owned();
    hopwise_controllers::flannel::SubnetEnv::parse(&text).ok().map(|it| it.mtu)
}

/// A tunnel made for an uplink of the usual size, whatever the uplink's size is now.
fn expected_tunnel_mtu(intent: &Intent<'_>, node: &NodeName, computed: u32) -> u32 {
    let own = intent.uplinks.get(node).map(|it| it.mtu);
    let usual = twins::majority(intent.uplinks.values().map(|it| it.mtu));
    match (own, usual) {
        (Some(own), Some(usual)) if own != usual => (computed + usual).saturating_sub(own),
        _ => computed,
    }
}

fn of_pod(intent: &Intent<'_>, name: &PodName, node: &NodeName, net: &NetNs, found: &mut Vec<Deviation>) {
    let place = Place::Pod(name.clone());
    if net.links.known().is_none() {
        return;
    }
    up(intent, &place, net, "lo", Basis::Default, found);
    if net.link("eth0").is_none() {
        missing(intent, &place, "eth0", Basis::Cni, None, found);
        return;
    }
    up(intent, &place, net, "eth0", Basis::Cni, found);
    let size = pod_mtu(intent, node);
    if let Some(size) = size {
        mtu(intent, &place, net, "eth0", size, Basis::Cni, found);
    }
    let node_place = Place::Node(node.clone());
    let Some(node_net) = intent.snapshot.net(&node_place) else { return };
    let Some(veth) = node_end(net, node_net, name) else { return };
    let veth_name = veth.name.clone();
    up(intent, &node_place, node_net, &veth_name, Basis::Cni, found);
    if let Some(size) = size {
        mtu(intent, &node_place, node_net, &veth_name, size, Basis::Cni, found);
    }
    attached(intent, &node_place, node_net, veth, found);
}

/// The node's end of a pod's veth pair.
fn node_end<'a>(pod: &NetNs, node: &'a NetNs, name: &PodName) -> Option<&'a Link> {
    let index = pod.link("eth0")?.lower?;
    let link = devices::link_at(node, index)?;
    let nsid = link.lower_nsid?;
    let leads_to_pod = node.namespaces.known()?.get(&nsid) == Some(&Place::Pod(name.clone()));
    leads_to_pod.then_some(link)
}

fn attached(intent: &Intent<'_>, place: &Place, net: &NetNs, veth: &Link, found: &mut Vec<Deviation>) {
    let Some(bridge) = intent.bridge() else { return };
    let master = veth.master.map(|it| devices::name_at(net, it));
    if master.as_deref() == Some(bridge) || net.link(bridge).is_none() {
        return;
    }
    let change =
        Change::LinkMaster { place: place.clone(), link: veth.name.clone(), master: Some(bridge.to_owned()) };
    let mut actions = vec![Action::change(
        change,
        intent.snapshot,
        Risk::Additive,
        format!("bridge link show dev {}", veth.name),
    )];
    if intent.cni.as_ref().is_some_and(|it| it.hairpin) {
        let change = Change::BridgePort {
            place: place.clone(),
            port: veth.name.clone(),
            attribute: "hairpin".to_owned(),
            value: "on".to_owned(),
        };
        let verify = format!("bridge -d link show dev {}", veth.name);
        actions.push(Action::change(change, intent.snapshot, Risk::Additive, verify));
    }
    found.push(Deviation {
        element: devices::aspect(place, &veth.name, "master"),
        place: place.clone(),
        aspect: Aspect::Link,
        observed: master.unwrap_or_else(|| "none".to_owned()),
        expected: bridge.to_owned(),
        basis: Basis::Cni,
        source: "ip link".to_owned(),
        repair: Repair { actions },
    });
}

/// An interface that must be up, and resolve addresses.
fn up(intent: &Intent<'_>, place: &Place, net: &NetNs, name: &str, basis: Basis, found: &mut Vec<Deviation>) {
    let Some(link) = net.link(name) else { return };
    let verify = format!("ip link show dev {name}");
    if !link.is_up() {
        let change = Change::LinkUp { place: place.clone(), link: name.to_owned(), up: true };
        found.push(Deviation {
            element: devices::aspect(place, name, "up"),
            place: place.clone(),
            aspect: Aspect::Link,
            observed: "down".to_owned(),
            expected: "up".to_owned(),
            basis,
            source: "ip link".to_owned(),
            repair: Repair::one(Action::change(change, intent.snapshot, Risk::Additive, &*verify)),
        });
    }
    if link.flags.contains(LinkFlags::NOARP) && !link.is_loopback() {
        let change = Change::LinkArp { place: place.clone(), link: name.to_owned(), on: true };
        found.push(Deviation {
            element: devices::aspect(place, name, "arp"),
            place: place.clone(),
            aspect: Aspect::Link,
            observed: "off".to_owned(),
            expected: "on".to_owned(),
            basis,
            source: "ip link".to_owned(),
            repair: Repair::one(Action::change(change, intent.snapshot, Risk::Additive, verify)),
        });
    }
}

fn mtu(
    intent: &Intent<'_>,
    place: &Place,
    net: &NetNs,
    name: &str,
    expected: u32,
    basis: Basis,
    found: &mut Vec<Deviation>,
) {
    let Some(link) = net.link(name).filter(|it| it.mtu != expected) else { return };
    let change = Change::LinkMtu { place: place.clone(), link: name.to_owned(), mtu: expected };
    let verify = format!("ip link show dev {name}");
    found.push(Deviation {
        element: devices::aspect(place, name, "mtu"),
        place: place.clone(),
        aspect: Aspect::Size,
        observed: link.mtu.to_string(),
        expected: expected.to_string(),
        basis,
        source: "ip link".to_owned(),
        repair: Repair::one(Action::change(change, intent.snapshot, Risk::Disruptive, verify)),
    });
}

/// An interface that is not there. A controller makes its own anew; what the CNI plugin made comes with a new pod.
fn missing(
    intent: &Intent<'_>,
    place: &Place,
    name: &str,
    basis: Basis,
    owner: Option<(&NodeName, Controller)>,
    found: &mut Vec<Deviation>,
) {
    let verify = format!("ip link show dev {name}");
    let repair = match (owner, place) {
        (Some((node, controller)), _) => {
            let change = Change::Resynced { node: node.clone(), controller };
            Repair::one(Action::change(change, intent.snapshot, Risk::Restart, verify))
        }
        (None, Place::Pod(pod)) => recreated(intent, [pod], &verify),
        (None, Place::Node(node)) => {
            let of_node = pods(intent.snapshot).filter(|(_, pod)| pod.node == *node);
            recreated(intent, of_node.map(|(name, _)| name), &verify)
        }
    };
    found.push(Deviation {
        element: Element::link(place, name),
        place: place.clone(),
        aspect: Aspect::Link,
        observed: "missing".to_owned(),
        expected: "present".to_owned(),
        basis,
        source: "ip link".to_owned(),
        repair,
    });
}

fn recreated<'a>(intent: &Intent<'_>, pods: impl IntoIterator<Item = &'a PodName>, verify: &str) -> Repair {
    let action = |pod: &PodName| {
        let change = Change::PodRecreated { pod: pod.clone() };
        Action::change(change, intent.snapshot, Risk::Restart, verify)
    };
    Repair { actions: pods.into_iter().map(action).collect() }
}
