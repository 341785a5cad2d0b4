//! The lines for `ip -batch` and `bridge -batch` that build the network of a member from nothing.
//!
//! Options are those with which the real programs make the same things: flannel's devices with no queue, the
//! bridge plugin's bridge with a broadcast address, veths from the pod's side.

use std::{fmt::Write as _, net::IpAddr};

use ipnet::IpNet;

use super::wanted::{UNDERLAY_MTU, UPLINK, Wanted};
use crate::layout::{Layout, NodeLayout, PodLayout, on_underlay};

/// Lines of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch(String);

impl Batch {
    fn line(&mut self, line: impl std::fmt::Display) {
        writeln!(self.0, "{line}").expect("writing to memory does not fail");
    }

    /// Lines that are there already.
    pub(crate) fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The underlay's bridge, and a cable to each of `ends`: the name of the port, the Ethernet address of the other
/// end, and the process in whose network namespace that end is to be.
pub(crate) fn fabric(layout: &Layout, ends: &[(String, hopwise_snapshot::Mac, u32)]) -> Batch {
    let mut batch = Batch::default();
    batch.line("link set lo up");
    batch.line(format_args!("link add br0 address {} type bridge", layout.fabric_mac));
    batch.line("link set br0 up");
    for end in ends {
        cable(&mut batch, end);
    }
    batch
}

/// The cables to these ends alone, where the bridge is there.
pub(crate) fn cables(ends: &[(String, hopwise_snapshot::Mac, u32)]) -> Batch {
    let mut batch = Batch::default();
    for end in ends {
        cable(&mut batch, end);
    }
    batch
}

fn cable(batch: &mut Batch, (port, mac, pid): &(String, hopwise_snapshot::Mac, u32)) {
    batch.line(format_args!(
        "link add {port} mtu {UNDERLAY_MTU} type veth peer name {UPLINK} address {mac} mtu {UNDERLAY_MTU} netns {pid}"
    ));
    batch.line(format_args!("link set {port} master br0 up"));
}

/// The outside: the gateway's addresses on the underlay, the servers' on loopback. It knows no way to pods or
/// Services.
pub(crate) fn outside(layout: &Layout) -> Batch {
    let mut batch = Batch::default();
    batch.line("link set lo up");
    for address in layout.gateways() {
        address_line(&mut batch, on_underlay(address), UPLINK);
    }
    for address in layout.web_addresses().into_iter().chain(layout.upstream_addresses()) {
        address_line(&mut batch, IpNet::from(address), "lo");
    }
    batch.line(format_args!("link set {UPLINK} up"));
    batch
}

/// A node without its pods.
pub(crate) fn node(layout: &Layout, node: &NodeLayout, wanted: &Wanted<'_>) -> Batch {
    let mut batch = Batch::default();
    batch.line("link set lo up");
    for address in &node.addresses {
        address_line(&mut batch, on_underlay(*address), UPLINK);
    }
    batch.line(format_args!("link set {UPLINK} up"));
    for gateway in layout.gateways() {
        batch.line(format_args!("route add default via {gateway}"));
    }
    flannel_devices(&mut batch, wanted);
    flannel_routes(&mut batch, wanted);
    let bridge = wanted.bridge();
    batch.line(format_args!(
        "link add {} address {} mtu {} type bridge",
        bridge.name, node.bridge_mac, bridge.mtu
    ));
    batch.line(format_args!("link set {} up", bridge.name));
    for address in &bridge.addresses {
        let broadcast = if address.addr().is_ipv4() { " brd +" } else { "" };
        batch.line(format_args!(
            "addr add {address}{broadcast}{} dev {}",
            nodad(address.addr()),
            bridge.name
        ));
    }
    batch
}

/// What flannel makes when it starts, as lines that leave alone what is there already.
pub(crate) fn flannel(wanted: &Wanted<'_>, has_device: impl Fn(&str) -> bool) -> Batch {
    let mut batch = Batch::default();
    for device in &wanted.flannel.devices {
        if !has_device(&device.name) {
            flannel_device(&mut batch, device);
        }
        batch.line(format_args!(
            "addr replace {}{} dev {}",
            device.address,
            nodad(device.address.addr()),
            device.name
        ));
        batch.line(format_args!("link set {} up", device.name));
    }
    flannel_routes(&mut batch, wanted);
    batch
}

fn flannel_devices(batch: &mut Batch, wanted: &Wanted<'_>) {
    for device in &wanted.flannel.devices {
        flannel_device(batch, device);
        address_line(batch, device.address, &device.name);
        batch.line(format_args!("link set {} up", device.name));
    }
}

fn flannel_device(batch: &mut Batch, device: &hopwise_controllers::flannel::VxlanDevice) {
    let mac = device.mac.map(|it| format!("address {it} ")).unwrap_or_default();
    let learning = if device.learning { "learning" } else { "nolearning" };
    let gbp = if device.gbp { " gbp" } else { "" };
    batch.line(format_args!(
        "link add {} {mac}mtu {} txqueuelen 0 type vxlan id {} local {} dev {} dstport {} {learning}{gbp}",
        device.name, device.requested_mtu, device.vni, device.local, device.lower, device.port
    ));
}

fn flannel_routes(batch: &mut Batch, wanted: &Wanted<'_>) {
    for route in &wanted.flannel.routes {
        let via = route.via.map(|it| format!(" via {it}")).unwrap_or_default();
        let onlink = if route.onlink { " onlink" } else { "" };
        batch.line(format_args!("route replace {}{via} dev {}{onlink}", route.destination, route.device));
    }
    for neighbour in &wanted.flannel.neighbours {
        batch.line(format_args!(
            "neigh replace {} lladdr {} dev {} nud permanent",
            neighbour.address, neighbour.mac, neighbour.device
        ));
    }
}

/// flannel's forwarding database, for `bridge -batch`.
pub(crate) fn flannel_fdb(wanted: &Wanted<'_>) -> Batch {
    let mut batch = Batch::default();
    for entry in &wanted.flannel.fdb {
        batch.line(format_args!(
            "fdb replace {} dev {} dst {} self permanent",
            entry.mac, entry.device, entry.remote
        ));
    }
    batch
}

/// A pod's interface with its addresses and routes; the other end goes to the network namespace of the process
/// `node_pid`.
pub(crate) fn pod(pod: &PodLayout, wanted: &Wanted<'_>, node_pid: u32) -> Batch {
    let network = wanted.pod(pod);
    let mut batch = Batch::default();
    batch.line("link set lo up");
    batch.line(format_args!(
        "link add {} address {} mtu {mtu} type veth peer name {} address {} mtu {mtu} txqueuelen 0 netns {node_pid}",
        network.interface,
        pod.mac,
        pod.veth,
        pod.veth_mac,
        mtu = network.mtu,
    ));
    for address in &network.addresses {
        let broadcast = if address.addr().is_ipv4() { " brd +" } else { "" };
        batch.line(format_args!(
            "addr add {address}{broadcast}{} dev {}",
            nodad(address.addr()),
            network.interface
        ));
    }
    batch.line(format_args!("link set {} up", network.interface));
    for route in &network.routes {
        let via = route.via.map(|it| format!(" via {it}")).unwrap_or_default();
        batch.line(format_args!("route add {}{via} dev {}", route.destination, route.device));
    }
    batch
}

/// The node's ends of its pods' cables, for `ip -batch`.
pub(crate) fn ports<'a>(pods: impl Iterator<Item = &'a PodLayout>, wanted: &Wanted<'_>) -> Batch {
    let mut batch = Batch::default();
    for pod in pods {
        batch.line(format_args!("link set {} up master {}", pod.veth, wanted.pod(pod).bridge));
    }
    batch
}

/// The settings of those ports, for `bridge -batch`.
pub(crate) fn port_settings<'a>(pods: impl Iterator<Item = &'a PodLayout>, wanted: &Wanted<'_>) -> Batch {
    let mut batch = Batch::default();
    for pod in pods {
        let hairpin = if wanted.pod(pod).hairpin { "on" } else { "off" };
        batch.line(format_args!("link set dev {} hairpin {hairpin}", pod.veth));
    }
    batch
}

/// Takes interfaces away.
pub(crate) fn deletions(names: &[String]) -> Batch {
    let mut batch = Batch::default();
    for name in names {
        batch.line(format_args!("link del {name}"));
    }
    batch
}

/// Takes away what is left of a network without interfaces, and gives it the routing rules that it was born with.
///
/// For `ip -force`: not every line succeeds in every state, and none needs to.
pub(crate) fn emptying(is_v6: bool) -> Batch {
    let mut batch = Batch::default();
    for line in [
        "link set lo down",
        "addr flush dev lo",
        "route flush table all",
        "rule flush",
        // Those of the kernel, by its own protocol: others would be added beside them.
        "rule add pref 0 from all lookup local protocol kernel",
        "rule add pref 32766 from all lookup main protocol kernel",
    ] {
        batch.line(line);
    }
    if !is_v6 {
        batch.line("rule add pref 32767 from all lookup default protocol kernel");
    }
    for line in ["neigh flush all", "nexthop flush", "xfrm state flush", "xfrm policy flush"] {
        batch.line(line);
    }
    batch
}

fn address_line(batch: &mut Batch, address: IpNet, device: &str) {
    batch.line(format_args!("addr add {address}{} dev {device}", nodad(address.addr())));
}

/// An address is to be used at once, not after a second of looking for a duplicate.
fn nodad(address: IpAddr) -> &'static str {
    if address.is_ipv6() { " nodad" } else { "" }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        layout::{Base, Shape},
        objects::{Maker, ObjectStore},
        random,
    };

    fn node_lines(base: Base) -> String {
        let mut layout = Layout::new(Shape { base, n_nodes: 2 }).unwrap();
        let mac = "02:00:00:00:00:01".parse().unwrap();
        for node in &mut layout.nodes {
            node.bridge_mac = mac;
            node.vtep_macs.fill(mac);
        }
        let directory = std::env::temp_dir().join(format!("hopwise-batch-{}", random::suffix().unwrap()));
        std::fs::create_dir(&directory).unwrap();
        let store = ObjectStore::new(directory.clone());
        for (kind, items) in Maker::new(&layout, Timestamp::UNIX_EPOCH).all().unwrap() {
            store.write(kind, &items).unwrap();
        }
        let cluster = store.cluster().unwrap();
        std::fs::remove_dir_all(directory).unwrap();
        let wanted = Wanted::of_node(&cluster, &layout.nodes[1]).unwrap();
        node(&layout, &layout.nodes[1], &wanted).0
    }

    #[test]
    fn a_node_of_the_base_vxlan() {
        let expected = "\
link set lo up
addr add 192.168.50.12/24 dev eth0
link set eth0 up
route add default via 192.168.50.1
link add flannel.1 address 02:00:00:00:00:01 mtu 1450 txqueuelen 0 type vxlan id 1 local 192.168.50.12 dev eth0 dstport 8472 nolearning
addr add 10.244.1.0/32 dev flannel.1
link set flannel.1 up
route replace 10.244.0.0/24 via 10.244.0.0 dev flannel.1 onlink
neigh replace 10.244.0.0 lladdr 02:00:00:00:00:01 dev flannel.1 nud permanent
link add cni0 address 02:00:00:00:00:01 mtu 1450 type bridge
link set cni0 up
addr add 10.244.1.1/24 brd + dev cni0
";
        assert_eq!(node_lines(Base::Vxlan), expected);
    }

    #[test]
    fn a_dual_stack_node_has_a_second_vxlan_device_and_room_for_its_overhead() {
        let lines = node_lines(Base::DualStack);
        for line in [
            "addr add fd00:50::12/64 nodad dev eth0",
            "route add default via fd00:50::1",
            "link add flannel.1 address 02:00:00:00:00:01 mtu 1430 txqueuelen 0 type vxlan id 1 local 192.168.50.12 dev eth0 dstport 8472 nolearning",
            "link add flannel-v6.1 address 02:00:00:00:00:01 mtu 1430 txqueuelen 0 type vxlan id 1 local fd00:50::12 dev eth0 dstport 8472 nolearning",
            "addr add fd00:10:244:1::/128 nodad dev flannel-v6.1",
            "route replace fd00:10:244::/64 via fd00:10:244:: dev flannel-v6.1 onlink",
            "addr add fd00:10:244:1::1/64 nodad dev cni0",
        ] {
            assert!(lines.lines().any(|it| it == line), "{line}\nis not in\n{lines}");
        }
    }
}
