//! The proof of a finding is one of its own element: the same repair elsewhere proves nothing.

use hopwise_change::Change;
use hopwise_diagnose::{Kind, prove};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Neighbour, NeighbourState, Place, Snapshot};

use crate::{changed, deleted, diagnosis, has_route, healthy, inserted, line, lines, sysctl};

/// The change that a repair makes to the state of a kernel, or of a file where it makes none other.
fn change_of(repair: &Repair) -> Change {
    let changes = repair.changes();
    let of_kernel = changes.iter().find(|it| !matches!(it, Change::FileWritten { .. }));
    of_kernel.or(changes.first()).unwrap().clone()
}

/// Injects a fault, and tries the repair of its finding at other elements.
fn check(fault: Change, first: &str, neighbours: impl Fn(&Change) -> Vec<Change>) {
    let snapshot = changed(healthy(), &[fault]);
    let diagnosis = diagnosis(&snapshot, 11);
    let finding = diagnosis.findings.first().unwrap_or_else(|| panic!("nothing was found"));
    assert_eq!(finding.elements[0].as_str(), first, "{:?}", lines(&diagnosis));
    assert_eq!(finding.kind, Kind::Proven, "{}", line(finding));
    let own = prove(&snapshot, &finding.repair);
    assert!(own.holds(), "{}: {own:?}", line(finding));

    let neighbours = neighbours(&change_of(&finding.repair));
    assert!(neighbours.len() >= 2);
    for neighbour in neighbours {
        let repair = Repair::one(Action::change(neighbour.clone(), &snapshot, Risk::Additive, ""));
        let proof = prove(&snapshot, &repair);
        assert_eq!(proof.not_tried, None, "{neighbour:?} can be tried");
        assert_eq!(proof.n_healed, 0, "{neighbour:?}");
        assert!(!proof.holds(), "{neighbour:?}");
    }
}

#[test]
fn forwarding_is_switched_on_at_its_own_node() {
    check(sysctl("w2", "net.ipv4.ip_forward", "0"), "node/w2/sysctl/net.ipv4.ip_forward", |_| {
        vec![
            sysctl("w2", "net.ipv4.conf.all.rp_filter", "0"),
            sysctl("w2", "net.ipv6.conf.all.forwarding", "1"),
            sysctl("w1", "net.ipv4.ip_forward", "1"),
            sysctl("cp", "net.ipv4.ip_forward", "1"),
        ]
    });
}

#[test]
fn a_bridge_is_switched_on_at_its_own_node() {
    let up =
        |node: &str, link: &str| Change::LinkUp { place: Place::node(node), link: link.into(), up: true };
    let fault = Change::LinkUp { place: Place::node("w1"), link: "cni0".into(), up: false };
    check(fault, "node/w1/link/cni0/up", |_| {
        vec![up("w1", "flannel.1"), up("w1", "eth0"), up("w2", "cni0"), up("cp", "cni0")]
    });
}

#[test]
fn a_route_is_made_at_its_own_node_and_to_its_own_range() {
    let snapshot = healthy();
    let (w1, w2) = (Place::node("w1"), Place::node("w2"));
    let range = "10.244.2.0/24";
    assert!(has_route(&snapshot, &w1, range), "the lab's w2 has this range");
    let fault = Change::RouteRemoved {
        place: w1.clone(),
        table: 254,
        destination: range.parse().unwrap(),
        metric: 0,
    };
    check(fault, "node/w1/route/main/10.244.2.0%2F24", |own| {
        let Change::RouteReplaced { route, .. } = own else { panic!("{own:?}") };
        let mut elsewhere = route.clone();
        elsewhere.destination = "10.244.77.0/24".parse().unwrap();
        vec![
            Change::RouteReplaced { place: w1.clone(), route: elsewhere.clone() },
            Change::RouteReplaced { place: w2.clone(), route: elsewhere },
            sysctl("w1", "net.ipv4.ip_forward", "1"),
        ]
    });
}

#[test]
fn a_rule_is_deleted_at_its_own_place_in_its_own_chain() {
    let fault = inserted("w2", "FORWARD", "-i cni0 -j DROP");
    check(fault, "node/w2/iptables-nft/filter/FORWARD/1", |_| {
        vec![deleted("w2", "FORWARD", 2), deleted("w2", "INPUT", 1), deleted("w1", "FORWARD", 1)]
    });
}

#[test]
fn a_port_is_put_into_its_own_bridge() {
    let snapshot = healthy();
    let port = port_of(&snapshot, "w2", "default", "echo-w2");
    let other = port_of(&snapshot, "w2", "default", "client-w2");
    let w2 = Place::node("w2");
    let fault = Change::LinkMaster { place: w2.clone(), link: port.clone(), master: None };
    check(fault, &format!("node/w2/link/{port}/master"), |_| {
        let joins = |link: &str, master: &str| Change::LinkMaster {
            place: w2.clone(),
            link: link.to_owned(),
            master: Some(master.to_owned()),
        };
        vec![joins(&other, "cni0"), Change::LinkUp { place: w2.clone(), link: port.clone(), up: true }]
    });
}

#[test]
fn a_resolver_is_written_to_its_own_file() {
    let (w1, path) = (Place::node("w1"), "/etc/resolv.conf");
    let written = |place: &Place, path: &str, content: &str| Change::FileWritten {
        place: place.clone(),
        path: path.to_owned(),
        content: content.to_owned(),
    };
    check(written(&w1, path, "# nothing\n"), "node/w1/file/etc/resolv.conf", |own| {
        let Change::FileWritten { content, .. } = own else { panic!("{own:?}") };
        vec![
            written(&w1, "/etc/hosts", content),
            written(&w1, path, "search example.test\n"),
            written(&Place::node("w2"), path, content),
        ]
    });
}

/// The interface of a node that leads to a pod.
fn port_of(snapshot: &Snapshot, node: &str, namespace: &str, pod: &str) -> String {
    let net = snapshot.net(&Place::node(node)).unwrap();
    let (number, _) =
        net.namespaces.known().unwrap().iter().find(|(_, it)| **it == Place::pod(namespace, pod)).unwrap();
    let link = net.links.known().unwrap().iter().find(|it| it.lower_nsid == Some(*number)).unwrap();
    link.name.clone()
}

/// Without ARP a kernel takes every neighbour to have the interface's own Ethernet address, and forgets that when ARP is
/// switched on.
#[test]
fn an_interface_without_arp_is_named_also_after_packets_went_out() {
    let place = Place::node("w1");
    let off = Change::LinkArp { place: place.clone(), link: "eth0".to_owned(), on: false };
    let mut snapshot = changed(healthy(), &[off]);
    let net = snapshot.net_mut(&place).unwrap();
    let link = net.link("eth0").unwrap().clone();
    let others = ["192.168.50.1", "192.168.50.11", "192.168.50.13"].map(|it| Neighbour {
        link: link.index,
        address: it.parse().unwrap(),
        mac: link.mac,
        state: NeighbourState::NoArp,
        proxy: false,
    });
    net.neighbours.known_mut().unwrap().extend(others);
    let diagnosis = diagnosis(&snapshot, 11);
    assert_eq!(lines(&diagnosis), ["HW9004 proven node/w1/link/eth0/arp"]);
}
