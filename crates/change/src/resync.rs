//! What a controller writes when it starts.

mod nftables;

use std::{collections::BTreeSet, fmt, net::IpAddr};

use hopwise_controllers::{
    Family, Ruleset,
    flannel::{FlannelConfig, NodeNetwork, SubnetEnv, Uplink, network, sync_flannel_iptables},
    kube_proxy::{KubeProxy, KubeProxyConfig, ProxyMode},
};
use hopwise_snapshot::{
    AddressFlags, Link, LinkDetail, LinkFlags, NetNs, NodeName, NodeObject, Observed, Place, Snapshot, Vxlan,
    tables,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::nftables::{proxy_host, service_ranges};
use crate::{kernel, ruleset, sandbox};

/// A controller that keeps state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Controller {
    /// kube-proxy: Services in the packet filter.
    KubeProxy,
    /// flannel: tunnel device, routes, neighbours, forwarding entries, and its own rules.
    Flannel,
}

impl Controller {
    /// The DaemonSet that runs it, as namespace and name.
    pub fn daemon_set(self) -> (&'static str, &'static str) {
        match self {
            Self::KubeProxy => ("kube-system", "kube-proxy"),
            Self::Flannel => ("kube-flannel", "kube-flannel-ds"),
        }
    }

    /// The label that its pods carry.
    pub fn label(self) -> &'static str {
        match self {
            Self::KubeProxy => "k8s-app=kube-proxy",
            Self::Flannel => "app=flannel",
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KubeProxy => "kube-proxy",
            Self::Flannel => "flannel",
        })
    }
}

/// Writes a controller's state anew; why not, if it cannot.
pub(crate) fn resync(snapshot: &mut Snapshot, node: &NodeName, controller: Controller) -> Result<(), String> {
    match controller {
        Controller::KubeProxy => resync_kube_proxy(snapshot, node),
        Controller::Flannel => resync_flannel(snapshot, node),
    }
}

fn resync_kube_proxy(snapshot: &mut Snapshot, node: &NodeName) -> Result<(), String> {
    let cluster = snapshot.cluster.clone();
    let config = match KubeProxyConfig::of_cluster(&cluster) {
        Observed::Known(Ok(config)) => config,
        Observed::Known(Err(error)) => return Err(format!("kube-proxy's configuration: {error}")),
        Observed::Absent | Observed::NotCollected(_) => {
            return Err("kube-proxy's configuration is not known".into());
        }
    };
    let config_map = cluster.config_map("kube-system", "kube-proxy");
    if let Some(obstacle) = config_map.map(KubeProxyConfig::obstacles).unwrap_or_default().first() {
        return Err(format!("kube-proxy does not start: {obstacle}"));
    }
    if config.mode == ProxyMode::Nftables {
        return nftables::resync(snapshot, node, &config);
    }
    let proxy = KubeProxy::new(&cluster, node, &config);
    let place = Place::Node(node.clone());
    let net = snapshot.net_mut(&place).ok_or("the node was not read")?;
    for family in Family::ALL {
        edit_rules(net, family, |rules| match proxy.sync(family, rules) {
            Observed::Known(()) => Ok(()),
            Observed::Absent | Observed::NotCollected(_) => Err("Services are not known".to_owned()),
        })?;
    }
    Ok(())
}

/// The tool whose rules the cluster's controllers write: nf_tables, unless only the other back end holds theirs
/// (`iptables-wrappers` of their images decides alike).
pub fn backend(net: &NetNs, family: Family) -> &'static str {
    let has = |text: &Observed<String>| text.known().is_some_and(|it| it.contains("KUBE-"));
    let facts = &net.netfilter;
    let (nft, legacy) = match family {
        Family::V4 => (&facts.iptables_nft.ipv4, &facts.iptables_legacy.ipv4),
        Family::V6 => (&facts.iptables_nft.ipv6, &facts.iptables_legacy.ipv6),
    };
    match (family, has(legacy) && !has(nft)) {
        (Family::V4, false) => "iptables-nft",
        (Family::V4, true) => "iptables-legacy",
        (Family::V6, false) => "ip6tables-nft",
        (Family::V6, true) => "ip6tables-legacy",
    }
}

/// Lets a controller edit the rules that its tool shows of a family.
pub(crate) fn edit_rules(
    net: &mut NetNs,
    family: Family,
    edit: impl FnOnce(&mut Ruleset) -> Result<(), String>,
) -> Result<(), String> {
    let tool = backend(net, family);
    let nft_family = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let slot = ruleset::text_of(&mut net.netfilter, tool).ok_or("no such tool")?;
    let mut rules = match slot {
        Observed::Known(text) => {
            Ruleset::parse(&without_counters(text)).map_err(|error| error.to_string())?
        }
        Observed::Absent => Ruleset::default(),
        Observed::NotCollected(reason) => return Err(format!("{tool}: {reason}")),
    };
    edit(&mut rules)?;
    let tables: BTreeSet<String> = rules.chains().map(|(table, ..)| table.to_owned()).collect();
    for table in tables.into_iter().filter(|_| tool.ends_with("-nft")) {
        ruleset::forget_nft_table(&mut net.netfilter, nft_family, &table);
    }
    ruleset::set_text(&mut net.netfilter, tool, rules.to_string()).ok_or("the tool is missing")?;
    Ok(())
}

fn without_counters(text: &str) -> String {
    let lines = text.lines().map(ruleset::without_counters);
    lines.flat_map(|it| [it, "\n"]).collect()
}

fn resync_flannel(snapshot: &mut Snapshot, node: &NodeName) -> Result<(), String> {
    let (wanted, config) = flannel_network(snapshot, node)?;
    let (cluster, place) = (snapshot.cluster.clone(), Place::Node(node.clone()));
    let net = snapshot.net_mut(&place).ok_or("the node was not read")?;
    write_network(net, &wanted);
    crate::apply::write_file(snapshot, &place, SubnetEnv::PATH, &wanted.subnet_env.to_string());
    let net = snapshot.net_mut(&place).ok_or("the node was not read")?;
    for family in Family::ALL {
        if config.network_of(family).is_none() {
            continue;
        }
        edit_rules(net, family, |rules| {
            match sync_flannel_iptables(&cluster, node, &config, family, rules) {
                Observed::Known(Ok(())) => Ok(()),
                Observed::Known(Err(error)) => Err(error.to_string()),
                Observed::Absent | Observed::NotCollected(_) => Err("nodes are not known".to_owned()),
            }
        })?;
    }
    Ok(())
}

/// What flannel makes on a node, and by which configuration.
pub(crate) fn flannel_network(
    snapshot: &Snapshot,
    node: &NodeName,
) -> Result<(NodeNetwork, FlannelConfig), String> {
    let cluster = &snapshot.cluster;
    let config = match FlannelConfig::of_cluster(cluster) {
        Observed::Known(Ok(config)) => config,
        Observed::Known(Err(error)) => return Err(format!("flannel's configuration: {error}")),
        Observed::Absent | Observed::NotCollected(_) => {
            return Err("flannel's configuration is not known".into());
        }
    };
    let net = snapshot.net(&Place::Node(node.clone())).ok_or("the node was not read")?;
    let internal: Vec<IpAddr> = cluster.node(node).into_iter().flat_map(NodeObject::internal_ips).collect();
    let uplink = uplink(net, &internal).ok_or("the node has no interface with its own address")?;
    match network(cluster, node, &config, &uplink) {
        Observed::Known(Ok(wanted)) => Ok((wanted, config)),
        Observed::Known(Err(error)) => Err(error.to_string()),
        Observed::Absent | Observed::NotCollected(_) => Err("nodes are not known".into()),
    }
}

/// The interface that holds the node's own address, as flannel chooses it.
pub fn uplink(net: &NetNs, internal: &[IpAddr]) -> Option<Uplink> {
    let addresses = net.addresses.known()?;
    let own = addresses.iter().find(|it| internal.contains(&it.address.addr()))?;
    let link = net.links.known()?.iter().find(|it| it.index == own.link)?;
    let mut of_link: Vec<IpNet> = addresses
        .iter()
        .filter(|it| it.link == link.index && it.scope == 0 && !it.flags.contains(AddressFlags::SECONDARY))
        .map(|it| it.address)
        .collect();
    // The node's own addresses first, whatever else the interface holds.
    of_link.sort_by_key(|it| !internal.contains(&it.addr()));
    Some(Uplink { name: link.name.clone(), mtu: link.mtu, addresses: of_link })
}

/// Devices, addresses, routes, neighbours and forwarding entries as flannel writes them.
fn write_network(net: &mut NetNs, wanted: &NodeNetwork) {
    for device in &wanted.devices {
        let lower = net.link(&device.lower).map(|it| it.index);
        let vxlan = Vxlan {
            vni: device.vni,
            port: device.port,
            local: Some(device.local),
            remote: None,
            lower,
            learning: device.learning,
            ttl: 0,
            df: "unset".to_owned(),
            external: false,
        };
        if net.link(&device.name).is_none() {
            let link = new_link(net, &device.name);
            sandbox::add_link(net, link);
        }
        let links = net.links.known_mut().into_iter().flatten();
        let Some(link) = links.into_iter().find(|it| it.name == device.name) else { return };
        "vxlan".clone_into(&mut link.kind);
        link.detail = LinkDetail::Vxlan(vxlan);
        link.mtu = device.mtu;
        link.mac = device.mac.or(link.mac);
        link.flags |= LinkFlags::UP | LinkFlags::RUNNING | LinkFlags::LOWER_UP;
        link.flags.remove(LinkFlags::NOARP);
        link.lower = lower;
        "UNKNOWN".clone_into(&mut link.operstate);
        kernel::add_address(net, &device.name, device.address);
    }
    for route in &wanted.routes {
        let Some(link) = net.link(&route.device).map(|it| it.index) else { continue };
        let resolved = route.resolved(link);
        if let Some(routes) = net.routes.known_mut() {
            routes.retain(|it| it.table != tables::MAIN || it.destination != resolved.destination);
            routes.push(resolved);
        }
    }
    for neighbour in &wanted.neighbours {
        let change = crate::Change::NeighbourReplaced {
            place: Place::node(""),
            link: neighbour.device.clone(),
            address: neighbour.address,
            mac: neighbour.mac,
        };
        // An entry of a device that is not there cannot be written; flannel logs it and goes on.
        let _ = change.apply_to(net);
    }
    for entry in &wanted.fdb {
        let change = crate::Change::FdbReplaced {
            place: Place::node(""),
            link: entry.device.clone(),
            mac: entry.mac,
            remote: Some(entry.remote),
        };
        // An entry of a device that is not there cannot be written; flannel logs it and goes on.
        let _ = change.apply_to(net);
    }
}

/// An interface that is not there yet.
pub(crate) fn new_link(net: &NetNs, name: &str) -> Link {
    Link {
        index: sandbox::free_index(net),
        name: name.to_owned(),
        kind: String::new(),
        flags: LinkFlags::BROADCAST | LinkFlags::MULTICAST,
        mtu: 1500,
        mac: None,
        operstate: "DOWN".to_owned(),
        master: None,
        lower: None,
        lower_nsid: None,
        detail: LinkDetail::Other,
        port: None,
        xdp: None,
        qdisc: "noqueue".to_owned(),
        statistics: hopwise_snapshot::LinkStatistics::default(),
    }
}
