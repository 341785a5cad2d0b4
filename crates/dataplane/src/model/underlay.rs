//! What lies between the nodes: assumed to work where packets did not show otherwise, because its state cannot be read.
//!
//! The assumption is one Ethernet segment that carries every frame between the nodes' uplinks, and a gateway
//! on it that forwards to the nodes and to the outside and knows no way back to pod addresses. Stations that
//! are no node's (the gateway among them) are believed to be there as long as there is evidence for it in
//! the nodes' own state.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hopwise_dns::ResolvConf;
use hopwise_snapshot::{
    IfIndex, Mac, NeighbourState, NodeName, Observed, OutsideTarget, RouteKind, Snapshot,
};
use ipnet::IpNet;

use super::{
    Network, Peer, PlaceId,
    losses::{Loss, Lost, losses},
    stack::Stack,
};
use crate::packet::Packet;

/// The IP protocol number of UDP.
const UDP: u8 = 17;

/// The underlay, as far as the nodes' state tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Underlay {
    /// The interfaces that lead into it.
    pub(crate) uplinks: Vec<(PlaceId, IfIndex)>,
    /// Stations that are no node's and are believed to answer, with the Ethernet address that nodes learned.
    stations: BTreeMap<IpAddr, Option<Mac>>,
    /// Addresses outside that are promised to be reachable.
    outside: BTreeSet<IpAddr>,
    /// What those hosts serve: address, IP protocol, port.
    outside_ports: BTreeSet<(IpAddr, u8, u16)>,
    /// Hosts that the cluster could not work without: endpoints of Services, and the name servers of most nodes.
    relied_on: BTreeSet<IpAddr>,
    /// The cluster's own ranges, which nobody outside knows a way to.
    cluster_ranges: Vec<IpNet>,
    /// What each uplink shows to the others. Two networks with equal faces are equal to each other's nodes.
    faces: Vec<Face>,
    /// What packets showed to get lost.
    losses: Vec<Loss>,
}

/// What an uplink shows to the other stations between the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Face {
    place: PlaceId,
    link: IfIndex,
    mac: Option<Mac>,
    is_up: bool,
    addresses: Vec<IpAddr>,
}

impl Underlay {
    pub(super) fn new(network: &Network, snapshot: &Snapshot) -> Self {
        let mut underlay = Self::default();
        for (id, stack) in network.stacks().filter(|(_, stack)| stack.place.as_node().is_some()) {
            for link in stack.links.known().into_iter().flat_map(BTreeMap::values) {
                if network.peer(id, link) == Peer::Underlay {
                    underlay.uplinks.push((id, link.index));
                }
            }
        }
        underlay.faces = underlay.uplinks.iter().filter_map(|(id, link)| face(network, *id, *link)).collect();
        underlay.cluster_ranges = cluster_ranges(snapshot);
        underlay.outside = snapshot.outside.iter().map(|it| it.address).collect();
        let port = |it: &OutsideTarget| (it.address, it.protocol.number(), it.port);
        underlay.outside_ports = snapshot.outside.iter().map(port).collect();
        underlay.relied_on = relied_on(snapshot);
        underlay.losses = losses(snapshot);
        underlay.find_stations(network, &node_addresses(snapshot));
        underlay
    }

    /// Finds the stations that are no node's. A node whose own addresses nobody read is a node all the same.
    fn find_stations(&mut self, network: &Network, nodes: &BTreeSet<IpAddr>) {
        let mut learned: BTreeMap<IpAddr, BTreeMap<Mac, u32>> = BTreeMap::new();
        let mut refused: BTreeSet<IpAddr> = BTreeSet::new();
        let mut gateways: BTreeMap<IpAddr, u32> = BTreeMap::new();
        let mut n_nodes = 0;
        for (id, stack) in network.stacks().filter(|(_, stack)| stack.place.as_node().is_some()) {
            n_nodes += 1;
            for gateway in self.default_gateways(id, stack) {
                *gateways.entry(gateway).or_default() += 1;
            }
            for entry in stack.neighbours.known().into_iter().flat_map(BTreeMap::values) {
                // The nodes answer for themselves.
                let is_face = self.faces.iter().any(|it| it.addresses.contains(&entry.address));
                let is_nodes = is_face || nodes.contains(&entry.address);
                if is_nodes || !self.uplinks.contains(&(id, entry.link)) {
                    continue;
                }
                match (entry.state, entry.mac) {
                    (NeighbourState::Failed | NeighbourState::Incomplete, _) => {
                        refused.insert(entry.address);
                    }
                    (NeighbourState::Permanent | NeighbourState::NoArp | NeighbourState::None, _)
                    | (_, None) => {}
                    (_, Some(mac)) => *learned.entry(entry.address).or_default().entry(mac).or_default() += 1,
                }
            }
        }
        for (address, macs) in learned {
            // The address that most nodes learned; the lowest among equals, so that the choice is stable.
            let best =
                macs.iter().max_by_key(|(mac, n)| (**n, std::cmp::Reverse(**mac))).map(|(mac, _)| *mac);
            self.stations.insert(address, best);
        }
        for (gateway, n) in gateways {
            if n * 2 >= n_nodes && !refused.contains(&gateway) {
                self.stations.entry(gateway).or_insert(None);
            }
        }
    }

    /// The gateways of a node's default routes that leave by an uplink.
    fn default_gateways(&self, id: PlaceId, stack: &Stack) -> BTreeSet<IpAddr> {
        let defaults = [&stack.fib4, &stack.fib6].into_iter().flat_map(|fib| &fib.routes);
        let defaults =
            defaults.filter(|it| it.destination.prefix_len() == 0 && it.kind == RouteKind::Unicast);
        let hops = defaults.flat_map(|it| &it.next_hops);
        let uplinked = hops.filter(|it| it.link.is_some_and(|link| self.uplinks.contains(&(id, link))));
        uplinked.filter_map(|it| it.via).collect()
    }

    /// What is known to lose a packet on its way from one node to another.
    pub(crate) fn loss(&self, from: &NodeName, to: &NodeName, packet: &Packet) -> Option<&Loss> {
        let is_lost = |it: &&Loss| match it.what {
            Lost::UdpPort(port) => packet.protocol() == UDP && packet.ports().1 == port,
            Lost::Udp => packet.protocol() == UDP,
            Lost::All => true,
            Lost::Large(size) => packet.length >= size,
        };
        let of_way = self.losses.iter().filter(|it| it.from == *from && it.to == *to);
        of_way.filter(|it| it.is_ipv6 == packet.is_ipv6()).find(is_lost)
    }

    /// Is there reason to believe that this host outside answers?
    pub(crate) fn is_believed_outside(&self, address: IpAddr) -> bool {
        self.has_station(address) || self.relied_on.contains(&address)
    }

    /// Is a station with this address, which is no node's, believed to be on the segment?
    pub(crate) fn has_station(&self, address: IpAddr) -> bool {
        self.stations.contains_key(&address) || self.outside.contains(&address)
    }

    /// The Ethernet address that nodes learned of a station that is no node's.
    pub(crate) fn station_mac(&self, address: IpAddr) -> Option<Mac> {
        self.stations.get(&address).copied().flatten()
    }

    /// Is this an Ethernet address that nodes learned of some station that is no node's?
    pub(crate) fn is_station_mac(&self, mac: Mac) -> bool {
        self.stations.values().any(|it| *it == Some(mac))
    }

    /// The cluster's own range that an address lies in.
    pub(crate) fn cluster_range_of(&self, address: IpAddr) -> Option<IpNet> {
        self.cluster_ranges.iter().copied().find(|it| it.contains(&address))
    }

    /// Does a host outside serve this port? None where nothing is known of it.
    pub(crate) fn serves(&self, address: IpAddr, protocol: u8, port: u16) -> Option<bool> {
        if !self.outside.contains(&address) {
            return None;
        }
        Some(self.outside_ports.contains(&(address, protocol, port)))
    }

    /// Is it the same for those who send through it?
    pub(crate) fn looks_like(&self, other: &Self) -> bool {
        self.faces == other.faces && self.stations == other.stations
    }
}

fn face(network: &Network, place: PlaceId, link: IfIndex) -> Option<Face> {
    let stack = network.stack(place).ok()?;
    let device = stack.link(link)?;
    let addresses = stack.addresses.known().into_iter().flatten().map(|it| it.address.addr()).collect();
    Some(Face { place, link, mac: device.mac, is_up: device.is_up(), addresses })
}

/// The addresses that the API server's objects give to nodes.
fn node_addresses(snapshot: &Snapshot) -> BTreeSet<IpAddr> {
    let nodes = snapshot.cluster.nodes.known().into_iter().flatten();
    nodes.flat_map(hopwise_snapshot::NodeObject::internal_ips).collect()
}

/// Hosts outside that the cluster could not work without: endpoints of Services, and the name servers of most nodes.
fn relied_on(snapshot: &Snapshot) -> BTreeSet<IpAddr> {
    let slices = snapshot.cluster.endpoint_slices.known().into_iter().flatten();
    let addresses = slices.flat_map(|it| &it.endpoints).flat_map(|it| &it.addresses);
    let mut hosts: BTreeSet<IpAddr> = addresses.filter_map(|it| it.parse().ok()).collect();
    let mut servers: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let mut n_nodes = 0;
    for node in snapshot.nodes.values().filter_map(Observed::known) {
        n_nodes += 1;
        let Some(Observed::Known(file)) = node.files.get("/etc/resolv.conf") else { continue };
        for server in ResolvConf::parse(file.content.bytes()).nameservers {
            *servers.entry(server.address).or_default() += 1;
        }
    }
    hosts.extend(servers.into_iter().filter(|(_, n)| n * 2 > n_nodes).map(|(server, _)| server));
    hosts
}

/// The ranges of the nodes' pods and the addresses of Services.
fn cluster_ranges(snapshot: &Snapshot) -> Vec<IpNet> {
    let nodes = snapshot.cluster.nodes.known().into_iter().flatten();
    let services = snapshot.cluster.services.known().into_iter().flatten();
    let pods = nodes.flat_map(hopwise_snapshot::NodeObject::pod_cidrs);
    pods.chain(services.flat_map(hopwise_snapshot::Service::cluster_ips).map(IpNet::from)).collect()
}
