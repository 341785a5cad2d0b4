//! Kernel switches that decide about packets.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_repair::Repair;
use hopwise_snapshot::{Element, NetNs, NodeName, Place, SysctlKey, Sysctls};

use super::{Aspect, Basis, Deviation, Intent, nodes, pods, twins};

/// Switches of single interfaces that the tracer looks at, with the kernel's default. Where the default depends
/// on the distribution it is left to the twins.
const OF_LINKS: [(&str, Option<&str>); 12] = [
    ("accept_local", Some("0")),
    ("arp_announce", Some("0")),
    ("arp_filter", Some("0")),
    ("arp_ignore", Some("0")),
    ("ignore_routes_with_linkdown", Some("0")),
    ("proxy_arp", Some("0")),
    ("proxy_arp_pvlan", Some("0")),
    ("rp_filter", None),
    ("route_localnet", None),
    ("send_redirects", None),
    ("src_valid_mark", Some("0")),
    ("disable_policy", Some("0")),
];

/// Switches of a whole namespace that the tracer looks at, with the kernel's default.
const OF_NAMESPACE: [(&str, &str); 4] = [
    ("net/ipv4/icmp_echo_ignore_all", "0"),
    ("net/ipv4/ip_default_ttl", "64"),
    ("net/ipv6/icmp/echo_ignore_all", "0"),
    ("net/ipv6/conf/all/hop_limit", "64"),
];

pub(super) fn find(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    forwarding(intent, found);
    bridged_packets(intent, found);
    compared(intent, found);
}

fn values(net: &NetNs) -> Option<&BTreeMap<SysctlKey, String>> {
    let sysctls: &Sysctls = net.sysctls.known()?;
    Some(&sysctls.values)
}

fn deviation(
    intent: &Intent<'_>,
    place: &Place,
    key: &SysctlKey,
    observed: &str,
    expected: &str,
    basis: Basis,
) -> Deviation {
    Deviation {
        element: Element::sysctl(place, key),
        place: place.clone(),
        aspect: Aspect::Switch,
        observed: observed.to_owned(),
        expected: expected.to_owned(),
        basis,
        source: format!("/proc/sys/{}", key.path()),
        repair: Repair::sysctl(place, key, expected, intent.snapshot),
    }
}

fn has_pods(intent: &Intent<'_>, node: &NodeName, is_ipv6: bool) -> bool {
    let all = intent.snapshot.cluster.pods.known().into_iter().flatten();
    let mut here =
        all.filter(|it| it.spec.node_name.as_deref() == Some(node.as_str()) && !it.spec.host_network);
    here.any(|it| it.ips().iter().any(|ip| ip.is_ipv6() == is_ipv6))
}

/// A node with pods forwards, by every interface.
fn forwarding(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    for (name, node) in nodes(intent.snapshot) {
        let place = Place::Node(name.clone());
        let Some(values) = values(&node.net) else { continue };
        if has_pods(intent, name, false) {
            let global = SysctlKey::from_path("net/ipv4/ip_forward");
            let is_off = values.get(&global).is_some_and(|it| it == "0");
            if is_off {
                found.push(deviation(intent, &place, &global, "0", "1", Basis::Need));
            } else if values.contains_key(&global) {
                for link in node.net.links.known().into_iter().flatten().filter(|it| !it.is_loopback()) {
                    let key = SysctlKey::of_link(false, &link.name, "forwarding");
                    if values.get(&key).is_some_and(|it| it == "0") {
                        found.push(deviation(intent, &place, &key, "0", "1", Basis::Need));
                    }
                }
            }
        }
        let all = SysctlKey::of_link(true, "all", "forwarding");
        if has_pods(intent, name, true) && values.get(&all).is_some_and(|it| it == "0") {
            found.push(deviation(intent, &place, &all, "0", "1", Basis::Need));
        }
    }
}

/// A node whose pods hang on a bridge lets the packet filter see what is bridged: Services on the same node
/// depend on it.
fn bridged_packets(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    for (name, node) in nodes(intent.snapshot) {
        let place = Place::Node(name.clone());
        let Some(values) = values(&node.net) else { continue };
        let has_bridge = node.net.links.known().into_iter().flatten().any(|it| it.kind == "bridge");
        for (is_ipv6, leaf) in [(false, "bridge-nf-call-iptables"), (true, "bridge-nf-call-ip6tables")] {
            let key = SysctlKey::from_path(&format!("net/bridge/{leaf}"));
            let is_off = values.get(&key).is_some_and(|it| it == "0");
            if has_bridge && has_pods(intent, name, is_ipv6) && is_off {
                found.push(deviation(intent, &place, &key, "0", "1", Basis::Need));
            }
        }
    }
}

/// Switches that have no value of their own that is right: the twins', else the kernel's default.
fn compared(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    let of_nodes: Vec<(Place, &NetNs)> =
        nodes(intent.snapshot).map(|(name, it)| (Place::Node(name.clone()), &it.net)).collect();
    let of_pods: Vec<(Place, &NetNs)> =
        pods(intent.snapshot).map(|(name, it)| (Place::Pod(name.clone()), &it.net)).collect();
    for kind in [of_nodes, of_pods] {
        let keys: BTreeSet<&SysctlKey> = kind
            .iter()
            .filter_map(|(_, net)| values(net))
            .flat_map(BTreeMap::keys)
            .filter(|it| matters(it))
            .collect();
        let of_veths = of_veths(&kind);
        for key in keys {
            compare(intent, &kind, &of_veths, key, found);
        }
    }
}

/// The values of the switches of veth interfaces, by family and switch.
type OfVeths<'a> = BTreeMap<(bool, &'a str), Vec<&'a str>>;

fn of_veths<'a>(places: &[(Place, &'a NetNs)]) -> OfVeths<'a> {
    let mut all: OfVeths<'a> = BTreeMap::new();
    for (key, value) in places.iter().filter_map(|(_, net)| values(net)).flatten() {
        if let Some((link, leaf)) = key.link_and_leaf()
            && link.starts_with("veth")
        {
            all.entry((key.is_ipv6(), leaf)).or_default().push(value);
        }
    }
    all
}

fn matters(key: &SysctlKey) -> bool {
    if OF_NAMESPACE.iter().any(|(path, _)| *path == key.path()) {
        return true;
    }
    let Some((link, leaf)) = key.link_and_leaf() else { return false };
    match leaf {
        "disable_ipv6" | "force_forwarding" => key.is_ipv6() && link != "default",
        _ => !key.is_ipv6() && link != "default" && OF_LINKS.iter().any(|(name, _)| *name == leaf),
    }
}

fn default_of(key: &SysctlKey) -> Option<&'static str> {
    if let Some((_, value)) = OF_NAMESPACE.iter().find(|(path, _)| *path == key.path()) {
        return Some(value);
    }
    let (_, leaf) = key.link_and_leaf()?;
    OF_LINKS.iter().find(|(name, _)| *name == leaf)?.1
}

fn compare(
    intent: &Intent<'_>,
    places: &[(Place, &NetNs)],
    of_veths: &OfVeths<'_>,
    key: &SysctlKey,
    found: &mut Vec<Deviation>,
) {
    // A switch of a link that only one place has is compared with the same switch of that place's like links.
    let all: Vec<(&Place, &String)> =
        places.iter().filter_map(|(place, net)| Some((place, values(net)?.get(key)?))).collect();
    let mut like: Vec<&str> = all.iter().map(|(_, value)| value.as_str()).collect();
    if let Some((link, leaf)) = key.link_and_leaf()
        && link.starts_with("veth")
    {
        like = of_veths.get(&(key.is_ipv6(), leaf)).cloned().unwrap_or_default();
    }
    let default = default_of(key);
    let usual = twins::majority(like.iter().copied());
    let (expected, basis) = match (usual, default) {
        // A value that all twins share is taken to be meant, unless it is one that keeps packets away.
        (Some(usual), Some(default)) if usual == default => (default, Basis::Default),
        (Some(usual), _) => (usual, Basis::Twins),
        (None, Some(default)) => (default, Basis::Default),
        (None, None) => return,
    };
    for (place, value) in all {
        if value != expected {
            found.push(deviation(intent, place, key, value, expected, basis));
        }
    }
}
