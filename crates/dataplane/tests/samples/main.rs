//! The tracer on the state of a real cluster.
//!
//! The samples hold the nodes' state and the API's objects, not the pods' own namespaces. Those are made here
//! as the CNI plugin makes them, each at the veth port behind which the node has learned the pod's address.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it looked at"
)]

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use hopwise_dataplane::{Network, State, contract, trace, verify};
use hopwise_snapshot::{
    Address, AddressFlags, IfIndex, Link, LinkDetail, LinkFlags, LinkStatistics, Mac, NetNs, Netfilter,
    NextHop, Node, NodeName, Observed, OutsideTarget, Place, Pod, PodName, Protocol, Route, RouteKind,
    RoutingRule, RuleAction, SaveTexts, Snapshot, Socket, SocketProtocol, SocketState, Sysctls, tables,
};
use ipnet::IpNet;

fn sample(name: &str) -> Snapshot {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/samples").join(name);
    let bundle = hopwise_collect::samples::read(&directory, "2026-11-21T10:05:40Z".parse().unwrap()).unwrap();
    let mut snapshot = bundle.snapshot;
    snapshot.outside =
        vec![OutsideTarget { address: "192.168.50.1".parse().unwrap(), port: 53, protocol: Protocol::Udp }];
    snapshot.outside_name = Some("site.example.test".to_owned());
    for node in snapshot.nodes.values_mut().filter_map(Observed::known_mut) {
        // The nodes used the nf_tables back end alone; the bundle's commands did not ask for the other.
        node.net.netfilter.iptables_legacy = SaveTexts { ipv4: Observed::Absent, ipv6: Observed::Absent };
        node.net.netfilter.arptables_legacy = Observed::Absent;
    }
    add_pods(&mut snapshot);
    snapshot
}

fn add_pods(snapshot: &mut Snapshot) {
    let pods = snapshot.cluster.pods.known().cloned().unwrap_or_default();
    let mut n_on_node: BTreeMap<NodeName, i32> = BTreeMap::new();
    for pod in pods.iter().filter(|it| !it.spec.host_network) {
        let node_name = NodeName(pod.spec.node_name.clone().unwrap());
        let Some(Observed::Known(node)) = snapshot.nodes.get_mut(&node_name) else { panic!("{node_name}") };
        let ip = pod.ips()[0];
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
        let net = pod_namespace(node, &pod.name(), ip, *nsid, &ports);
        let file = hopwise_snapshot::File::text(resolv_conf);
        let files = BTreeMap::from([("/etc/resolv.conf".to_owned(), Observed::Known(file))]);
        let pod_state = Pod { node: node_name, net, files, processes: Observed::default() };
        snapshot.pods.insert(pod.name(), Observed::Known(pod_state));
    }
}

/// The namespace of a pod behind the port where the node learned its address, and the node's number for it.
fn pod_namespace(node: &mut Node, name: &PodName, ip: IpAddr, nsid: i32, ports: &[(Protocol, u16)]) -> NetNs {
    let neighbours = node.net.neighbours.known().unwrap();
    let mac: Mac =
        neighbours.iter().find(|it| it.address == ip).and_then(|it| it.mac).unwrap_or_else(|| panic!("{ip}"));
    let fdb = node.net.fdb.known().unwrap();
    let port = fdb.iter().find(|it| it.mac == mac && !it.on_device).unwrap_or_else(|| panic!("{mac}")).link;
    let links = node.net.links.known_mut().unwrap();
    let veth = links.iter_mut().find(|it| it.index == port).unwrap();
    veth.lower_nsid = Some(nsid);
    let peer = veth.lower.unwrap();
    let mtu = veth.mtu;
    match &mut node.net.namespaces {
        Observed::Known(map) => {
            map.insert(nsid, Place::Pod(name.clone()));
        }
        unknown => *unknown = Observed::Known(BTreeMap::from([(nsid, Place::Pod(name.clone()))])),
    }
    let IpAddr::V4(v4) = ip else { panic!("the samples are IPv4") };
    let address: IpNet = format!("{v4}/24").parse().unwrap();
    let [a, b, c, _] = v4.octets();
    let gateway = IpAddr::from([a, b, c, 1]);
    let mut routes = vec![
        route("0.0.0.0/0", tables::MAIN, RouteKind::Unicast, peer, Some(gateway)),
        route("10.244.0.0/16", tables::MAIN, RouteKind::Unicast, peer, Some(gateway)),
        route(&address.trunc().to_string(), tables::MAIN, RouteKind::Unicast, peer, None),
        route(&format!("{v4}/32"), tables::LOCAL, RouteKind::Local, peer, None),
        route("127.0.0.0/8", tables::LOCAL, RouteKind::Local, IfIndex(1), None),
    ];
    routes[3].preferred_source = Some(ip);
    NetNs {
        namespaces: Observed::Known(BTreeMap::from([(0, Place::Node(NodeName::from("unused")))])),
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
    }
}

fn route(destination: &str, table: u32, kind: RouteKind, link: IfIndex, via: Option<IpAddr>) -> Route {
    Route {
        table,
        kind,
        destination: destination.parse().unwrap(),
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
        address: "::".parse().unwrap(),
        port,
        state: if protocol == Protocol::Tcp { SocketState::Listening } else { SocketState::Unconnected },
        is_v6_only: false,
        link: None,
        receive_queue: 0,
        backlog: 0,
        program: None,
    }
}

fn every_promise_is_kept_and_nothing_is_unknown(name: &str) {
    let mut snapshot = sample(name);
    // A pod's number for its node's namespace is 0.
    let homes: Vec<(PodName, NodeName)> = snapshot
        .pods
        .iter()
        .filter_map(|(name, pod)| Some((name.clone(), pod.known()?.node.clone())))
        .collect();
    for (pod, node) in homes {
        let net = snapshot.net_mut(&Place::Pod(pod)).unwrap();
        net.namespaces = Observed::Known(BTreeMap::from([(0, Place::Node(node))]));
    }
    let network = Network::new(&snapshot);
    let contract = contract(&snapshot);
    assert!(contract.promises.len() > 100, "{}", contract.promises.len());
    let verification = verify(&network, &snapshot, &contract);
    let mut wrong = Vec::new();
    for (promise, result) in contract.promises.iter().zip(&verification.results) {
        if result.state != State::Kept {
            let why: Vec<String> =
                result.blockers.iter().map(|it| format!("{} ({})", it.element, it.note())).collect();
            wrong.push(format!(
                "{:?} {} → {} {}: {why:?} {:?}",
                result.state,
                promise.from,
                promise.to,
                promise.protocol(),
                result.assumptions
            ));
            if wrong.len() == 1
                && let hopwise_dataplane::Check::Flow { flow, .. } = &promise.check
            {
                for hop in &trace(&network, flow).representative().hops {
                    println!(
                        "{} {:?} {} {} {}",
                        hop.leg,
                        hop.stage,
                        hop.place.as_ref().map_or(String::new(), ToString::to_string),
                        hop.note,
                        hop.element.as_ref().map_or(String::new(), ToString::to_string)
                    );
                }
            }
        }
    }
    println!("{name}: {} promises", contract.promises.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), contract.promises.len(), wrong.join("\n"));
}

#[test]
fn a_healthy_cluster_with_nftables_keeps_every_promise() {
    every_promise_is_kept_and_nothing_is_unknown("kubeadm-1.34-flannel-vxlan-nftables");
}

#[test]
fn a_healthy_cluster_with_iptables_keeps_every_promise() {
    every_promise_is_kept_and_nothing_is_unknown("kubeadm-1.34-flannel-vxlan-iptables");
}
