//! Neighbours and forwarding databases of nodes.

use hopwise_snapshot::{Element, Mac, NeighbourState, Place};

use crate::fault::{Fault, Kind, Scene};

pub(super) static KINDS: &[Kind] = &[
    Kind { name: "a tunnel's neighbour is wrong", make: tunnel_neighbour_wrong },
    Kind { name: "a tunnel's neighbour is missing", make: tunnel_neighbour_missing },
    Kind { name: "a pod's neighbour entry is set wrong", make: pod_neighbour },
    Kind { name: "another node's neighbour entry is set wrong", make: node_neighbour },
    Kind { name: "a tunnel's station is elsewhere", make: station_elsewhere },
    Kind { name: "a tunnel's station is missing", make: station_missing },
    Kind { name: "a pod's station is set to another port", make: station_set },
];

fn wrong_mac(scene: &mut Scene<'_>) -> Mac {
    Mac([0x02, 0xde, 0xad, 0, 0, scene.dice.u8(..)])
}

/// A neighbour that flannel set.
fn of_tunnel(scene: &mut Scene<'_>) -> Option<(Place, hopwise_snapshot::Neighbour)> {
    let (_, place, net) = scene.at_node();
    let index = net.link("flannel.1")?.index;
    let all: Vec<_> = net.neighbours.known()?.iter().filter(|it| it.link == index).cloned().collect();
    let all: Vec<_> = all.into_iter().filter(|it| it.state == NeighbourState::Permanent).collect();
    Some((place, scene.one_of(&all)?))
}

fn tunnel_neighbour_wrong(scene: &mut Scene<'_>) -> Option<Fault> {
    let (place, neighbour) = of_tunnel(scene)?;
    let (to, mac) = (neighbour.address, wrong_mac(scene));
    let command = format!("ip neigh replace {to} lladdr {mac} dev flannel.1 nud permanent");
    Some(Fault::new(&place, command, Element::neighbour(&place, "flannel.1", to)))
}

fn tunnel_neighbour_missing(scene: &mut Scene<'_>) -> Option<Fault> {
    let (place, neighbour) = of_tunnel(scene)?;
    let to = neighbour.address;
    let command = format!("ip neigh del {to} dev flannel.1");
    Some(Fault::new(&place, command, Element::neighbour(&place, "flannel.1", to)))
}

fn pod_neighbour(scene: &mut Scene<'_>) -> Option<Fault> {
    let (pod, place, _) = scene.at_veth();
    let ips = scene.snapshot.cluster.pod(&pod)?.ips();
    let (to, mac) = (scene.one_of(&ips)?, wrong_mac(scene));
    let command = format!("ip neigh replace {to} lladdr {mac} dev cni0 nud permanent");
    Some(Fault::new(&place, command, Element::neighbour(&place, "cni0", to)))
}

fn node_neighbour(scene: &mut Scene<'_>) -> Option<Fault> {
    let (name, place, _) = scene.at_node();
    let other = scene.other_node(&name);
    let ips: Vec<_> = scene.snapshot.cluster.node(&other)?.internal_ips().collect();
    let (to, mac) = (scene.one_of(&ips)?, wrong_mac(scene));
    let command = format!("ip neigh replace {to} lladdr {mac} dev eth0 nud permanent");
    Some(Fault::new(&place, command, Element::neighbour(&place, "eth0", to)))
}

/// A station that flannel set.
fn station(scene: &mut Scene<'_>) -> Option<(Place, hopwise_snapshot::FdbEntry)> {
    let (_, place, net) = scene.at_node();
    let index = net.link("flannel.1")?.index;
    let all: Vec<_> =
        net.fdb.known()?.iter().filter(|it| it.link == index && it.remote.is_some()).cloned().collect();
    Some((place, scene.one_of(&all)?))
}

fn station_elsewhere(scene: &mut Scene<'_>) -> Option<Fault> {
    let (place, entry) = station(scene)?;
    let to = format!("192.168.50.{}", scene.dice.u8(100..200));
    let mac = entry.mac;
    let command = format!("bridge fdb replace {mac} dev flannel.1 dst {to} self permanent");
    Some(Fault::new(&place, command, Element::fdb(&place, "flannel.1", mac)))
}

fn station_missing(scene: &mut Scene<'_>) -> Option<Fault> {
    let (place, entry) = station(scene)?;
    let (mac, to) = (entry.mac, entry.remote?);
    let command = format!("bridge fdb del {mac} dev flannel.1 dst {to} self");
    Some(Fault::new(&place, command, Element::fdb(&place, "flannel.1", mac)))
}

fn station_set(scene: &mut Scene<'_>) -> Option<Fault> {
    let (pod, place, veth) = scene.at_veth();
    let net = scene.snapshot.net(&Place::Pod(pod.clone()))?;
    let mac = net.link("eth0")?.mac?;
    let own = scene.node_of(&pod);
    let others: Vec<_> = scene.snapshot.pods.keys().filter(|it| **it != pod).cloned().collect();
    let others: Vec<_> = others.into_iter().filter(|it| scene.node_of(it) == own).collect();
    let other = scene.one_of(&others)?;
    let port = scene.veth(&other);
    let command = format!("bridge fdb replace {mac} dev {port} master static");
    Some(Fault::new(&place, command, Element::fdb(&place, &port, mac)).or(Element::fdb(&place, &veth, mac)))
}
