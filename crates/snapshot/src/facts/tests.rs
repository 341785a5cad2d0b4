//! Facts of small snapshots, line by line.

use super::*;
use crate::{
    ConfigMap, FdbEntry, FdbState, File, IfIndex, Link, LinkDetail, LinkFlags, Neighbour, NeighbourState,
    NetNs, NextHop, Node, ObjectMeta, Process, Route, RouteKind, Service, Sysctls,
};

fn snapshot(change: impl FnOnce(&mut Node)) -> Snapshot {
    let mut snapshot = Snapshot::new("2026-11-21T10:00:00Z".parse().unwrap(), "test");
    let mut node = Node::default();
    node.net.links = Observed::Known(vec![link(1, "cni0", "bridge"), link(2, "veth1", "veth")]);
    change(&mut node);
    snapshot.nodes.insert("w1".into(), Observed::Known(node));
    snapshot
}

fn link(index: u32, name: &str, kind: &str) -> Link {
    Link {
        index: IfIndex(index),
        name: name.to_owned(),
        kind: kind.to_owned(),
        flags: LinkFlags::UP,
        mtu: 1450,
        mac: None,
        operstate: "UP".to_owned(),
        master: None,
        lower: None,
        lower_nsid: None,
        detail: LinkDetail::Other,
        port: None,
        xdp: None,
        qdisc: String::new(),
        statistics: crate::LinkStatistics::default(),
    }
}

fn lines(snapshot: &Snapshot, prefix: &str) -> Vec<String> {
    let prefix: Element = prefix.parse().unwrap();
    let all = facts(snapshot);
    let wanted = all.iter().filter(|(element, _)| prefix.covers(element));
    wanted.map(|(element, fact)| format!("{element} = {fact} ({:?})", fact.kind)).collect()
}

#[test]
fn a_switch_is_one_fact_and_a_counter_among_them_passes() {
    let snapshot = snapshot(|node| {
        let mut sysctls = Sysctls::default();
        for (key, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/ip_local_port_range", "32768\t60999"),
            ("net/netfilter/nf_conntrack_count", "7"),
        ] {
            sysctls.values.insert(crate::SysctlKey::from_path(key), value.to_owned());
        }
        sysctls.unreadable.insert(crate::SysctlKey::from_path("net/x"), Reason::TimedOut);
        node.net.sysctls = Observed::Known(sysctls);
    });
    assert_eq!(
        lines(&snapshot, "node/w1/sysctl"),
        [
            "node/w1/sysctl/net.ipv4.ip_forward = 1 (Lasting)",
            "node/w1/sysctl/net.ipv4.ip_local_port_range = 32768 60999 (Lasting)",
            "node/w1/sysctl/net.netfilter.nf_conntrack_count = 7 (Passing)",
            "node/w1/sysctl/net.x = not collected: timed out (NotCollected)",
        ]
    );
}

#[test]
fn a_route_reads_as_ip_prints_it_and_two_of_one_name_are_joined() {
    let route = |tos, via: &str| Route {
        table: crate::tables::MAIN,
        kind: RouteKind::Unicast,
        destination: "10.244.2.0/24".parse().unwrap(),
        source: None,
        tos,
        metric: 0,
        protocol: 4,
        scope: 0,
        preferred_source: None,
        next_hops: vec![NextHop {
            link: Some(IfIndex(1)),
            via: Some(via.parse().unwrap()),
            weight: 1,
            ..NextHop::default()
        }],
        next_hop_object: None,
        mtu: None,
        mtu_locked: false,
        encapsulation: None,
    };
    let snapshot =
        snapshot(|it| it.net.routes = Observed::Known(vec![route(0, "10.0.0.2"), route(8, "10.0.0.1")]));
    assert_eq!(
        lines(&snapshot, "node/w1/route"),
        [
            "node/w1/route/main/10.244.2.0%2F24 = unicast via 10.0.0.1 dev cni0 tos 0x8 proto static scope global; \
          unicast via 10.0.0.2 dev cni0 proto static scope global (Lasting)"
        ]
    );
}

#[test]
fn what_was_learned_passes_and_what_was_written_lasts() {
    let snapshot = snapshot(|node| {
        let neighbour = |address: &str, state| Neighbour {
            link: IfIndex(1),
            address: address.parse().unwrap(),
            mac: Some("02:00:00:00:00:01".parse().unwrap()),
            state,
            proxy: false,
        };
        node.net.neighbours = Observed::Known(vec![
            neighbour("10.0.0.1", NeighbourState::Permanent),
            neighbour("10.0.0.2", NeighbourState::Stale),
        ]);
        let entry = |link, state| FdbEntry {
            sticky: false,
            link: IfIndex(link),
            mac: "02:00:00:00:00:02".parse().unwrap(),
            state,
            on_device: true,
            vlan: None,
            remote: Some("192.0.2.1".parse().unwrap()),
            vni: None,
            port: None,
            via: None,
        };
        node.net.fdb = Observed::Known(vec![entry(1, FdbState::Static), entry(2, FdbState::Learned)]);
    });
    assert_eq!(
        [lines(&snapshot, "node/w1/neigh"), lines(&snapshot, "node/w1/fdb")].concat(),
        [
            "node/w1/neigh/cni0/10.0.0.1 = 02:00:00:00:00:01 PERMANENT (Lasting)",
            "node/w1/neigh/cni0/10.0.0.2 = 02:00:00:00:00:01 STALE (Passing)",
            "node/w1/fdb/cni0/02:00:00:00:00:02 = dst 192.0.2.1 static (Lasting)",
            "node/w1/fdb/veth1/02:00:00:00:00:02 = dst 192.0.2.1 learned (Passing)",
        ]
    );
}

const SAVE: &str = "# Generated by iptables-save v1.8.9
*filter
:INPUT ACCEPT [3:180]
:KUBE-FORWARD - [0:0]
[5:300] -A INPUT -s 10.0.0.0/8 -j DROP
[0:0] -A INPUT -j KUBE-FORWARD
nonsense
COMMIT
";

#[test]
fn rules_lose_their_counters_and_lines_that_nobody_knows_are_kept() {
    let snapshot = snapshot(|it| it.net.netfilter.iptables_nft.ipv4 = Observed::Known(SAVE.to_owned()));
    assert_eq!(
        lines(&snapshot, "node/w1/iptables-nft"),
        [
            "node/w1/iptables-nft/filter/INPUT/1 = -A INPUT -s 10.0.0.0/8 -j DROP (Lasting)",
            "node/w1/iptables-nft/filter/INPUT/1/counters = 5:300 (Passing)",
            "node/w1/iptables-nft/filter/INPUT/2 = -A INPUT -j KUBE-FORWARD (Lasting)",
            "node/w1/iptables-nft/filter/INPUT/2/counters = 0:0 (Passing)",
            "node/w1/iptables-nft/filter/INPUT/policy = ACCEPT (Lasting)",
            "node/w1/iptables-nft/filter/INPUT/policy/counters = 3:180 (Passing)",
            "node/w1/iptables-nft/filter/KUBE-FORWARD = a chain (Lasting)",
            "node/w1/iptables-nft/line/7 = nonsense (Lasting)",
        ]
    );
    let chains = chains(&snapshot);
    let (chain, rules) = chains.first_key_value().unwrap();
    assert_eq!((chain.as_str(), rules.len()), ("node/w1/iptables-nft/filter/INPUT", 2));
}

const NFT: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
 {"table": {"family": "ip", "name": "filter", "handle": 1}},
 {"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "handle": 9, "expr": [{"drop": null}]}},
 {"table": {"family": "inet", "name": "zz", "handle": 2}},
 {"chain": {"family": "inet", "table": "zz", "name": "in", "handle": 1, "type": "filter", "hook": "input", "prio": 0,
            "policy": "accept"}},
 {"set": {"family": "inet", "table": "zz", "name": "bad", "handle": 3, "type": "ipv4_addr",
          "elem": [{"elem": {"val": "192.0.2.1", "expires": 5}}]}},
 {"rule": {"family": "inet", "table": "zz", "chain": "in", "handle": 4, "comment": "why",
           "expr": [{"counter": {"packets": 2, "bytes": 120}}, {"drop": null}]}}]}"#;

#[test]
fn a_table_of_iptables_is_not_told_twice_and_handles_and_times_pass() {
    let snapshot = snapshot(|node| {
        node.net.netfilter.iptables_nft.ipv4 = Observed::Known(SAVE.to_owned());
        node.net.netfilter.nft = Observed::Known(NFT.to_owned());
    });
    assert_eq!(
        lines(&snapshot, "node/w1/nft"),
        [
            "node/w1/nft/inet/zz = a table (Lasting)",
            r#"node/w1/nft/inet/zz/in = {"hook":"input","prio":0,"type":"filter"} (Lasting)"#,
            r#"node/w1/nft/inet/zz/in/handle/4 = [{"counter":{}},{"drop":null}] comment "why" (Lasting)"#,
            "node/w1/nft/inet/zz/in/handle/4/counters = 2:120 (Passing)",
            "node/w1/nft/inet/zz/in/policy = accept (Lasting)",
            r#"node/w1/nft/inet/zz/set/bad = {"type":"ipv4_addr"} (Lasting)"#,
            r#"node/w1/nft/inet/zz/set/bad/element/{"elem":{"val":"192.0.2.1"}} = there (Lasting)"#,
        ]
    );
}

#[test]
fn a_listing_that_is_none_is_named() {
    let snapshot = snapshot(|it| it.net.netfilter.nft = Observed::Known("{".to_owned()));
    let all = lines(&snapshot, "node/w1/nft");
    assert!(all[0].starts_with("node/w1/nft = not understood: EOF"), "{all:?}");
}

#[test]
fn an_ip_set_is_its_entries_without_their_times() {
    let text =
        "create bad hash:ip family inet timeout 600\nadd bad 192.0.2.1 timeout 431 packets 2 bytes 9\nwhat\n";
    let snapshot = snapshot(|it| it.net.netfilter.ipsets = Observed::Known(text.to_owned()));
    assert_eq!(
        lines(&snapshot, "node/w1/ipset"),
        [
            "node/w1/ipset/bad = hash:ip family inet timeout 600 (Lasting)",
            "node/w1/ipset/bad/entry/192.0.2.1 = there (Lasting)",
            "node/w1/ipset/line/3 = what (Lasting)",
        ]
    );
}

#[test]
fn a_file_is_told_by_its_hash_and_its_text_can_be_had() {
    let snapshot = snapshot(|node| {
        let mut file = File::text("nameserver 192.0.2.1\n");
        file.modified = Some("2026-11-21T09:00:00Z".parse().unwrap());
        node.files.insert("/etc/resolv.conf".to_owned(), Observed::Known(file));
        node.files.insert("/etc/gone".to_owned(), Observed::Absent);
        node.processes =
            Observed::Known(vec![Process { pid: 7, program: "kubelet".to_owned(), state: "T".to_owned() }]);
    });
    let element: Element = "node/w1/file/etc/resolv.conf".parse().unwrap();
    assert_eq!(
        lines(&snapshot, "node/w1/file"),
        ["node/w1/file/etc/resolv.conf = 1 line, 21 bytes, mode 644, sha256 a9d549519efe8d5a (Lasting)"]
    );
    assert_eq!(text(&snapshot, &element).as_deref(), Some("nameserver 192.0.2.1\n"));
    assert_eq!(
        lines(&snapshot, "node/w1/modified"),
        ["node/w1/modified/etc/resolv.conf = 2026-11-21T09:00:00Z (Passing)"]
    );
    assert_eq!(
        lines(&snapshot, "node/w1/process"),
        ["node/w1/process/kubelet = stopped (Lasting)", "node/w1/process/kubelet/pid = 7 (Passing)"]
    );
}

#[test]
fn objects_are_told_field_by_field() {
    let mut snapshot = snapshot(|_| {});
    let mut service = Service {
        metadata: ObjectMeta {
            name: "cart".to_owned(),
            namespace: "shop".to_owned(),
            ..ObjectMeta::default()
        },
        ..Service::default()
    };
    service.spec.selector.insert("app".to_owned(), "cart".to_owned());
    snapshot.cluster.services = Observed::Known(vec![service]);
    let mut map = ConfigMap::default();
    (map.metadata.namespace, map.metadata.name) = ("kube-system".to_owned(), "coredns".to_owned());
    map.data.insert("Corefile".to_owned(), ".:53 {\n}\n".to_owned());
    snapshot.cluster.config_maps = Observed::Known(vec![map]);
    assert_eq!(
        lines(&snapshot, "cluster/service/shop/cart/spec.selector"),
        [r#"cluster/service/shop/cart/spec.selector = {"app":"cart"} (Lasting)"#]
    );
    let corefile: Element = "cluster/configmap/kube-system/coredns/Corefile".parse().unwrap();
    assert_eq!(text(&snapshot, &corefile).as_deref(), Some(".:53 {\n}\n"));
    assert!(lines(&snapshot, corefile.as_str())[0].contains("2 lines, 9 bytes, sha256"));
}

#[test]
fn what_was_not_collected_is_a_fact_and_hides_what_it_stands_for() {
    let snapshot = snapshot(|it| it.net = NetNs::default());
    let unread: Vec<Element> = facts(&snapshot)
        .into_iter()
        .filter(|(_, it)| it.kind == FactKind::NotCollected)
        .map(|(element, _)| element)
        .collect();
    let names: Vec<&str> = unread.iter().map(Element::as_str).collect();
    for name in ["node/w1/link", "node/w1/address", "node/w1/route", "node/w1/nft", "node/w1/sysctl"] {
        assert!(names.contains(&name), "{name} of {names:?}");
    }
    let hides = |unread: &str, element: &str| hides(&unread.parse().unwrap(), &element.parse().unwrap());
    assert!(hides("node/w1/link", "node/w1/tunnel/flannel.1/vni"));
    assert!(hides("node/w1/address", "node/w1/link/eth0/address/10.0.0.1%2F8"));
    assert!(!hides("node/w1/address", "node/w1/link/eth0/mtu"));
    assert!(!hides("node/w1/link", "node/w2/tunnel/flannel.1/vni"));
    assert!(hides("cluster/workload", "cluster/daemonset/kube-system/kube-proxy/spec.selector"));
}
