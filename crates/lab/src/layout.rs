//! What a lab consists of: members, addresses, pods, Services. Pure data; everything else is made from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hopwise_snapshot::{Mac, Place, PodName, Protocol};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::{LabError, random};

/// The way in which the nodes of a lab carry packets between pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Base {
    /// flannel with VXLAN, IPv4.
    Vxlan,
    /// flannel with VXLAN, IPv4 and IPv6.
    DualStack,
}

impl Base {
    /// Does the cluster have IPv6 besides IPv4?
    pub fn has_ipv6(self) -> bool {
        self == Self::DualStack
    }
}

/// What is wanted of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How nodes carry packets between pods.
    pub base: Base,
    /// How many nodes: the first is `cp`, the others are `w1`, `w2`, …
    pub n_nodes: u8,
}

impl Shape {
    /// The most nodes that a lab can have.
    ///
    /// Each brings five pods, and all namespaces of the machine share one neighbour table (`gc_thresh3`, 1024).
    pub const MOST_NODES: u8 = 9;
}

impl Default for Shape {
    fn default() -> Self {
        Self { base: Base::Vxlan, n_nodes: 3 }
    }
}

/// The range of all pods, IPv4.
pub(crate) const POD_RANGE_V4: &str = "10.244.0.0/16";
/// The range of all pods, IPv6.
pub(crate) const POD_RANGE_V6: &str = "fd00:10:244::/56";
/// The range of Service addresses, IPv4.
pub(crate) const SERVICE_RANGE_V4: &str = "10.96.0.0/12";
/// The range of Service addresses, IPv6.
pub(crate) const SERVICE_RANGE_V6: &str = "fd00:10:96::/112";
/// The domain of the cluster.
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";
/// The name that the upstream DNS knows.
pub(crate) const OUTSIDE_NAME: &str = "www.example.test";

/// The addresses that the member `outside` has on the underlay, first as the nodes' gateway.
pub(crate) const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 1);
pub(crate) const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x50, 0, 0, 0, 0, 0, 1);
/// Where the outside answers TCP and UDP on port 8080 and 80.
pub(crate) const WEB_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub(crate) const WEB_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
/// Where the upstream DNS is.
pub(crate) const UPSTREAM_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
pub(crate) const UPSTREAM_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);

/// The port on which pods and the outside answer.
pub(crate) const RESPONDER_PORT: u16 = 8080;

/// A lab as it is laid out, before anything of it exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// How nodes carry packets between pods.
    pub base: Base,
    /// The nodes, the control plane first.
    pub nodes: Vec<NodeLayout>,
    /// The address of the underlay's bridge.
    pub(crate) fabric_mac: Mac,
    /// The address of the gateway on the underlay.
    pub(crate) gateway_mac: Mac,
}

/// A node as it is laid out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeLayout {
    /// Its name.
    pub name: String,
    /// Its number, from 0.
    pub number: u8,
    /// Its addresses on the underlay, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// The ranges that its pods get addresses from, IPv4 first.
    pub pod_ranges: Vec<IpNet>,
    /// Its pods with network namespaces of their own.
    pub pods: Vec<PodLayout>,
    /// The identity of its object.
    pub(crate) uid: String,
    /// The address of its uplink.
    pub(crate) uplink_mac: Mac,
    /// The address of its pod bridge.
    pub(crate) bridge_mac: Mac,
    /// The addresses of its VXLAN devices, one a family.
    pub(crate) vtep_macs: Vec<Mac>,
}

impl NodeLayout {
    /// Is this the node with the control plane?
    pub fn is_control_plane(&self) -> bool {
        self.number == 0
    }
}

/// A pod as it is laid out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodLayout {
    /// Its name.
    pub name: PodName,
    /// What it runs.
    pub app: App,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// The identity of its object.
    pub(crate) uid: String,
    /// The name of its interface's other end, on the node.
    pub(crate) veth: String,
    /// The address of that end.
    pub(crate) veth_mac: Mac,
    /// The address of its own interface.
    pub(crate) mac: Mac,
    /// The name of its network namespace in its node's `/run/netns`.
    pub(crate) netns: String,
}

/// What a pod runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum App {
    /// DaemonSet `default/client`.
    Client,
    /// Deployment `default/echo`.
    Echo,
    /// Deployment `shop/cart`.
    Cart,
    /// Deployment `kube-system/coredns`.
    CoreDns,
}

impl App {
    /// The name of its workload and of its container.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Echo => "echo",
            Self::Cart => "cart",
            Self::CoreDns => "coredns",
        }
    }

    /// The namespace of its workload.
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::Client | Self::Echo => "default",
            Self::Cart => "shop",
            Self::CoreDns => "kube-system",
        }
    }

    /// The ports that its container declares: name, number, protocol.
    pub(crate) fn ports(self) -> &'static [(&'static str, u16, Protocol)] {
        match self {
            Self::CoreDns => &[
                ("dns", 53, Protocol::Udp),
                ("dns-tcp", 53, Protocol::Tcp),
                ("metrics", 9153, Protocol::Tcp),
            ],
            _ => &[("http", RESPONDER_PORT, Protocol::Tcp), ("echo-udp", RESPONDER_PORT, Protocol::Udp)],
        }
    }
}

/// A Service as it is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceLayout {
    pub(crate) namespace: &'static str,
    pub(crate) name: &'static str,
    /// What it chooses; nothing where its endpoints are written by hand.
    pub(crate) app: Option<App>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ports: &'static [ServicePortLayout],
}

/// A port of a Service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ServicePortLayout {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    /// The name of the container's port; empty where the number is meant.
    pub(crate) target_name: &'static str,
    pub(crate) target_port: u16,
    pub(crate) node_port: Option<u16>,
}

const fn port(
    name: &'static str,
    port: u16,
    protocol: Protocol,
    target_name: &'static str,
    target_port: u16,
) -> ServicePortLayout {
    ServicePortLayout { name, port, protocol, target_name, target_port, node_port: None }
}

static KUBERNETES_PORTS: &[ServicePortLayout] = &[port("https", 443, Protocol::Tcp, "", 6443)];
static DNS_PORTS: &[ServicePortLayout] = &[
    port("dns", 53, Protocol::Udp, "", 53),
    port("dns-tcp", 53, Protocol::Tcp, "", 53),
    port("metrics", 9153, Protocol::Tcp, "", 9153),
];
static ECHO_PORTS: &[ServicePortLayout] = &[
    port("http", 80, Protocol::Tcp, "http", RESPONDER_PORT),
    port("echo-udp", 81, Protocol::Udp, "echo-udp", RESPONDER_PORT),
];
static ECHO_NP_PORTS: &[ServicePortLayout] = &[ServicePortLayout {
    node_port: Some(NODE_PORT),
    ..port("http", 80, Protocol::Tcp, "", RESPONDER_PORT)
}];
static CART_PORTS: &[ServicePortLayout] = &[port("http", 80, Protocol::Tcp, "http", RESPONDER_PORT)];

/// The port of `default/echo-np` on every node.
pub(crate) const NODE_PORT: u16 = 30080;

impl Layout {
    /// A new lab of this shape, with random names and addresses where real clusters have such.
    pub fn new(shape: Shape) -> Result<Self, LabError> {
        let nodes = (0..shape.n_nodes).map(|number| node(shape, number)).collect::<Result<_, _>>()?;
        Ok(Self { base: shape.base, nodes, fabric_mac: random::mac()?, gateway_mac: random::mac()? })
    }

    /// All pods with network namespaces of their own, with their nodes.
    pub fn pods(&self) -> impl Iterator<Item = (&NodeLayout, &PodLayout)> {
        self.nodes.iter().flat_map(|node| node.pods.iter().map(move |pod| (node, pod)))
    }

    /// The pod called `name` and its node.
    pub fn pod(&self, name: &PodName) -> Option<(&NodeLayout, &PodLayout)> {
        self.pods().find(|(_, pod)| pod.name == *name)
    }

    /// The node called `name`.
    pub fn node(&self, name: &str) -> Option<&NodeLayout> {
        self.nodes.iter().find(|it| it.name == name)
    }

    /// The Services.
    pub(crate) fn services(&self) -> Vec<ServiceLayout> {
        let service = |namespace, name, app, last: (u8, u8, u8), last_v6: u16, ports| {
            let mut addresses = vec![IpAddr::from([10, last.0, last.1, last.2])];
            // `default/kubernetes` has the first family alone: the API server makes it single-stack.
            if self.base.has_ipv6() && name != "kubernetes" {
                addresses.push(IpAddr::from([0xfd00, 0x10, 0x96, 0, 0, 0, 0, last_v6]));
            }
            ServiceLayout { namespace, name, app, addresses, ports }
        };
        vec![
            service("default", "echo", Some(App::Echo), (100, 0, 80), 0x80, ECHO_PORTS),
            service("default", "echo-np", Some(App::Echo), (100, 0, 81), 0x81, ECHO_NP_PORTS),
            service("default", "kubernetes", None, (96, 0, 1), 0x1, KUBERNETES_PORTS),
            service("kube-system", "kube-dns", Some(App::CoreDns), (96, 0, 10), 0xa, DNS_PORTS),
            service("shop", "cart", Some(App::Cart), (100, 0, 82), 0x82, CART_PORTS),
        ]
    }

    /// The addresses of the gateway, IPv4 first.
    pub(crate) fn gateways(&self) -> Vec<IpAddr> {
        self.both(GATEWAY_V4, GATEWAY_V6)
    }

    /// The addresses of the web server outside, IPv4 first.
    pub(crate) fn web_addresses(&self) -> Vec<IpAddr> {
        self.both(WEB_V4, WEB_V6)
    }

    /// The addresses of the upstream DNS, IPv4 first.
    pub(crate) fn upstream_addresses(&self) -> Vec<IpAddr> {
        self.both(UPSTREAM_V4, UPSTREAM_V6)
    }

    /// The ranges of all pods, IPv4 first.
    pub(crate) fn pod_ranges(&self) -> Vec<&'static str> {
        if self.base.has_ipv6() { vec![POD_RANGE_V4, POD_RANGE_V6] } else { vec![POD_RANGE_V4] }
    }

    fn both(&self, v4: Ipv4Addr, v6: Ipv6Addr) -> Vec<IpAddr> {
        if self.base.has_ipv6() { vec![v4.into(), v6.into()] } else { vec![v4.into()] }
    }
}

fn node(shape: Shape, number: u8) -> Result<NodeLayout, LabError> {
    let name = if number == 0 { "cp".to_owned() } else { format!("w{number}") };
    let mut addresses = vec![IpAddr::from([192, 168, 50, 11 + number])];
    let range_v4 = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, number, 0), 24);
    let mut pod_ranges = vec![IpNet::V4(range_v4)];
    if shape.base.has_ipv6() {
        // The last 16 bits read as the last byte of the IPv4 address: ::11 is 192.168.50.11.
        let last = u16::from(number) + 0x11;
        addresses.push(IpAddr::from([0xfd00, 0x50, 0, 0, 0, 0, 0, last]));
        let range = Ipv6Addr::from([0xfd00, 0x10, 0x244, u16::from(number), 0, 0, 0, 0]);
        pod_ranges.push(IpNet::V6(Ipv6Net::new_assert(range, 64)));
    }
    let pods = apps(shape, number).into_iter().zip(2..).map(|((app, suffix), host)| {
        let name = match app {
            App::CoreDns => format!("coredns-{suffix}"),
            _ => format!("{}-{name}{suffix}", app.name()),
        };
        pod(PodName::new(app.namespace(), name), app, pod_ranges.iter().map(|it| nth(it, host)).collect())
    });
    let pods = pods.collect::<Result<_, _>>()?;
    let n_families = addresses.len();
    Ok(NodeLayout {
        number,
        addresses,
        pods,
        pod_ranges,
        uid: random::uid()?,
        uplink_mac: random::mac()?,
        bridge_mac: random::mac()?,
        vtep_macs: (0..n_families).map(|_| random::mac()).collect::<Result<_, _>>()?,
        name,
    })
}

/// The pods of a node, in the order in which they get addresses: what they run, and the end of their names.
fn apps(shape: Shape, number: u8) -> Vec<(App, &'static str)> {
    let mut apps = Vec::new();
    let hosts = match shape.n_nodes {
        1 => [0, 0],
        2 => [1, 0],
        _ => [1, 2],
    };
    for (host, suffix) in hosts.into_iter().zip(["a", "b"]) {
        if host == number {
            apps.push((App::CoreDns, suffix));
        }
    }
    apps.extend([(App::Client, ""), (App::Echo, ""), (App::Echo, "-b"), (App::Cart, ""), (App::Cart, "-b")]);
    apps
}

fn pod(name: PodName, app: App, addresses: Vec<IpAddr>) -> Result<PodLayout, LabError> {
    Ok(PodLayout {
        name,
        app,
        addresses,
        uid: random::uid()?,
        veth: random::veth_name()?,
        veth_mac: random::mac()?,
        mac: random::mac()?,
        netns: format!("cni-{}", random::uid()?),
    })
}

/// The `n`th address of a range.
fn nth(range: &IpNet, n: u8) -> IpAddr {
    match range.addr() {
        IpAddr::V4(first) => (u32::from(first) + u32::from(n)).to_be_bytes().into(),
        IpAddr::V6(first) => (u128::from(first) + u128::from(n)).to_be_bytes().into(),
    }
}

/// An address of the underlay with the underlay's prefix.
pub(crate) fn on_underlay(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(it) => IpNet::V4(Ipv4Net::new_assert(it, 24)),
        IpAddr::V6(it) => IpNet::V6(Ipv6Net::new_assert(it, 64)),
    }
}

/// The name of a place as members are called: `w1`, `pod/default/a`.
pub(crate) fn member_name(place: &Place) -> String {
    match place {
        Place::Node(name) => name.to_string(),
        Place::Pod(name) => format!("pod/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(layout: &Layout, node: &str) -> Vec<String> {
        layout.node(node).unwrap().pods.iter().map(|it| it.name.to_string()).collect()
    }

    #[test]
    fn three_nodes_have_seventeen_pods_with_dns_on_the_workers() {
        let layout = Layout::new(Shape::default()).unwrap();
        assert_eq!(layout.pods().count(), 17);
        assert_eq!(
            names(&layout, "w1"),
            [
                "kube-system/coredns-a",
                "default/client-w1",
                "default/echo-w1",
                "default/echo-w1-b",
                "shop/cart-w1",
                "shop/cart-w1-b"
            ]
        );
        let (node, pod) = layout.pod(&PodName::new("kube-system", "coredns-b")).unwrap();
        assert_eq!((node.name.as_str(), pod.addresses[0].to_string().as_str()), ("w2", "10.244.2.2"));
    }

    #[test]
    fn one_node_has_both_dns_pods() {
        let layout = Layout::new(Shape { n_nodes: 1, ..Shape::default() }).unwrap();
        assert_eq!(names(&layout, "cp")[..2], ["kube-system/coredns-a", "kube-system/coredns-b"]);
    }

    #[test]
    fn dual_stack_gives_everything_a_second_address() {
        let layout = Layout::new(Shape { base: Base::DualStack, n_nodes: 2 }).unwrap();
        let node = layout.node("w1").unwrap();
        assert_eq!(node.addresses[1].to_string(), "fd00:50::12");
        assert_eq!(node.pod_ranges[1].to_string(), "fd00:10:244:1::/64");
        assert_eq!(node.pods[0].addresses[1].to_string(), "fd00:10:244:1::2");
        let dns = layout.services().into_iter().find(|it| it.name == "kube-dns").unwrap();
        assert_eq!(dns.addresses[1].to_string(), "fd00:10:96::a");
        let kubernetes = layout.services().into_iter().find(|it| it.name == "kubernetes").unwrap();
        assert_eq!(kubernetes.addresses.len(), 1);
    }
}
