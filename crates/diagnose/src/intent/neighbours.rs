//! Neighbour entries and forwarding databases.

use std::collections::BTreeMap;

use hopwise_change::{Change, Controller};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Element, FdbState, Mac, NetNs, NodeName, Place};

use super::{Aspect, Basis, Deviation, Intent, devices, nodes, pods};

pub(super) fn find(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    let owners = owners(intent);
    for (name, node) in nodes(intent.snapshot) {
        let place = Place::Node(name.clone());
        of_flannel(intent, name, &place, &node.net, found);
        strangers(intent, &place, &node.net, &owners, found);
        static_stations(intent, &place, &node.net, found);
    }
    for (name, pod) in pods(intent.snapshot) {
        strangers(intent, &Place::Pod(name.clone()), &pod.net, &owners, found);
    }
}

/// The Ethernet address of the interface that holds an address, for every address that one place alone holds.
fn owners(intent: &Intent<'_>) -> BTreeMap<std::net::IpAddr, Vec<Mac>> {
    let of_nodes = nodes(intent.snapshot).map(|(_, it)| &it.net);
    let of_pods = pods(intent.snapshot).map(|(_, it)| &it.net);
    let mut owners: BTreeMap<std::net::IpAddr, Vec<Mac>> = BTreeMap::new();
    for net in of_nodes.chain(of_pods) {
        for held in net.addresses.known().into_iter().flatten() {
            let address = held.address.addr();
            let is_own = address.is_loopback() || held.scope == 253;
            if let (false, Some(mac)) = (is_own, devices::link_at(net, held.link).and_then(|it| it.mac)) {
                owners.entry(address).or_default().push(mac);
            }
        }
    }
    owners
}

/// The entries that flannel keeps for every other node.
fn of_flannel(intent: &Intent<'_>, node: &NodeName, place: &Place, net: &NetNs, found: &mut Vec<Deviation>) {
    let Some(flannel) = intent.flannel.get(node) else { return };
    for wanted in &flannel.neighbours {
        let (Some(neighbours), Some(link)) = (net.neighbours.known(), net.link(&wanted.device)) else {
            continue;
        };
        if !devices::takes(net, link, wanted.address.is_ipv6()) {
            continue;
        }
        let entry =
            neighbours.iter().find(|it| it.link == link.index && it.address == wanted.address && !it.proxy);
        let is_right = entry.is_some_and(|it| it.mac == Some(wanted.mac) && it.state.is_valid());
        if is_right {
            continue;
        }
        let change = Change::NeighbourReplaced {
            place: place.clone(),
            link: wanted.device.clone(),
            address: wanted.address,
            mac: wanted.mac,
        };
        let verify = format!("ip neigh show dev {}", wanted.device);
        let observed = entry.and_then(|it| it.mac).map_or_else(|| "missing".to_owned(), |it| it.to_string());
        found.push(Deviation {
            element: Element::neighbour(place, &wanted.device, wanted.address),
            place: place.clone(),
            aspect: Aspect::Neighbour,
            observed,
            expected: wanted.mac.to_string(),
            basis: Basis::Controller(Controller::Flannel),
            source: "ip neigh".to_owned(),
            repair: Repair::one(Action::change(change, intent.snapshot, Risk::Additive, verify)),
        });
    }
    for wanted in &flannel.fdb {
        let (Some(fdb), Some(link)) = (net.fdb.known(), net.link(&wanted.device)) else { continue };
        if !link.is_up() {
            continue;
        }
        let entry = fdb.iter().find(|it| it.link == link.index && it.mac == wanted.mac && it.on_device);
        let is_right = entry.is_some_and(|it| {
            it.remote == Some(wanted.remote) && it.vni.is_none() && it.port.is_none() && it.via.is_none()
        });
        if is_right {
            continue;
        }
        let change = Change::FdbReplaced {
            place: place.clone(),
            link: wanted.device.clone(),
            mac: wanted.mac,
            remote: Some(wanted.remote),
        };
        let observed =
            entry.and_then(|it| it.remote).map_or_else(|| "missing".to_owned(), |it| format!("dst {it}"));
        found.push(Deviation {
            element: Element::fdb(place, &wanted.device, wanted.mac),
            place: place.clone(),
            aspect: Aspect::Fdb,
            observed,
            expected: format!("dst {}", wanted.remote),
            basis: Basis::Controller(Controller::Flannel),
            source: format!("bridge fdb show dev {}", wanted.device),
            repair: Repair::one(Action::change(
                change,
                intent.snapshot,
                Risk::Additive,
                format!("bridge fdb show dev {}", wanted.device),
            )),
        });
    }
}

/// Entries that the kernel would use and that name another Ethernet address than the holder's.
fn strangers(
    intent: &Intent<'_>,
    place: &Place,
    net: &NetNs,
    owners: &BTreeMap<std::net::IpAddr, Vec<Mac>>,
    found: &mut Vec<Deviation>,
) {
    for entry in net.neighbours.known().into_iter().flatten() {
        let link = devices::name_at(net, entry.link);
        let is_flannels = devices::link_at(net, entry.link).is_some_and(|it| it.kind == "vxlan");
        if is_flannels
            && intent.flannel.values().any(|it| it.neighbours.iter().any(|n| n.address == entry.address))
        {
            continue;
        }
        let Some(mac) = entry.mac.filter(|_| entry.state.is_valid() && !entry.proxy) else { continue };
        let learned = learned_elsewhere(intent, place, entry.address);
        let right: Vec<Mac> = owners.get(&entry.address).cloned().unwrap_or(learned);
        // Bridges and their ports share an address in the eyes of others.
        if right.is_empty() || right.contains(&mac) {
            continue;
        }
        let change =
            Change::NeighbourRemoved { place: place.clone(), link: link.clone(), address: entry.address };
        found.push(Deviation {
            element: Element::neighbour(place, &link, entry.address),
            place: place.clone(),
            aspect: Aspect::Neighbour,
            observed: format!("{mac} {}", entry.state.word()),
            expected: right[0].to_string(),
            basis: Basis::Twins,
            source: "ip neigh".to_owned(),
            repair: Repair::one(Action::change(
                change,
                intent.snapshot,
                Risk::Additive,
                format!("ip neigh show {} dev {link}", entry.address),
            )),
        });
    }
}

/// What other nodes learned of a station that is none of the cluster's.
fn learned_elsewhere(intent: &Intent<'_>, place: &Place, address: std::net::IpAddr) -> Vec<Mac> {
    let others = nodes(intent.snapshot).filter(|(name, _)| Place::Node((*name).clone()) != *place);
    let entries = others.flat_map(|(_, it)| it.net.neighbours.known().into_iter().flatten());
    let learned = entries.filter(|it| {
        it.address == address
            && it.state.is_valid()
            && it.state != hopwise_snapshot::NeighbourState::Permanent
    });
    learned.filter_map(|it| it.mac).collect()
}

/// Entries of a bridge that somebody set: no controller of the cluster does.
fn static_stations(intent: &Intent<'_>, place: &Place, net: &NetNs, found: &mut Vec<Deviation>) {
    for entry in net.fdb.known().into_iter().flatten() {
        let Some(link) = devices::link_at(net, entry.link) else { continue };
        let is_set = entry.state == FdbState::Static
            || (entry.state == FdbState::Permanent
                && link.mac != Some(entry.mac)
                && !entry.mac.is_multicast());
        let is_own = net.links.known().into_iter().flatten().any(|it| it.mac == Some(entry.mac));
        if entry.on_device || !is_set || is_own || link.master.is_none() {
            continue;
        }
        let change = Change::FdbRemoved { place: place.clone(), link: link.name.clone(), mac: entry.mac };
        found.push(Deviation {
            element: Element::fdb(place, &link.name, entry.mac),
            place: place.clone(),
            aspect: Aspect::Fdb,
            observed: "set by hand".to_owned(),
            expected: "learned".to_owned(),
            basis: Basis::Default,
            source: "bridge fdb".to_owned(),
            repair: Repair::one(Action::change(change, intent.snapshot, Risk::Additive, "bridge fdb show")),
        });
    }
}
