//! Addresses that the API server, flannel and the CNI plugin give.

use hopwise_change::{Change, Controller};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Element, NetNs, Place};
use ipnet::IpNet;

use super::{Aspect, Basis, Deviation, Intent, nodes, pods};

pub(super) fn find(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    for (name, node) in nodes(intent.snapshot) {
        let place = Place::Node(name.clone());
        let net = &node.net;
        wanted(intent, &place, net, "lo", loopback(net), Basis::Default, found);
        if let Some(uplink) = intent.uplinks.get(name) {
            let internal: Vec<_> =
                intent.snapshot.cluster.node(name).into_iter().flat_map(|it| it.internal_ips()).collect();
            let own = uplink.addresses.iter().copied().filter(|it| internal.contains(&it.addr()));
            wanted(intent, &place, net, &uplink.name, own.collect(), Basis::Api, found);
        }
        let Some(flannel) = intent.flannel.get(name) else { continue };
        for device in &flannel.devices {
            let basis = Basis::Controller(Controller::Flannel);
            wanted(intent, &place, net, &device.name, vec![device.address], basis, found);
        }
        if let Some(cni) = &intent.cni {
            let bridge = cni.bridge_device(&flannel.subnet_env);
            wanted(intent, &place, net, &bridge.name, bridge.addresses, Basis::Cni, found);
        }
    }
    for (name, pod) in pods(intent.snapshot) {
        let place = Place::Pod(name.clone());
        wanted(intent, &place, &pod.net, "lo", loopback(&pod.net), Basis::Default, found);
        let Some(object) = intent.snapshot.cluster.pod(name) else { continue };
        let (Some(cni), Some(env)) = (&intent.cni, intent.subnet_env(&pod.node)) else { continue };
        let network = cni.pod_network(env, &object.ips());
        wanted(intent, &place, &pod.net, &network.interface, network.addresses, Basis::Api, found);
    }
}

/// What a loopback interface holds as soon as it is up; IPv6 only where that is not switched off.
fn loopback(net: &NetNs) -> Vec<IpNet> {
    let Some(link) = net.link("lo").filter(|it| it.is_up()) else { return Vec::new() };
    let off = hopwise_snapshot::SysctlKey::of_link(true, &link.name, "disable_ipv6");
    let has_ipv6 = net.sysctls.known().is_some_and(|it| it.values.get(&off).is_some_and(|it| it == "0"));
    let mut all: Vec<IpNet> = vec![IpNet::V4("127.0.0.1/8".parse().expect("a network"))];
    if has_ipv6 {
        all.push(IpNet::V6("::1/128".parse().expect("a network")));
    }
    all
}

/// Addresses that an interface must hold, and the same with another prefix length.
fn wanted(
    intent: &Intent<'_>,
    place: &Place,
    net: &NetNs,
    link: &str,
    expected: Vec<IpNet>,
    basis: Basis,
    found: &mut Vec<Deviation>,
) {
    let (Some(addresses), Some(device)) = (net.addresses.known(), net.link(link)) else { return };
    for address in expected {
        let held = addresses.iter().find(|it| it.link == device.index && it.address.addr() == address.addr());
        if held.is_some_and(|it| it.address == address && it.is_usable()) {
            continue;
        }
        let mut actions = Vec::new();
        let verify = format!("ip addr show dev {link}");
        if let Some(held) = held {
            let change =
                Change::AddressRemoved { place: place.clone(), link: link.to_owned(), address: held.address };
            actions.push(Action::change(change, intent.snapshot, Risk::Disruptive, &*verify));
        }
        let change = Change::AddressAdded { place: place.clone(), link: link.to_owned(), address };
        actions.push(Action::change(change, intent.snapshot, Risk::Additive, verify));
        found.push(Deviation {
            element: Element::address(place, link, &address),
            place: place.clone(),
            aspect: Aspect::Address,
            observed: held.map_or_else(|| "missing".to_owned(), |it| it.address.to_string()),
            expected: address.to_string(),
            basis,
            source: "ip addr".to_owned(),
            repair: Repair { actions },
        });
    }
    strangers(intent, place, link, addresses, device.index, found);
}

/// Addresses that belong to another place by the API server's objects.
fn strangers(
    intent: &Intent<'_>,
    place: &Place,
    link: &str,
    addresses: &[hopwise_snapshot::Address],
    index: hopwise_snapshot::IfIndex,
    found: &mut Vec<Deviation>,
) {
    for held in addresses.iter().filter(|it| it.link == index && !it.address.addr().is_loopback()) {
        let Some(owner) = owner_of(intent, held.address.addr()).filter(|it| it != place) else { continue };
        let change =
            Change::AddressRemoved { place: place.clone(), link: link.to_owned(), address: held.address };
        let verify = format!("ip addr show dev {link}");
        found.push(Deviation {
            element: Element::address(place, link, &held.address),
            place: place.clone(),
            aspect: Aspect::Address,
            observed: format!("{} held here", held.address),
            expected: format!("held by {owner} alone"),
            basis: Basis::Api,
            source: "ip addr".to_owned(),
            repair: Repair::one(Action::change(change, intent.snapshot, Risk::Disruptive, verify)),
        });
    }
}

fn owner_of(intent: &Intent<'_>, address: std::net::IpAddr) -> Option<Place> {
    let cluster = &intent.snapshot.cluster;
    let mut all_pods = cluster.pods.known().into_iter().flatten();
    if let Some(pod) =
        all_pods.find(|it| !it.spec.host_network && it.is_running() && it.ips().contains(&address))
    {
        return Some(Place::Pod(pod.name()));
    }
    let mut all_nodes = cluster.nodes.known().into_iter().flatten();
    all_nodes.find(|it| it.internal_ips().any(|own| own == address)).map(|it| Place::Node(it.name()))
}
