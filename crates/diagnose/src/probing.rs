//! Which packets are worth sending: few, and those that tell most.
//!
//! First one question between each two nodes that should reach each other by all that was read, as large as the sender may
//! send, from pod to pod: it takes the same way as everything else between them. Where that gets lost, packets between
//! the nodes themselves follow, of each kind that tells one mechanism from another, watched on both sides.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hopwise_dataplane::{Network, State};
use hopwise_snapshot::{
    Crossing, LinkDetail, Mac, Message, NodeName, Observation, Observed, Packet, Place, Probe, Question,
    Snapshot,
};

use crate::crossed::{flow_of, modelled};

/// How many probes are wanted at once at most.
const MOST: usize = 64;
/// Up to how many nodes every pair is looked at; beyond, each node and two others.
const ALL_PAIRS: usize = 8;
/// How many pods of each node are tried to find a flow that should arrive.
const N_PODS: usize = 3;
/// The port of name servers (RFC 1035 §4.2.1).
const DNS: u16 = 53;
/// A port that no tunnel uses: what gets there is thrown away (RFC 863).
const DISCARD: u16 = 9;
/// kubelet's own port: every node has it, and nobody needs a right to begin a connection.
const KUBELET: u16 = 10250;

/// The probes that would tell more than the snapshot does; none when enough was seen.
pub fn probes(snapshot: &Snapshot) -> Vec<Probe> {
    let network = Network::new(snapshot);
    let mut wanted = questions(snapshot, &network);
    if wanted.is_empty() {
        wanted = crossings(snapshot, &network);
    }
    wanted.truncate(MOST);
    wanted
}

/// A question between each two nodes that have pods, whatever the model says of it.
pub fn mesh(snapshot: &Snapshot) -> Vec<Probe> {
    let network = Network::new(snapshot);
    let pods = pods(snapshot);
    let mut all = Vec::new();
    for (a, b) in pairs(snapshot) {
        for is_ipv6 in [false, true] {
            let likely = question(snapshot, &network, &pods, (&a, &b), is_ipv6, State::Kept);
            let any = || {
                let mut states = [State::Unknown, State::Broken].into_iter();
                states.find_map(|it| question(snapshot, &network, &pods, (&a, &b), is_ipv6, it))
            };
            all.extend(likely.or_else(any).map(Probe::Ask));
        }
    }
    all.truncate(MOST);
    all
}

/// Questions for a name, from a pod of each node: to the Service of the cluster's name servers, and to each of its endpoints.
pub fn names(snapshot: &Snapshot, name: &str) -> Vec<Probe> {
    let pods = pods(snapshot);
    let askers: Vec<&Place> = pods.values().filter_map(|it| Some(&it.first()?.0)).collect();
    let mut servers: Vec<(IpAddr, u16)> = Vec::new();
    if let Some(service) = snapshot.cluster.service("kube-system", "kube-dns") {
        servers.extend(service.cluster_ips().into_iter().map(|it| (it, DNS)));
        for slice in snapshot.cluster.slices_of(service) {
            let port = slice.ports.iter().find(|it| it.name.as_deref() == Some("dns")).and_then(|it| it.port);
            let addresses = slice.endpoints.iter().flat_map(|it| &it.addresses);
            servers.extend(addresses.filter_map(|it| Some((it.parse().ok()?, port.unwrap_or(DNS)))));
        }
    }
    let ask = |from: &Place, (to, port): (IpAddr, u16)| {
        Probe::Ask(Question {
            from: from.clone(),
            to,
            message: Message::Name { name: name.to_owned(), port },
        })
    };
    let mut all: Vec<Probe> =
        askers.iter().flat_map(|from| servers.iter().map(|to| ask(from, *to))).collect();
    all.truncate(MOST);
    all
}

/// A question between each two nodes that nobody asked yet. Where none should be answered by what was read, the nodes
/// are to send to each other themselves: what the state shows must not hide what it does not.
fn questions(snapshot: &Snapshot, network: &Network) -> Vec<Probe> {
    let seen: BTreeSet<(NodeName, NodeName, bool)> = snapshot
        .observations
        .iter()
        .filter_map(|it| match it {
            Observation::Asked { question, .. } => between(snapshot, question),
            Observation::Crossed { crossing, .. } => {
                Some((crossing.from.clone(), crossing.to.clone(), crossing.destination.is_ipv6()))
            }
        })
        .collect();
    let pods = pods(snapshot);
    let mut all = Vec::new();
    let mut unasked = BTreeSet::new();
    for (a, b) in pairs(snapshot) {
        for is_ipv6 in [false, true] {
            let is_seen = |x: &NodeName, y: &NodeName| seen.contains(&(x.clone(), y.clone(), is_ipv6));
            if is_seen(&a, &b) || is_seen(&b, &a) {
                continue;
            }
            match question(snapshot, network, &pods, (&a, &b), is_ipv6, State::Kept) {
                Some(question) => all.push(Probe::Ask(question)),
                None => unasked.extend([(a.clone(), b.clone(), is_ipv6), (b.clone(), a.clone(), is_ipv6)]),
            }
        }
    }
    unasked.retain(|(from, to, is_ipv6)| should_cross(snapshot, network, (from, to), *is_ipv6, None));
    all.extend(crossings_of(snapshot, network, unasked));
    all
}

/// Should a packet of one node reach the other, by what was read, and its answer come back?
fn should_cross(
    snapshot: &Snapshot,
    network: &Network,
    (from, to): (&NodeName, &NodeName),
    is_ipv6: bool,
    size: Option<u32>,
) -> bool {
    let Some(to) = address(snapshot, to, is_ipv6) else { return false };
    let message = Message::Echo { size };
    let question = Question { from: Place::Node(from.clone()), to, message };
    modelled(network, &flow_of(&question)) == State::Kept
}

/// Pods with an address of their own, by node.
type Pods = BTreeMap<NodeName, Vec<(Place, Vec<IpAddr>)>>;

fn pods(snapshot: &Snapshot) -> Pods {
    let mut all = Pods::new();
    for pod in snapshot.cluster.pods.known().into_iter().flatten() {
        let place = Place::Pod(pod.name());
        let Some(node) = snapshot.node_of(&place) else { continue };
        if !pod.spec.host_network && pod.is_running() && snapshot.net(&place).is_some() {
            all.entry(node).or_default().push((place, pod.ips().into_iter().collect()));
        }
    }
    all
}

/// The first question between pods of two nodes of which the model says this.
fn question(
    snapshot: &Snapshot,
    network: &Network,
    pods: &Pods,
    (a, b): (&NodeName, &NodeName),
    is_ipv6: bool,
    wanted: State,
) -> Option<Question> {
    let of = |node: &NodeName| pods.get(node).into_iter().flatten().take(N_PODS);
    for (from, own) in of(a) {
        let source = own.iter().find(|it| it.is_ipv6() == is_ipv6)?;
        for (_, addresses) in of(b) {
            let to = *addresses.iter().find(|it| it.is_ipv6() == is_ipv6)?;
            let size = mtu(snapshot, from, *source);
            let question = Question { from: from.clone(), to, message: Message::Echo { size } };
            if modelled(network, &flow_of(&question)) == wanted {
                return Some(question);
            }
        }
    }
    None
}

/// The MTU of the interface with an address.
pub(crate) fn mtu(snapshot: &Snapshot, place: &Place, address: IpAddr) -> Option<u32> {
    let net = snapshot.net(place)?;
    let held = net.addresses.known()?.iter().find(|it| it.address.addr() == address)?;
    Some(net.links.known()?.iter().find(|it| it.index == held.link)?.mtu)
}

/// The nodes that were read, in pairs.
fn pairs(snapshot: &Snapshot) -> Vec<(NodeName, NodeName)> {
    let nodes: Vec<&NodeName> = snapshot
        .nodes
        .iter()
        .filter(|(_, it)| matches!(it, Observed::Known(_)))
        .map(|(name, _)| name)
        .collect();
    let n = nodes.len();
    let is_wanted =
        |i: usize, j: usize| n <= ALL_PAIRS || j - i == 1 || j - i == n / 2 || (i, j) == (0, n - 1);
    let all = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
    all.filter(|(i, j)| is_wanted(*i, *j)).map(|(i, j)| (nodes[i].clone(), nodes[j].clone())).collect()
}

/// The nodes and the family of a question, where it goes from one node's pod to another's.
fn between(snapshot: &Snapshot, question: &Question) -> Option<(NodeName, NodeName, bool)> {
    let from = snapshot.node_of(&question.from)?;
    let to = snapshot.node_of(&snapshot.cluster.owner_of(question.to)?)?;
    (from != to).then_some((from, to, question.to.is_ipv6()))
}

/// Packets both ways between nodes whose question got lost, where nobody sent any yet.
fn crossings(snapshot: &Snapshot, network: &Network) -> Vec<Probe> {
    let mut wanted = BTreeSet::new();
    for observation in &snapshot.observations {
        let Observation::Asked { question, answers } = observation else { continue };
        if answers.n_answered > 0 || modelled(network, &flow_of(question)) != State::Kept {
            continue;
        }
        if let Some((from, to, is_ipv6)) = between(snapshot, question) {
            wanted.insert((from.clone(), to.clone(), is_ipv6));
            wanted.insert((to, from, is_ipv6));
        }
    }
    for observation in &snapshot.observations {
        if let Observation::Crossed { crossing, .. } = observation {
            wanted.remove(&(crossing.from.clone(), crossing.to.clone(), crossing.destination.is_ipv6()));
        }
    }
    crossings_of(snapshot, network, wanted)
}

/// A probe for each direction, with all its families.
fn crossings_of(
    snapshot: &Snapshot,
    network: &Network,
    wanted: BTreeSet<(NodeName, NodeName, bool)>,
) -> Vec<Probe> {
    let mut all: BTreeMap<(NodeName, NodeName), Vec<Crossing>> = BTreeMap::new();
    for (from, to, is_ipv6) in wanted {
        let crossing = crossing(snapshot, network, (&from, &to), is_ipv6);
        all.entry((from, to)).or_default().extend(crossing);
    }
    all.into_values().filter(|it| !it.is_empty()).map(Probe::Cross).collect()
}

/// The address of a node, by its object.
fn address(snapshot: &Snapshot, node: &NodeName, is_ipv6: bool) -> Option<IpAddr> {
    let nodes = snapshot.cluster.nodes.known()?;
    let object = nodes.iter().find(|it| it.name() == *node)?;
    object.internal_ips().find(|it| it.is_ipv6() == is_ipv6)
}

/// A tunnel's device of a node.
struct Tunnel {
    local: IpAddr,
    port: u16,
    vni: u32,
    station: Mac,
    mtu: u32,
}

fn tunnel(snapshot: &Snapshot, node: &NodeName, is_ipv6: bool) -> Option<Tunnel> {
    let links = snapshot.net(&Place::Node(node.clone()))?.links.known()?;
    links.iter().find_map(|it| {
        let LinkDetail::Vxlan(vxlan) = &it.detail else { return None };
        let local = vxlan.local.filter(|it| it.is_ipv6() == is_ipv6)?;
        Some(Tunnel { local, port: vxlan.port, vni: vxlan.vni, station: it.mac?, mtu: it.mtu })
    })
}

/// Every kind of packet from one node to another. Large ones only where the nodes' own interfaces take them: who loses
/// those would not be what lies between.
fn crossing(
    snapshot: &Snapshot,
    network: &Network,
    (from, to): (&NodeName, &NodeName),
    is_ipv6: bool,
) -> Option<Crossing> {
    let own = tunnel(snapshot, from, is_ipv6);
    let end = |node: &NodeName| {
        let tunnel = tunnel(snapshot, node, is_ipv6);
        tunnel.map(|it| it.local).or_else(|| address(snapshot, node, is_ipv6))
    };
    let mut packets = Vec::new();
    if let Some(Tunnel { port, vni, station, mtu, .. }) = own {
        // RFC 7348: an outer IP, UDP and VXLAN header around the inner Ethernet header.
        let headers = if is_ipv6 { 70 } else { 50 };
        packets.push(Packet::Vxlan { port, vni, station, size: None });
        let size = Some(mtu + headers);
        if should_cross(snapshot, network, (from, to), is_ipv6, size) {
            packets.push(Packet::Vxlan { port, vni, station, size });
        }
    }
    packets.extend([Packet::Udp { port: DISCARD }, Packet::Echo, Packet::Tcp { port: KUBELET }]);
    Some(Crossing { from: from.clone(), source: end(from)?, to: to.clone(), destination: end(to)?, packets })
}
