//! Stable names of single pieces of state.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde_json::Value;

use crate::{Mac, NodeName, Place, PodName, SysctlKey};

/// Whose state an [`Element`] is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// A node or a pod with a network stack of its own.
    Place(Place),
    /// The API server's objects.
    Cluster,
    /// What lies between the nodes and cannot be read.
    Underlay,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(f),
            Self::Cluster => f.write_str("cluster"),
            Self::Underlay => f.write_str("underlay"),
        }
    }
}

/// The stable name of the smallest piece of state that one action changes.
///
/// `SCOPE/KIND/…`, as in `node/w2/sysctl/net.ipv4.ip_forward`. A `/` inside a part is written `%2F` and a
/// `%` is written `%25`, so that a name splits at its slashes. Names sort, and a prefix that ends at a slash
/// names a whole.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element(String);

impl Element {
    /// The element of `scope` with these parts, the first of which is its kind.
    pub fn new<P: AsRef<str>>(scope: &Scope, parts: impl IntoIterator<Item = P>) -> Self {
        let mut text = scope.to_string();
        for part in parts {
            text.push('/');
            push_escaped(&mut text, part.as_ref());
        }
        Self(text)
    }

    fn at<P: AsRef<str>>(place: &Place, parts: impl IntoIterator<Item = P>) -> Self {
        Self::new(&Scope::Place(place.clone()), parts)
    }

    /// A whole node or pod.
    pub fn place(place: &Place) -> Self {
        Self(place.to_string())
    }

    /// A kernel switch.
    pub fn sysctl(place: &Place, key: &SysctlKey) -> Self {
        Self::at(place, ["sysctl", &key.dotted()])
    }

    /// A network interface as a whole.
    pub fn link(place: &Place, link: &str) -> Self {
        Self::at(place, ["link", link])
    }

    /// One aspect of an interface: `up`, `carrier`, `master`, `mtu`, `mac`, `arp`.
    pub fn link_aspect(place: &Place, link: &str, aspect: &str) -> Self {
        Self::at(place, ["link", link, aspect])
    }

    /// An address of an interface.
    pub fn address(place: &Place, link: &str, address: &IpNet) -> Self {
        Self::at(place, ["link", link, "address", &address.to_string()])
    }

    /// One attribute of a bridge port: `state`, `hairpin`, `isolated`, `learning`, `flood`, …
    pub fn bridge_port(place: &Place, bridge: &str, port: &str, attribute: &str) -> Self {
        Self::at(place, ["bridge", bridge, "port", port, attribute])
    }

    /// A route by table and destination. The IPv4 default route is called `default`, the IPv6 one `::/0`.
    ///
    /// `metric` is named only where it is not the one that the kernel gives by itself (0 for IPv4; 256 and
    /// 1024 for IPv6).
    pub fn route(place: &Place, table: u32, destination: &IpNet, metric: u32) -> Self {
        let table = crate::tables::name(table);
        let (destination, usual) = match destination {
            IpNet::V4(net) if net.prefix_len() == 0 => ("default".to_owned(), metric == 0),
            IpNet::V4(net) => (net.to_string(), metric == 0),
            IpNet::V6(net) => (net.to_string(), matches!(metric, 0 | 256 | 1024)),
        };
        if usual {
            Self::at(place, ["route", &table, &destination])
        } else {
            Self::at(place, ["route", &table, &destination, "metric", &metric.to_string()])
        }
    }

    /// A routing policy rule by its priority; rules of IPv6 are a list of their own, called `rule6`.
    pub fn rule(place: &Place, is_ipv6: bool, priority: u32) -> Self {
        Self::at(place, [if is_ipv6 { "rule6" } else { "rule" }, &priority.to_string()])
    }

    /// An entry of the neighbour table.
    pub fn neighbour(place: &Place, link: &str, address: IpAddr) -> Self {
        Self::at(place, ["neigh", link, &address.to_string()])
    }

    /// An entry of a forwarding database, by the device that it belongs to.
    pub fn fdb(place: &Place, link: &str, mac: Mac) -> Self {
        Self::at(place, ["fdb", link, &mac.to_string()])
    }

    /// One attribute of a tunnel device: `vni`, `port`, `local`, `dev`.
    pub fn tunnel(place: &Place, link: &str, attribute: &str) -> Self {
        Self::at(place, ["tunnel", link, attribute])
    }

    /// A rule that an `iptables` tool shows, by its position in the chain, counted from 1.
    ///
    /// `tool` is `iptables-nft`, `iptables-legacy`, `ip6tables-nft` or `ip6tables-legacy`.
    pub fn iptables_rule(place: &Place, tool: &str, table: &str, chain: &str, position: usize) -> Self {
        Self::at(place, [tool, table, chain, &position.to_string()])
    }

    /// The policy of a built-in chain that an `iptables` tool shows.
    pub fn iptables_policy(place: &Place, tool: &str, table: &str, chain: &str) -> Self {
        Self::at(place, [tool, table, chain, "policy"])
    }

    /// A chain that an `iptables` tool shows, as a whole.
    pub fn iptables_chain(place: &Place, tool: &str, table: &str, chain: &str) -> Self {
        Self::at(place, [tool, table, chain])
    }

    /// A table that an `iptables` tool shows, as a whole.
    pub fn iptables_table(place: &Place, tool: &str, table: &str) -> Self {
        Self::at(place, [tool, table])
    }

    /// An nftables rule by its handle.
    pub fn nft_rule(place: &Place, family: &str, table: &str, chain: &str, handle: u64) -> Self {
        Self::at(place, ["nft", family, table, chain, "handle", &handle.to_string()])
    }

    /// The policy of an nftables base chain.
    pub fn nft_policy(place: &Place, family: &str, table: &str, chain: &str) -> Self {
        Self::at(place, ["nft", family, table, chain, "policy"])
    }

    /// An nftables chain as a whole.
    pub fn nft_chain(place: &Place, family: &str, table: &str, chain: &str) -> Self {
        Self::at(place, ["nft", family, table, chain])
    }

    /// An nftables table as a whole.
    pub fn nft_table(place: &Place, family: &str, table: &str) -> Self {
        Self::at(place, ["nft", family, table])
    }

    /// An nftables set or map.
    pub fn nft_set(place: &Place, family: &str, table: &str, set: &str) -> Self {
        Self::at(place, ["nft", family, table, "set", set])
    }

    /// An element of an nftables set or map, by what `nft -j` prints of it, without what passes (times, counters).
    pub fn nft_set_element(place: &Place, family: &str, table: &str, set: &str, element: &Value) -> Self {
        let text = crate::facts::lasting(element).to_string();
        Self::at(place, ["nft", family, table, "set", set, "element", &text])
    }

    /// An ipset.
    pub fn ipset(place: &Place, set: &str) -> Self {
        Self::at(place, ["ipset", set])
    }

    /// All rules of one kind of a place: `nft`, `iptables-legacy`, …
    pub fn ruleset(place: &Place, kind: &str) -> Self {
        Self::at(place, [kind])
    }

    /// A queueing discipline by its place in the device's tree: `root`, `ingress`, or a handle.
    pub fn qdisc(place: &Place, link: &str, parent: &str) -> Self {
        Self::at(place, ["qdisc", link, parent])
    }

    /// A traffic control filter by direction and priority.
    pub fn tc(place: &Place, link: &str, direction: &str, priority: u32) -> Self {
        Self::at(place, ["tc", link, direction, &priority.to_string()])
    }

    /// The XDP program of a device.
    pub fn xdp(place: &Place, link: &str) -> Self {
        Self::at(place, ["xdp", link])
    }

    /// The limit of the connection tracking table.
    pub fn conntrack_max(place: &Place) -> Self {
        Self::at(place, ["conntrack", "max"])
    }

    /// A connection tracking entry by its original tuple.
    pub fn conntrack_entry(place: &Place, tuple: &str) -> Self {
        Self::at(place, ["conntrack", "entry", tuple])
    }

    /// A transform policy by its index.
    pub fn xfrm_policy(place: &Place, index: u32) -> Self {
        Self::at(place, ["xfrm", "policy", &index.to_string()])
    }

    /// A file by its absolute path.
    pub fn file(place: &Place, path: &str) -> Self {
        Self::at(place, std::iter::once("file").chain(path.split('/').filter(|it| !it.is_empty())))
    }

    /// One line of a file, counted from 1.
    pub fn file_line(place: &Place, path: &str, line: usize) -> Self {
        let mut element = Self::file(place, path);
        element.0.push(':');
        element.0.push_str(&line.to_string());
        element
    }

    /// A kernel module of a node.
    pub fn module(node: &NodeName, module: &str) -> Self {
        Self::at(&Place::Node(node.clone()), ["module", module])
    }

    /// A process that must run at a place, by the name of its program.
    pub fn process(place: &Place, name: &str) -> Self {
        Self::at(place, ["process", name])
    }

    /// A listening socket, present or missing.
    pub fn socket(place: &Place, protocol: &str, port: u16) -> Self {
        Self::at(place, ["socket", protocol, &port.to_string()])
    }

    /// An object of the API server, or with `field` one of its fields. `namespace` is empty for cluster-wide
    /// objects.
    pub fn object(kind: &str, namespace: &str, name: &str, field: Option<&str>) -> Self {
        let parts = [Some(kind), Some(namespace).filter(|it| !it.is_empty()), Some(name), field];
        Self::new(&Scope::Cluster, parts.into_iter().flatten())
    }

    /// A part of what lies between the nodes.
    pub fn underlay<P: AsRef<str>>(parts: impl IntoIterator<Item = P>) -> Self {
        Self::new(&Scope::Underlay, parts)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose state this is.
    pub fn scope(&self) -> Scope {
        let mut parts = self.0.split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("node"), Some(name), _) => Scope::Place(Place::Node(NodeName(unescape(name)))),
            (Some("pod"), Some(namespace), Some(name)) => {
                Scope::Place(Place::Pod(PodName::new(unescape(namespace), unescape(name))))
            }
            (Some("underlay"), ..) => Scope::Underlay,
            _ => Scope::Cluster,
        }
    }

    /// The place whose state this is, where it is a place's.
    pub fn of_place(&self) -> Option<Place> {
        match self.scope() {
            Scope::Place(place) => Some(place),
            Scope::Cluster | Scope::Underlay => None,
        }
    }

    /// The parts after the scope, unescaped; the first is the kind.
    pub fn parts(&self) -> Vec<String> {
        let n_scope = match self.0.split('/').next() {
            Some("node") => 2,
            Some("pod") => 3,
            _ => 1,
        };
        self.0.split('/').skip(n_scope).map(unescape).collect()
    }

    /// Does `self` name this element or a whole that contains it?
    ///
    /// `node/w2` covers `node/w2/link/cni0`, and does not cover `node/w20`.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
    }
}

fn push_escaped(text: &mut String, part: &str) {
    for character in part.chars() {
        match character {
            '/' => text.push_str("%2F"),
            '%' => text.push_str("%25"),
            other => text.push(other),
        }
    }
}

fn unescape(part: &str) -> String {
    part.replace("%2F", "/").replace("%25", "%")
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Element {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        let n_scope = match parts.next() {
            Some("node") => 2,
            Some("pod") => 3,
            Some("cluster" | "underlay") => 1,
            _ => {
                return Err(format!(
                    "an element begins with node/, pod/, cluster or underlay, found `{text}`"
                ));
            }
        };
        let n_parts = text.split('/').count();
        if n_parts < n_scope || text.split('/').any(str::is_empty) {
            return Err(format!("`{text}` is not an element: a part of its name is missing"));
        }
        Ok(Self(text.to_owned()))
    }
}

crate::name::serde_as_text!(Element);

#[cfg(test)]
mod tests {
    use super::*;

    fn w1() -> Place {
        Place::node("w1")
    }

    #[test]
    fn names_are_those_of_the_interface() {
        let pod = Place::pod("default", "a");
        let all = [
            Element::sysctl(&Place::node("w2"), &SysctlKey::from_dotted("net.ipv4.ip_forward")),
            Element::module(&"w2".into(), "br_netfilter"),
            Element::link_aspect(&w1(), "cni0", "up"),
            Element::address(&w1(), "cni0", &"10.244.1.1/24".parse().unwrap()),
            Element::link_aspect(&pod, "lo", "up"),
            Element::bridge_port(&w1(), "cni0", "veth3a1", "isolated"),
            Element::route(&w1(), 254, &"10.244.2.0/24".parse().unwrap(), 0),
            Element::route(&pod, 254, &"0.0.0.0/0".parse().unwrap(), 0),
            Element::route(&pod, 100, &"::/0".parse().unwrap(), 7),
            Element::rule(&w1(), false, 50),
            Element::neighbour(&w1(), "flannel.1", "10.244.2.0".parse().unwrap()),
            Element::fdb(&w1(), "flannel.1", "4e:0a:74:81:55:c4".parse().unwrap()),
            Element::tunnel(&Place::node("w2"), "flannel.1", "vni"),
            Element::iptables_rule(&w1(), "iptables-legacy", "filter", "FORWARD", 3),
            Element::iptables_policy(&w1(), "iptables-nft", "filter", "FORWARD"),
            Element::nft_rule(&Place::node("w2"), "inet", "zz", "in", 4),
            Element::ipset(&w1(), "NAME"),
            Element::qdisc(&w1(), "eth0", "root"),
            Element::tc(&w1(), "eth0", "ingress", 1),
            Element::xdp(&w1(), "eth0"),
            Element::conntrack_max(&w1()),
            Element::file_line(&Place::node("w2"), "/etc/resolv.conf", 3),
            Element::process(&w1(), "kubelet"),
            Element::socket(&pod, "tcp", 8080),
            Element::object("configmap", "kube-system", "coredns", Some("Corefile")),
            Element::object("node", "", "w1", Some("spec.podCIDR")),
            Element::underlay(["w1-w2", "udp", "8472"]),
        ];
        let expected = "node/w2/sysctl/net.ipv4.ip_forward
node/w2/module/br_netfilter
node/w1/link/cni0/up
node/w1/link/cni0/address/10.244.1.1%2F24
pod/default/a/link/lo/up
node/w1/bridge/cni0/port/veth3a1/isolated
node/w1/route/main/10.244.2.0%2F24
pod/default/a/route/main/default
pod/default/a/route/100/::%2F0/metric/7
node/w1/rule/50
node/w1/neigh/flannel.1/10.244.2.0
node/w1/fdb/flannel.1/4e:0a:74:81:55:c4
node/w2/tunnel/flannel.1/vni
node/w1/iptables-legacy/filter/FORWARD/3
node/w1/iptables-nft/filter/FORWARD/policy
node/w2/nft/inet/zz/in/handle/4
node/w1/ipset/NAME
node/w1/qdisc/eth0/root
node/w1/tc/eth0/ingress/1
node/w1/xdp/eth0
node/w1/conntrack/max
node/w2/file/etc/resolv.conf:3
node/w1/process/kubelet
pod/default/a/socket/tcp/8080
cluster/configmap/kube-system/coredns/Corefile
cluster/node/w1/spec.podCIDR
underlay/w1-w2/udp/8472";
        let found: Vec<String> = all.iter().map(Element::to_string).collect();
        assert_eq!(found.join("\n"), expected);
        for element in all {
            assert_eq!(element.to_string().parse::<Element>().unwrap(), element);
        }
    }

    #[test]
    fn a_prefix_names_a_whole_and_stops_at_a_slash() {
        let whole: Element = "node/w2".parse().unwrap();
        assert!(whole.covers(&"node/w2/link/cni0".parse().unwrap()));
        assert!(!whole.covers(&"node/w20/link/cni0".parse().unwrap()));
        let file = Element::file(&w1(), "/etc/resolv.conf");
        assert!(file.covers(&Element::file_line(&w1(), "/etc/resolv.conf", 1)));
    }

    #[test]
    fn parts_and_scope_are_read_back() {
        let element = Element::route(&Place::pod("a", "b"), 254, &"10.0.0.0/8".parse().unwrap(), 0);
        assert_eq!(element.of_place(), Some(Place::pod("a", "b")));
        assert_eq!(element.parts(), ["route", "main", "10.0.0.0/8"]);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "node", "pod/a", "node//link", "service/a", "node/a/"] {
            assert!(text.parse::<Element>().is_err(), "{text}");
        }
    }
}
