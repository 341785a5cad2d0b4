//! Addresses that the API server, flannel and the CNI plugin give.

use std::net::IpAddr;

use hopwise_change::{Change, Controller, RouteSpec, route_spec};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Address, Element, LinkDetail, NetNs, NodeObject, Place, Service, protocols};
use ipnet::IpNet;

use super::{Aspect, Basis, Deviation, Intent, devices, nodes, pods};

pub(super) fn find(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    for (name, node) in nodes(intent.snapshot) {
        let place = Place::Node(name.clone());
        let net = &node.net;
        wanted(intent, &place, net, "lo", loopback(net), Basis::Default, found);
        if let Some(uplink) = intent.uplinks.get(name) {
            let internal: Vec<_> =
                intent.snapshot.cluster.node(name).into_iter().flat_map(NodeObject::internal_ips).collect();
            let own = uplink.addresses.iter().copied().filter(|it| internal.contains(&it.addr()));
            if !speaks_by_another(net, &internal) {
                wanted(intent, &place, net, &uplink.name, own.collect(), Basis::Api, found);
            }
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
    for (name, node) in nodes(intent.snapshot) {
        strangers(intent, &Place::Node(name.clone()), &node.net, found);
    }
    for (name, pod) in pods(intent.snapshot) {
        let place = Place::Pod(name.clone());
        wanted(intent, &place, &pod.net, "lo", loopback(&pod.net), Basis::Default, found);
        let Some(object) = intent.snapshot.cluster.pod(name) else { continue };
        let (Some(cni), Some(env)) = (&intent.cni, intent.subnet_env(&pod.node)) else { continue };
        let network = cni.pod_network(env, &object.ips());
        wanted(intent, &place, &pod.net, &network.interface, network.addresses, Basis::Api, found);
        strangers(intent, &place, &pod.net, found);
    }
}

/// Do a node's tunnels end at an address that it has, and that the API server does not give it? Then the API server errs,
/// and no address is missing.
fn speaks_by_another(net: &NetNs, internal: &[IpAddr]) -> bool {
    let held: Vec<IpAddr> = net.addresses.known().into_iter().flatten().map(|it| it.address.addr()).collect();
    let mut ends = net.links.known().into_iter().flatten().filter_map(|it| match &it.detail {
        LinkDetail::Vxlan(vxlan) => vxlan.local,
        _ => None,
    });
    !internal.iter().any(|it| held.contains(it)) && ends.any(|it| held.contains(&it))
}

/// What a loopback interface holds as soon as it is up; IPv6 only where that is not switched off.
fn loopback(net: &NetNs) -> Vec<IpNet> {
    let Some(link) = net.link("lo").filter(|it| it.is_up()) else { return Vec::new() };
    let has_ipv6 = net.sysctls.known().is_some() && devices::takes(net, link, true);
    let mut all: Vec<IpNet> = vec![IpNet::V4("127.0.0.1/8".parse().expect("a network"))];
    if has_ipv6 {
        all.push(IpNet::V6("::1/128".parse().expect("a network")));
    }
    all
}

/// Addresses that an interface must hold, and the same with another prefix length.
#[expect(clippy::needless_pass_by_value, reason = "the callers make the list for this alone")]
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
    let held: Vec<&Address> = addresses.iter().filter(|it| it.link == device.index).collect();
    // The API server, flannel and the CNI plugin give an interface one address a family; a person's may have more.
    let uplink = place.as_node().and_then(|it| intent.uplinks.get(it));
    let has_only_these = basis != Basis::Default && uplink.is_none_or(|it| it.name != link);
    for is_ipv6 in [false, true] {
        // An interface that is switched off loses its IPv6 addresses: that is no fault of its own.
        if is_ipv6 && !devices::takes(net, device, true) {
            continue;
        }
        let expected: Vec<IpNet> =
            expected.iter().copied().filter(|it| it.addr().is_ipv6() == is_ipv6).collect();
        let is_there = |wanted: &IpNet| held.iter().any(|it| it.address == *wanted && it.is_usable());
        let missing: Vec<IpNet> = expected.iter().copied().filter(|it| !is_there(it)).collect();
        let is_wrong = |it: &&&Address| {
            let own = it.address;
            own.addr().is_ipv6() == is_ipv6
                && it.scope == 0
                && !expected.contains(&own)
                && (expected.iter().any(|it| it.addr() == own.addr())
                    || (has_only_these && !expected.is_empty())
                    || is_foreign(intent, place, link, own.addr()))
        };
        let wrong: Vec<IpNet> = held.iter().filter(is_wrong).map(|it| it.address).collect();
        if missing.is_empty() && wrong.is_empty() {
            continue;
        }
        found.push(deviation(intent, place, net, link, &missing, &wrong, basis));
    }
}

/// What is missing and what is too much on an interface: one change put both wrong.
fn deviation(
    intent: &Intent<'_>,
    place: &Place,
    net: &NetNs,
    link: &str,
    missing: &[IpNet],
    wrong: &[IpNet],
    basis: Basis,
) -> Deviation {
    let verify = format!("ip addr show dev {link}");
    let mut actions = Vec::new();
    let mut add = |change: Change, risk: Risk| {
        actions.push(Action::change(change, intent.snapshot, risk, &*verify));
    };
    for address in wrong {
        let (place, link) = (place.clone(), link.to_owned());
        add(Change::AddressRemoved { place, link, address: *address }, Risk::Disruptive);
    }
    for address in missing {
        let (place, link) = (place.clone(), link.to_owned());
        add(Change::AddressAdded { place, link, address: *address }, Risk::Additive);
    }
    // With an interface's last address go the routes over it.
    if !wrong.is_empty() {
        for route in routes_over(net, link, wrong[0].addr().is_ipv6()) {
            add(Change::RouteReplaced { place: place.clone(), route }, Risk::Additive);
        }
    }
    let list = |all: &[IpNet]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (observed, expected) = match (missing, wrong) {
        (missing, []) => ("missing".to_owned(), list(missing)),
        ([], wrong) => (list(wrong), "no such address".to_owned()),
        (missing, wrong) => (list(wrong), list(missing)),
    };
    Deviation {
        element: Element::address(place, link, missing.first().unwrap_or_else(|| &wrong[0])),
        place: place.clone(),
        aspect: Aspect::Address,
        observed,
        expected,
        basis,
        source: "ip addr".to_owned(),
        repair: Repair { actions },
    }
}

/// The routes over an interface that its addresses do not bring.
fn routes_over(net: &NetNs, link: &str, is_ipv6: bool) -> Vec<RouteSpec> {
    let Some(index) = net.link(link).map(|it| it.index) else { return Vec::new() };
    let routes = net.routes.known().into_iter().flatten();
    let own = routes.filter(|it| {
        it.protocol != protocols::KERNEL
            && it.destination.addr().is_ipv6() == is_ipv6
            && it.next_hops.iter().any(|hop| hop.link == Some(index))
    });
    own.map(|it| route_spec(net, it)).collect()
}

/// Interfaces that nobody of the cluster gives addresses to, holding some that are another's.
fn strangers(intent: &Intent<'_>, place: &Place, net: &NetNs, found: &mut Vec<Deviation>) {
    let links = net.links.known().into_iter().flatten();
    for link in links {
        let held = net.addresses.known().into_iter().flatten().filter(|it| it.link == link.index);
        for address in held.map(|it| it.address).filter(|it| is_foreign(intent, place, &link.name, it.addr()))
        {
            let is_said = found.iter().any(|it| {
                it.aspect == Aspect::Address
                    && it.place == *place
                    && it.repair.changes().iter().any(
                        |it| matches!(it, Change::AddressRemoved { address: said, .. } if *said == address),
                    )
            });
            if !is_said {
                found.push(deviation(intent, place, net, &link.name, &[], &[address], Basis::Api));
            }
        }
    }
}

/// Does the address belong to another place, to the pods' range of another node, or to a Service? kube-proxy in mode IPVS
/// holds those of Services on an interface of its own.
fn is_foreign(intent: &Intent<'_>, place: &Place, link: &str, address: IpAddr) -> bool {
    if address.is_loopback() {
        return false;
    }
    let services = intent.snapshot.cluster.services.known().into_iter().flatten();
    let is_services = services.flat_map(Service::cluster_ips).any(|it| it == address);
    let is_others = if let Some(owner) = intent.snapshot.cluster.owner_of(address) {
        owner != *place
    } else {
        let mut all_nodes = intent.snapshot.cluster.nodes.known().into_iter().flatten();
        let owner = all_nodes.find(|it| it.pod_cidrs().iter().any(|range| range.contains(&address)));
        owner.is_some_and(|it| Some(it.name()) != intent.snapshot.node_of(place))
    };
    is_others || (is_services && link != "kube-ipvs0" && link != "nodelocaldns")
}
