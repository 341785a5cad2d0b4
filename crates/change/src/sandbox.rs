//! A pod made anew: what kubelet and the CNI plugins `flannel`, `bridge` and `host-local` do for it.

use std::collections::BTreeSet;

use hopwise_controllers::{
    cni::{BridgeDevice, FlannelDelegate, PodNetwork, host_veth_name},
    flannel::{DeviceRoute, SubnetEnv},
};
use hopwise_snapshot::{
    Bridge, BridgePort, IfIndex, Link, LinkDetail, LinkFlags, Mac, NetNs, NodeName, Observed, Place, PodName,
    Snapshot,
};
use sha2::{Digest, Sha256};

use crate::{kernel, resync};

/// The pod's end of its veth pair, which every runtime calls so.
const POD_LINK: &str = "eth0";

/// How the network plugin makes pods: by the cluster's ConfigMap, else by the configuration that nodes hold.
pub fn flannel_delegate(snapshot: &Snapshot) -> Option<FlannelDelegate> {
    let from_cluster = ["kube-flannel", "kube-system"].into_iter().find_map(|namespace| {
        let config = snapshot.cluster.config_map(namespace, "kube-flannel-cfg")?;
        FlannelDelegate::parse(config.data.get("cni-conf.json")?).ok()
    });
    from_cluster.or_else(|| {
        snapshot.nodes.values().filter_map(Observed::known).find_map(|node| {
            let mut files = node.files.iter().filter(|(path, _)| path.starts_with("/etc/cni/net.d/"));
            files.find_map(|(_, file)| {
                FlannelDelegate::parse(&String::from_utf8_lossy(file.known()?.content.bytes())).ok()
            })
        })
    })
}

/// Gives a pod its network anew, and its node the pods' bridge where that is missing. What is there stays.
pub(crate) fn recreate(snapshot: &mut Snapshot, name: &PodName) -> Result<BTreeSet<Place>, String> {
    let object = snapshot.cluster.pod(name).ok_or("the API server knows no such pod")?;
    let addresses = object.ips();
    let pod = snapshot.pods.get(name).and_then(Observed::known).ok_or("the pod was not read")?;
    let node = pod.node.clone();
    let delegate = flannel_delegate(snapshot).ok_or("the network plugin's configuration is not known")?;
    let env = subnet_env(snapshot, &node)?;
    let (node_place, pod_place) = (Place::Node(node), Place::Pod(name.clone()));
    let node_net = snapshot.net_mut(&node_place).ok_or("the node was not read")?;
    make_bridge(node_net, &delegate.bridge_device(&env));
    let network = delegate.pod_network(&env, &addresses);
    make_pair(snapshot, &node_place, &pod_place, &network)?;
    configure(snapshot, &pod_place, &network);
    Ok(BTreeSet::from([node_place, pod_place]))
}

/// What flannel wrote down for the plugin; what it would write where the file is gone.
fn subnet_env(snapshot: &Snapshot, node: &NodeName) -> Result<SubnetEnv, String> {
    let file =
        snapshot.nodes.get(node).and_then(Observed::known).and_then(|it| it.files.get(SubnetEnv::PATH));
    if let Some(Observed::Known(file)) = file
        && let Ok(env) = SubnetEnv::parse(&String::from_utf8_lossy(file.content.bytes()))
    {
        return Ok(env);
    }
    Ok(resync::flannel_network(snapshot, node)?.0.subnet_env)
}

fn make_bridge(net: &mut NetNs, device: &BridgeDevice) {
    if net.link(&device.name).is_none() {
        let detail =
            LinkDetail::Bridge(Bridge { multicast_snooping: true, ageing_seconds: 300, ..Bridge::default() });
        let link = Link {
            kind: "bridge".to_owned(),
            detail,
            mtu: device.mtu,
            ..resync::new_link(net, &device.name)
        };
        add_link(net, Link { mac: Some(made_up_mac(&device.name, 0)), ..link });
    }
    set_up_alone(net, &device.name);
    for address in &device.addresses {
        kernel::add_address(net, &device.name, *address);
    }
    for (key, value) in &device.sysctls {
        kernel::set_sysctl(net, key, value);
    }
}

/// The veth pair between a pod and its node's bridge.
fn make_pair(snapshot: &mut Snapshot, node: &Place, pod: &Place, network: &PodNetwork) -> Result<(), String> {
    let name = node_end(snapshot, node, pod).map_or_else(|| lay_pair(snapshot, node, pod, network), Ok)?;
    let net = snapshot.net_mut(node).ok_or("the node was not read")?;
    let is_attached = net.link(&name).and_then(|it| it.master).is_some();
    if !is_attached {
        kernel::set_master(net, &name, Some(&network.bridge));
        if let Some(link) = link_mut(net, &name) {
            link.port = Some(BridgePort { hairpin: network.hairpin, ..BridgePort::default() });
        }
    }
    kernel::set_up(snapshot, pod, "lo", true);
    kernel::set_up(snapshot, pod, POD_LINK, true);
    kernel::set_up(snapshot, node, &name, true);
    kernel::set_up(snapshot, node, &network.bridge, true);
    Ok(())
}

/// The node's end of the pair that a pod has.
fn node_end(snapshot: &Snapshot, node: &Place, pod: &Place) -> Option<String> {
    let index = snapshot.net(pod)?.link(POD_LINK)?.lower?;
    let net = snapshot.net(node)?;
    let link = net.links.known()?.iter().find(|it| it.index == index)?;
    let leads_there = net.namespaces.known()?.get(&link.lower_nsid?) == Some(pod);
    leads_there.then(|| link.name.clone())
}

fn lay_pair(
    snapshot: &mut Snapshot,
    node: &Place,
    pod: &Place,
    network: &PodNetwork,
) -> Result<String, String> {
    let name = host_veth_name(digest(&pod.to_string()));
    let known = known_mac(snapshot, node, pod);
    let [at_node, at_pod] = [(node, &*name, pod), (pod, POD_LINK, node)].map(|(place, link, other)| {
        let net = snapshot.net_mut(place)?;
        let nsid = number_of(net, other)?;
        let links = net.links.known_mut()?;
        links.retain(|it| it.name != link);
        let link = resync::new_link(net, link);
        Some((nsid, Link { kind: "veth".to_owned(), mtu: network.mtu, ..link }))
    });
    let (Some((node_nsid, node_link)), Some((pod_nsid, pod_link))) = (at_node, at_pod) else {
        return Err("the interfaces were not read".to_owned());
    };
    let (node_index, pod_index) = (node_link.index, pod_link.index);
    let ends = [(node, node_link, node_nsid, pod_index, 1), (pod, pod_link, pod_nsid, node_index, 2)];
    for (place, link, nsid, other, end) in ends {
        let known = known.filter(|_| place == pod);
        let mac = known.or_else(|| Some(made_up_mac(&name, end)));
        let Some(net) = snapshot.net_mut(place) else { continue };
        add_link(net, Link { mac, lower: Some(other), lower_nsid: Some(nsid), ..link });
    }
    Ok(name)
}

/// The Ethernet address by which the node knows the pod. A new pod has a new one and announces it (the plugin's
/// gratuitous ARP), so that nobody is left with the old: for the model that is the same as keeping it.
fn known_mac(snapshot: &Snapshot, node: &Place, pod: &Place) -> Option<Mac> {
    let addresses = snapshot.cluster.pod(pod.as_pod()?)?.ips();
    let neighbours = snapshot.net(node)?.neighbours.known()?;
    let mut known = neighbours.iter().filter(|it| addresses.contains(&it.address) && it.state.is_valid());
    known.find_map(|it| it.mac)
}

fn configure(snapshot: &mut Snapshot, pod: &Place, network: &PodNetwork) {
    let Some(net) = snapshot.net_mut(pod) else { return };
    forget_stations(net);
    for address in &network.addresses {
        kernel::add_address(net, POD_LINK, *address);
    }
    for route in &network.routes {
        add_route(net, route);
    }
    for (key, value) in &network.pod_sysctls {
        kernel::set_sysctl(net, key, value);
    }
}

/// What the pod learned of others went with its old interface.
fn forget_stations(net: &mut NetNs) {
    let index = net.link(POD_LINK).map(|it| it.index);
    if let Some(neighbours) = net.neighbours.known_mut() {
        neighbours.retain(|it| Some(it.link) != index);
    }
}

fn add_route(net: &mut NetNs, route: &DeviceRoute) {
    let Some(link) = net.link(&route.device).map(|it| it.index) else { return };
    let resolved = route.resolved(link);
    let Some(routes) = net.routes.known_mut() else { return };
    routes.retain(|it| it.table != resolved.table || it.destination != resolved.destination);
    routes.push(resolved);
}

/// Adds an interface, with the kernel switches that a new one gets.
pub(crate) fn add_link(net: &mut NetNs, link: Link) {
    for is_ipv6 in [false, true] {
        kernel::give_switches(net, &link.name, is_ipv6);
    }
    if let Some(links) = net.links.known_mut() {
        links.push(link);
    }
}

fn set_up_alone(net: &mut NetNs, name: &str) {
    if let Some(link) = link_mut(net, name) {
        link.flags |= LinkFlags::UP;
    }
}

fn link_mut<'n>(net: &'n mut NetNs, name: &str) -> Option<&'n mut Link> {
    net.links.known_mut()?.iter_mut().find(|it| it.name == name)
}

/// The number by which a namespace knows another; a new one where it has none.
fn number_of(net: &mut NetNs, other: &Place) -> Option<i32> {
    let known = net.namespaces.known_mut()?;
    if let Some((number, _)) = known.iter().find(|(_, place)| *place == other) {
        return Some(*number);
    }
    let number = known.keys().max().map_or(0, |it| it + 1);
    known.insert(number, other.clone());
    Some(number)
}

/// A locally administered Ethernet address that nothing else has.
fn made_up_mac(name: &str, end: u8) -> Mac {
    let [a, b, c, d] = digest(name);
    Mac([0x02, a, b, c, d, end])
}

/// Four bytes that are as good as random, and the same each time.
fn digest(text: &str) -> [u8; 4] {
    let digest: [u8; 32] = Sha256::digest(text).into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

/// An index that no interface of the namespace has.
pub(crate) fn free_index(net: &NetNs) -> IfIndex {
    let used = net.links.known().into_iter().flatten().map(|it| it.index.0);
    IfIndex(used.max().unwrap_or(0) + 1)
}
