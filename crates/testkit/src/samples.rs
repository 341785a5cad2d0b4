//! Samples of real clusters as snapshots.
//!
//! The samples hold the nodes' state and the API's objects, not the pods' own namespaces. Those are made here as the CNI
//! plugin makes them, each at the veth port behind which the node has learned the pod's address.

use std::{collections::BTreeMap, io, net::IpAddr};

use hopwise_snapshot::{
    Address, AddressFlags, File, IfIndex, Link, LinkDetail, LinkFlags, LinkStatistics, Mac, NetNs, Netfilter,
    NextHop, Node, NodeName, Observed, OutsideTarget, Place, Pod, PodName, Protocol, Route, RouteKind,
    RoutingRule, RuleAction, SaveTexts, Snapshot, Socket, SocketProtocol, SocketState, Sysctls, tables,
};
use ipnet::IpNet;

use crate::workspace;

/// The names of the samples.
pub const SAMPLES: [&str; 2] = ["kubeadm-1.34-flannel-vxlan-iptables", "kubeadm-1.34-flannel-vxlan-nftables"];

/// A sample with its pods; the error names what is missing.
pub fn sample(name: &str) -> io::Result<Snapshot> {
    let directory = workspace().join("crates/testkit/samples").join(name);
    let taken_at = "2026-11-21T10:05:40Z".parse().map_err(io::Error::other)?;
    let bundle = hopwise_collect::samples::read(&directory, taken_at).map_err(io::Error::other)?;
    let mut snapshot = bundle.snapshot;
    snapshot.outside =
        vec![OutsideTarget { address: IpAddr::from([192, 168, 50, 1]), port: 53, protocol: Protocol::Udp }];
    snapshot.outside_name = Some("site.example.test".to_owned());
    for node in snapshot.nodes.values_mut().filter_map(Observed::known_mut) {
        // The nodes used the nf_tables back end alone; the bundle's commands did not ask for the other.
        node.net.netfilter.iptables_legacy = SaveTexts { ipv4: Observed::Absent, ipv6: Observed::Absent };
        node.net.netfilter.arptables_legacy = Observed::Absent;
    }
    add_pods(&mut snapshot).ok_or_else(|| io::Error::other(format!("{name}: a pod has no place")))?;
    Ok(snapshot)
}

fn add_pods(snapshot: &mut Snapshot) -> Option<()> {
    let pods = snapshot.cluster.pods.known()?.clone();
    let mut n_on_node: BTreeMap<NodeName, i32> = BTreeMap::new();
    for pod in pods.iter().filter(|it| !it.spec.host_network) {
        let node_name = NodeName(pod.spec.node_name.clone()?);
        let Some(Observed::Known(node)) = snapshot.nodes.get_mut(&node_name) else { return None };
        let ip = *pod.ips().first()?;
        let ports: Vec<(Protocol, u16)> = pod
            .spec
            .containers
            .iter()
            .flat_map(|it| &it.ports)
            .map(|it| (it.protocol, it.container_port))
            .collect();
        let nsid = n_on_node.entry(node_name.clone()).or_insert(100);
        *nsid += 1;
        let resolv_conf = if pod.metadata.labels.get("k8s-app").is_some_and(|it| it == "kube-dns") {
            "nameserver 192.168.50.1\n"
        } else {
            "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
        };
        let net = pod_namespace(node, &pod.name(), &node_name, ip, *nsid, &ports)?;
        let file = File::text(resolv_conf);
        let files = BTreeMap::from([("/etc/resolv.conf".to_owned(), Observed::Known(file))]);
        let pod_state = Pod { node: node_name, net, files, processes: Observed::default() };
        snapshot.pods.insert(pod.name(), Observed::Known(pod_state));
    }
    Some(())
}

/// The namespace of a pod behind the port where the node learned its address, and the node's number for it.
fn pod_namespace(
    node: &mut Node,
    name: &PodName,
    node_name: &NodeName,
    ip: IpAddr,
    nsid: i32,
    ports: &[(Protocol, u16)],
) -> Option<NetNs> {
    let neighbours = node.net.neighbours.known()?;
    let mac: Mac = neighbours.iter().find(|it| it.address == ip)?.mac?;
    let port = node.net.fdb.known()?.iter().find(|it| it.mac == mac && !it.on_device)?.link;
    let links = node.net.links.known_mut()?;
    let veth = links.iter_mut().find(|it| it.index == port)?;
    veth.lower_nsid = Some(nsid);
    let peer = veth.lower?;
    let mtu = veth.mtu;
    match &mut node.net.namespaces {
        Observed::Known(map) => {
            map.insert(nsid, Place::Pod(name.clone()));
        }
        unknown => *unknown = Observed::Known(BTreeMap::from([(nsid, Place::Pod(name.clone()))])),
    }
    // The samples are of IPv4.
    let IpAddr::V4(v4) = ip else { return None };
    let net = |a, b, c, d, length| IpNet::new(IpAddr::from([a, b, c, d]), length).ok();
    let address = IpNet::new(ip, 24).ok()?;
    let [a, b, c, _] = v4.octets();
    let gateway = IpAddr::from([a, b, c, 1]);
    let mut routes = vec![
        route(net(0, 0, 0, 0, 0)?, tables::MAIN, RouteKind::Unicast, peer, Some(gateway)),
        route(net(10, 244, 0, 0, 16)?, tables::MAIN, RouteKind::Unicast, peer, Some(gateway)),
        route(address.trunc(), tables::MAIN, RouteKind::Unicast, peer, None),
        route(IpNet::from(ip), tables::LOCAL, RouteKind::Local, peer, None),
        route(net(127, 0, 0, 0, 8)?, tables::LOCAL, RouteKind::Local, IfIndex(1), None),
    ];
    routes[3].preferred_source = Some(ip);
    Some(NetNs {
        // A pod's number for its node's namespace is 0.
        namespaces: Observed::Known(BTreeMap::from([(0, Place::Node(node_name.clone()))])),
        links: Observed::Known(vec![loopback(), eth0(peer, port, mac, mtu)]),
        addresses: Observed::Known(vec![Address {
            link: peer,
            address,
            peer: None,
            broadcast: None,
            scope: 0,
            flags: AddressFlags::PERMANENT,
        }]),
        routes: Observed::Known(routes),
        rules: Observed::Known(default_rules()),
        neighbours: Observed::Known(Vec::new()),
        fdb: Observed::Known(Vec::new()),
        qdiscs: Observed::Known(Vec::new()),
        tc_filters: Observed::Known(Vec::new()),
        xfrm_policies: Observed::Known(Vec::new()),
        netfilter: Netfilter {
            nft: Observed::Absent,
            iptables_nft: SaveTexts { ipv4: Observed::Absent, ipv6: Observed::Absent },
            iptables_legacy: SaveTexts { ipv4: Observed::Absent, ipv6: Observed::Absent },
            arptables_legacy: Observed::Absent,
            ipsets: Observed::Absent,
        },
        sysctls: Observed::Known(Sysctls::default()),
        sockets: Observed::Known(ports.iter().map(|(protocol, port)| socket(*protocol, *port)).collect()),
        ..NetNs::default()
    })
}

fn route(destination: IpNet, table: u32, kind: RouteKind, link: IfIndex, via: Option<IpAddr>) -> Route {
    Route {
        table,
        kind,
        destination,
        source: None,
        tos: 0,
        metric: 0,
        protocol: 2,
        scope: 0,
        preferred_source: None,
        next_hops: vec![NextHop { link: Some(link), via, weight: 1, ..NextHop::default() }],
        next_hop_object: None,
        mtu: None,
        mtu_locked: false,
        encapsulation: None,
    }
}

fn default_rules() -> Vec<RoutingRule> {
    let rule = |priority, table| RoutingRule::new(false, priority, RuleAction::Lookup(table));
    vec![rule(0, tables::LOCAL), rule(32766, tables::MAIN), rule(32767, tables::DEFAULT)]
}

fn link(index: u32, name: &str, flags: LinkFlags, mtu: u32) -> Link {
    Link {
        index: IfIndex(index),
        name: name.to_owned(),
        kind: String::new(),
        flags: flags | LinkFlags::UP | LinkFlags::LOWER_UP,
        mtu,
        mac: Some(Mac::ZERO),
        operstate: "UP".to_owned(),
        master: None,
        lower: None,
        lower_nsid: None,
        detail: LinkDetail::Other,
        port: None,
        xdp: None,
        qdisc: "noqueue".to_owned(),
        statistics: LinkStatistics::default(),
    }
}

fn loopback() -> Link {
    link(1, "lo", LinkFlags::LOOPBACK, 65_536)
}

fn eth0(index: IfIndex, lower: IfIndex, mac: Mac, mtu: u32) -> Link {
    Link {
        kind: "veth".to_owned(),
        mac: Some(mac),
        lower: Some(lower),
        lower_nsid: Some(0),
        ..link(index.0, "eth0", LinkFlags::BROADCAST | LinkFlags::MULTICAST, mtu)
    }
}

fn socket(protocol: Protocol, port: u16) -> Socket {
    Socket {
        protocol: if protocol == Protocol::Tcp { SocketProtocol::Tcp } else { SocketProtocol::Udp },
        address: IpAddr::from([0; 16]),
        port,
        state: if protocol == Protocol::Tcp { SocketState::Listening } else { SocketState::Unconnected },
        is_v6_only: false,
        link: None,
        receive_queue: 0,
        backlog: 0,
        program: None,
    }
}
