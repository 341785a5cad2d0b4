//! Interfaces of nodes, their addresses and their bridge.

use hopwise_snapshot::{Element, Mac};

use crate::fault::{Fault, Kind, Scene, addresses};

pub(super) static KINDS: &[Kind] = &[
    Kind { name: "an interface is down", make: down },
    Kind { name: "a pod's pair is down", make: veth_down },
    Kind { name: "a pod's pair leaves the bridge", make: detached },
    Kind { name: "a pod's pair is on another bridge", make: other_bridge },
    Kind { name: "a pod's pair is deleted", make: veth_deleted },
    Kind { name: "an interface is deleted", make: deleted },
    Kind { name: "an interface takes only small packets", make: small },
    Kind { name: "a pod's pair takes only small packets", make: veth_small },
    Kind { name: "an interface has another Ethernet address", make: tunnel_mac },
    Kind { name: "an interface resolves no addresses", make: no_arp },
    Kind { name: "the tunnel has another number", make: other_vni },
    Kind { name: "the tunnel has another port", make: other_port },
    Kind { name: "an address is deleted", make: address_deleted },
    Kind { name: "a pod's address on the node", make: address_of_pod },
    Kind { name: "a Service's address on the node", make: address_of_service },
    Kind { name: "a bridge port is isolated", make: isolated },
    Kind { name: "a bridge port forwards nothing", make: port_disabled },
    Kind { name: "a bridge port does not turn packets back", make: no_hairpin },
    Kind { name: "a bridge port is not flooded to", make: no_flood },
];

fn down(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_node();
    let link = scene.interface(net);
    Some(Fault::new(&place, format!("ip link set {link} down"), Element::link_aspect(&place, &link, "up")))
}

fn veth_down(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, veth) = scene.at_veth();
    Some(Fault::new(&place, format!("ip link set {veth} down"), Element::link_aspect(&place, &veth, "up")))
}

fn detached(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, veth) = scene.at_veth();
    let element = Element::link_aspect(&place, &veth, "master");
    Some(Fault::new(&place, format!("ip link set {veth} nomaster"), element))
}

fn other_bridge(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, veth) = scene.at_veth();
    let command = format!("ip link add br9 type bridge; ip link set br9 up; ip link set {veth} master br9");
    Some(Fault::new(&place, command, Element::link_aspect(&place, &veth, "master")))
}

fn veth_deleted(scene: &mut Scene<'_>) -> Option<Fault> {
    let (pod, place, veth) = scene.at_veth();
    let pod = hopwise_snapshot::Place::Pod(pod);
    let fault = Fault::new(&place, format!("ip link del {veth}"), Element::link(&place, &veth));
    Some(fault.or(Element::link(&pod, "eth0")))
}

fn deleted(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_node();
    let link = scene.interface(net);
    // A veth's other end lies outside the node: nothing that a node can do brings it back.
    (link != "eth0").then(|| Fault::new(&place, format!("ip link del {link}"), Element::link(&place, &link)))
}

fn small(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_node();
    let link = scene.interface(net);
    let mtu = if scene.is_ipv6() { 1280 } else { scene.dice.u32(600..1300) };
    let element = Element::link_aspect(&place, &link, "mtu");
    Some(Fault::new(&place, format!("ip link set {link} mtu {mtu}"), element))
}

fn veth_small(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, veth) = scene.at_veth();
    let mtu = scene.dice.u32(600..1300);
    let element = Element::link_aspect(&place, &veth, "mtu");
    Some(Fault::new(&place, format!("ip link set {veth} mtu {mtu}"), element))
}

fn tunnel_mac(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let mac = Mac([0x02, 0, 0, 0, 0, scene.dice.u8(..)]);
    let element = Element::link_aspect(&place, "flannel.1", "mac");
    Some(Fault::new(&place, format!("ip link set flannel.1 address {mac}"), element))
}

fn no_arp(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let link = scene.one_of(&["eth0", "cni0"])?;
    let element = Element::link_aspect(&place, link, "arp");
    Some(Fault::new(&place, format!("ip link set {link} arp off; ip neigh flush dev {link}"), element))
}

fn new_tunnel(scene: &mut Scene<'_>, vni: u32, port: u16, attribute: &str) -> Fault {
    let (name, place, net) = scene.at_node();
    let uplink = addresses(net, "eth0").iter().map(|it| it.address).find(|it| it.addr().is_ipv4());
    let local = uplink.map_or_else(|| "0.0.0.0".to_owned(), |it| it.addr().to_string());
    let own = scene.snapshot.cluster.node(&name).map(hopwise_snapshot::NodeObject::pod_cidrs);
    let own = own.unwrap_or_default().iter().map(|it| it.network().to_string()).next().unwrap_or_default();
    let mac = net.link("flannel.1").and_then(|it| it.mac).map(|it| it.to_string()).unwrap_or_default();
    // Everything but the one attribute is as it was.
    let command = format!(
        "routes=$(ip route show dev flannel.1); neighs=$(ip neigh show dev flannel.1 nud permanent); \
         fdb=$(bridge fdb show dev flannel.1); ip link del flannel.1; \
         ip link add flannel.1 address {mac} mtu 1450 type vxlan id {vni} local {local} dev eth0 dstport {port} nolearning; \
         ip addr add {own}/32 dev flannel.1; ip link set flannel.1 up; \
         echo \"$routes\" | while read r; do ip route add $r dev flannel.1; done; \
         echo \"$neighs\" | while read to _ mac _; do ip neigh replace $to lladdr $mac dev flannel.1 nud permanent; done; \
         echo \"$fdb\" | while read mac _ to _; do bridge fdb append $mac dev flannel.1 dst $to; done"
    );
    Fault::new(&place, command, Element::tunnel(&place, "flannel.1", attribute))
}

fn other_vni(scene: &mut Scene<'_>) -> Option<Fault> {
    let vni = scene.dice.u32(2..4096);
    Some(new_tunnel(scene, vni, 8472, "vni"))
}

fn other_port(scene: &mut Scene<'_>) -> Option<Fault> {
    let port = scene.one_of(&[4789, 8473, 14789])?;
    Some(new_tunnel(scene, 1, port, "port"))
}

fn address_deleted(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_node();
    let link = scene.interface(net);
    let all = addresses(net, &link);
    let address = scene.one_of(&all)?.address;
    let element = Element::address(&place, &link, &address);
    Some(Fault::new(&place, format!("ip addr del {address} dev {link}"), element))
}

fn address_of_pod(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_node();
    let (pod, _, _) = scene.at_pod();
    let link = scene.interface(net);
    let ips = scene.snapshot.cluster.pod(&pod)?.ips();
    let address = scene.one_of(&ips)?;
    let network = ipnet::IpNet::from(address);
    let element = Element::address(&place, &link, &network);
    Some(Fault::new(&place, format!("ip addr add {network} dev {link} nodad"), element))
}

fn address_of_service(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_node();
    let link = scene.interface(net);
    let services = scene.snapshot.cluster.services.known()?;
    let all: Vec<_> = services.iter().flat_map(hopwise_snapshot::Service::cluster_ips).collect();
    let network = ipnet::IpNet::from(scene.one_of(&all)?);
    let element = Element::address(&place, &link, &network);
    Some(Fault::new(&place, format!("ip addr add {network} dev {link} nodad"), element))
}

fn isolated(scene: &mut Scene<'_>) -> Option<Fault> {
    let (pod, place, veth) = scene.at_veth();
    // One isolated port alone still reaches all others.
    let others: Vec<_> = scene.snapshot.pods.keys().filter(|it| **it != pod).cloned().collect();
    let own = scene.node_of(&pod);
    let neighbours: Vec<_> = others.into_iter().filter(|it| scene.node_of(it) == own).collect();
    let other = scene.one_of(&neighbours)?;
    let other = scene.veth(&other);
    let command = format!("bridge link set dev {veth} isolated on; bridge link set dev {other} isolated on");
    let fault = Fault::new(&place, command, Element::bridge_port(&place, "cni0", &veth, "isolated"));
    Some(fault.or(Element::bridge_port(&place, "cni0", &other, "isolated")))
}

fn port(scene: &mut Scene<'_>, attribute: &str, value: &str) -> Fault {
    let (_, place, veth) = scene.at_veth();
    let element = Element::bridge_port(&place, "cni0", &veth, attribute);
    Fault::new(&place, format!("bridge link set dev {veth} {attribute} {value}"), element)
}

fn port_disabled(scene: &mut Scene<'_>) -> Option<Fault> {
    let state = scene.one_of(&["0", "1", "2", "4"])?;
    Some(port(scene, "state", state))
}

fn no_hairpin(scene: &mut Scene<'_>) -> Option<Fault> {
    Some(port(scene, "hairpin", "off"))
}

fn no_flood(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, veth) = scene.at_veth();
    let command = format!(
        "bridge link set dev {veth} learning off flood off; bridge fdb flush dev {veth} 2>/dev/null || \
         ip link set {veth} type bridge_slave fdb_flush"
    );
    let fault = Fault::new(&place, command, Element::bridge_port(&place, "cni0", &veth, "flood"));
    Some(fault.or(Element::bridge_port(&place, "cni0", &veth, "learning")))
}
