//! A change, applied to a snapshot.

use std::collections::BTreeSet;

use hopwise_controllers::container_runtime::{CONTAINERD_CONFIG, cni_directories};
use hopwise_snapshot::{
    FdbEntry, FdbState, File, LinkDetail, LinkFlags, Neighbour, NeighbourState, NetNs, NextHop, Observed,
    Place, PortState, Route, RouteKind, Snapshot, Socket, SocketProtocol, SocketState,
};

use crate::{Change, RouteSpec, added, kernel, ports, resync, ruleset, sandbox};

/// Why a change cannot be applied to a snapshot: what it changes is not there, or was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Inapplicable {
    /// Where.
    pub place: String,
    /// What is missing.
    pub what: String,
}

impl Change {
    /// Changes the snapshot as the kernel and the controllers would change the cluster; the places whose
    /// facts are different now.
    pub fn apply(&self, snapshot: &mut Snapshot) -> Result<BTreeSet<Place>, Inapplicable> {
        let Some(place) = self.place() else { return self.apply_to_objects(snapshot) };
        let missing = |what: &str| Inapplicable { place: place.to_string(), what: what.to_owned() };
        match self {
            Self::LinkUp { link, up, .. } => {
                require_link(snapshot, &place, link)?;
                kernel::set_up(snapshot, &place, link, *up);
                return Ok(with_peers(snapshot, &place));
            }
            Self::LinkRemoved { link, .. } => {
                require_link(snapshot, &place, link)?;
                let changed = with_peers(snapshot, &place);
                kernel::remove_link(snapshot, &place, link);
                return Ok(changed);
            }
            Self::Resynced { node, controller } => {
                resync::resync(snapshot, node, *controller).map_err(|what| missing(&what))?;
                return Ok(BTreeSet::from([place]));
            }
            Self::PodRecreated { pod } => {
                return sandbox::recreate(snapshot, pod).map_err(|what| missing(&what));
            }
            Self::FileWritten { path, content, .. } => {
                write_file(snapshot, &place, path, content)
                    .ok_or_else(|| missing("its files were not read"))?;
                return Ok(BTreeSet::from([place]));
            }
            Self::FileRemoved { path, .. } => {
                let files = snapshot.files_mut(&place).ok_or_else(|| missing("its files were not read"))?;
                files.insert(path.clone(), Observed::Absent);
                list(snapshot, &place, path, false);
                return Ok(BTreeSet::from([place]));
            }
            Self::ProcessStarted { program, .. } => {
                set_process(snapshot, &place, program, Some("S"));
                if program == "kubelet" {
                    report(snapshot, &place);
                }
                return Ok(BTreeSet::from([place]));
            }
            Self::ProcessHalted { program, is_gone, .. } => {
                set_process(snapshot, &place, program, (!is_gone).then_some("T"));
                return Ok(BTreeSet::from([place]));
            }
            _ => {}
        }
        let net = snapshot.net_mut(&place).ok_or_else(|| missing("its network namespace was not read"))?;
        self.apply_to(net)
            .ok_or_else(|| missing(&format!("there is nothing to apply `{}` to", self.summary())))?;
        Ok(BTreeSet::from([place]))
    }

    /// The changes that stay within one namespace.
    pub(crate) fn apply_to(&self, net: &mut NetNs) -> Option<()> {
        match self {
            Self::Sysctl { key, value, .. } => kernel::set_sysctl(net, key, value),
            Self::LinkMaster { link, master, .. } => kernel::set_master(net, link, master.as_deref())?,
            Self::LinkMtu { link, mtu, .. } => ports::set_mtu(net, link, *mtu)?,
            Self::LinkMac { link, mac, .. } => {
                let link = link_mut(net, link)?;
                let is_other = link.mac.replace(*mac) != Some(*mac);
                let index = link.index;
                if is_other {
                    kernel::forget_neighbours(net, index);
                }
            }
            Self::LinkArp { link, on, .. } => {
                let link = link_mut(net, link)?;
                let is_other = link.flags.contains(LinkFlags::NOARP) == *on;
                link.flags.set(LinkFlags::NOARP, !on);
                let index = link.index;
                if is_other {
                    kernel::forget_neighbours(net, index);
                }
            }
            Self::AddressAdded { link, address, .. } => {
                net.link(link)?;
                kernel::add_address(net, link, *address);
            }
            Self::AddressRemoved { link, address, .. } => {
                net.link(link)?;
                kernel::remove_address(net, link, *address);
            }
            Self::RouteReplaced { route, .. } => replace_route(net, route)?,
            Self::RouteRemoved { table, destination, metric, .. } => {
                let routes = net.routes.known_mut()?;
                let at = routes.iter().position(|it| {
                    it.table == *table && it.destination == *destination && it.metric == *metric
                })?;
                routes.remove(at);
            }
            Self::RuleAdded { rule, .. } => {
                let rules = net.rules.known_mut()?;
                let at = rules.iter().position(|it| it.priority > rule.priority).unwrap_or(rules.len());
                rules.insert(at, (**rule).clone());
            }
            Self::RuleRemoved { is_ipv6, priority, .. } => {
                net.rules.known_mut()?.retain(|it| it.is_ipv6 != *is_ipv6 || it.priority != *priority);
            }
            Self::NeighbourReplaced { link, address, mac, .. } => {
                let link = net.link(link)?.index;
                let neighbours = net.neighbours.known_mut()?;
                neighbours.retain(|it| it.link != link || it.address != *address);
                neighbours.push(Neighbour {
                    link,
                    address: *address,
                    mac: Some(*mac),
                    state: NeighbourState::Permanent,
                    proxy: false,
                });
            }
            Self::NeighbourRemoved { link, address, .. } => {
                let link = net.link(link)?.index;
                net.neighbours
                    .known_mut()?
                    .retain(|it| it.link != link || it.address != *address || it.proxy);
            }
            Self::FdbReplaced { link, mac, remote, .. } => replace_fdb(net, link, *mac, *remote)?,
            Self::FdbRemoved { link, mac, .. } => {
                let link = net.link(link)?.index;
                net.fdb.known_mut()?.retain(|it| it.link != link || it.mac != *mac);
            }
            Self::BridgePort { port, attribute, value, .. } => {
                set_port(net, port, attribute, value)?;
                ports::select_state(net, port);
            }
            Self::Vxlan { link, attribute, value, .. } => set_vxlan(net, link, attribute, value)?,
            Self::QdiscRemoved { link, parent, .. } => remove_qdisc(net, link, parent)?,
            Self::TcFilterRemoved { link, direction, priority, .. } => {
                let link = net.link(link)?.index;
                net.tc_filters
                    .known_mut()?
                    .retain(|it| it.link != link || it.direction != *direction || it.priority != *priority);
            }
            Self::XdpRemoved { link, .. } => link_mut(net, link)?.xdp = None,
            Self::XfrmPolicyRemoved { index, .. } => {
                net.xfrm_policies.known_mut()?.retain(|it| it.index != *index);
            }
            Self::SocketOpened { protocol, port, .. } => open_socket(net, protocol, *port)?,
            _ => return ruleset::apply(self, &mut net.netfilter).or_else(|| added::apply(self, net)),
        }
        Some(())
    }
}

fn require_link(snapshot: &Snapshot, place: &Place, link: &str) -> Result<(), Inapplicable> {
    let known = snapshot.net(place).and_then(|it| it.link(link));
    match known {
        Some(_) => Ok(()),
        None => Err(Inapplicable { place: place.to_string(), what: format!("there is no interface {link}") }),
    }
}

/// A place and those at the other ends of its veth pairs.
fn with_peers(snapshot: &Snapshot, place: &Place) -> BTreeSet<Place> {
    let namespaces = snapshot.net(place).and_then(|it| it.namespaces.known());
    let peers = namespaces.into_iter().flat_map(|it| it.values().cloned());
    peers.chain([place.clone()]).collect()
}

fn link_mut<'a>(net: &'a mut NetNs, name: &str) -> Option<&'a mut hopwise_snapshot::Link> {
    net.links.known_mut()?.iter_mut().find(|it| it.name == name)
}

fn replace_route(net: &mut NetNs, spec: &RouteSpec) -> Option<()> {
    let link = match &spec.link {
        Some(name) => Some(net.link(name)?.index),
        None => None,
    };
    let is_ipv6 = spec.destination.addr().is_ipv6();
    let metric = if spec.metric == 0 && is_ipv6 { 1024 } else { spec.metric };
    let needs_hop = matches!(spec.kind, RouteKind::Unicast | RouteKind::Local | RouteKind::Broadcast);
    let hop = NextHop { link, via: spec.via, weight: 1, onlink: spec.onlink, ..NextHop::default() };
    let route = Route {
        table: spec.table,
        kind: spec.kind,
        destination: spec.destination,
        source: None,
        tos: 0,
        metric,
        protocol: spec.protocol,
        scope: if is_ipv6 { 0 } else { spec.scope },
        preferred_source: spec.preferred_source,
        next_hops: if needs_hop { vec![hop] } else { Vec::new() },
        next_hop_object: None,
        mtu: spec.mtu,
        mtu_locked: false,
        encapsulation: None,
    };
    let routes = net.routes.known_mut()?;
    routes.retain(|it| {
        (it.table, it.destination, it.metric) != (route.table, route.destination, route.metric)
            || (it.kind == RouteKind::Local) != (route.kind == RouteKind::Local)
    });
    routes.push(route);
    Some(())
}

fn replace_fdb(
    net: &mut NetNs,
    name: &str,
    mac: hopwise_snapshot::Mac,
    remote: Option<std::net::IpAddr>,
) -> Option<()> {
    let link = net.link(name)?;
    let (index, on_device) = (link.index, matches!(link.detail, LinkDetail::Vxlan(_)));
    let fdb = net.fdb.known_mut()?;
    fdb.retain(|it| it.link != index || it.mac != mac);
    fdb.push(FdbEntry {
        link: index,
        mac,
        state: if on_device { FdbState::Permanent } else { FdbState::Static },
        on_device,
        sticky: false,
        vlan: None,
        remote,
        vni: None,
        port: None,
        via: None,
    });
    Some(())
}

fn set_port(net: &mut NetNs, port: &str, attribute: &str, value: &str) -> Option<()> {
    let setting = link_mut(net, port)?.port.as_mut()?;
    let on = value == "on";
    match attribute {
        "isolated" => setting.isolated = on,
        "hairpin" => setting.hairpin = on,
        "learning" => setting.learning = on,
        "flood" => setting.flood = on,
        "bcast_flood" => setting.broadcast_flood = on,
        "mcast_flood" => setting.multicast_flood = on,
        "locked" => setting.locked = on,
        "neigh_suppress" => setting.neighbour_suppression = on,
        "state" => {
            setting.state = match value {
                "0" | "disabled" => PortState::Disabled,
                "1" | "listening" => PortState::Listening,
                "2" | "learning" => PortState::Learning,
                "4" | "blocking" => PortState::Blocking,
                _ => PortState::Forwarding,
            }
        }
        _ => return None,
    }
    Some(())
}

fn set_vxlan(net: &mut NetNs, link: &str, attribute: &str, value: &str) -> Option<()> {
    let LinkDetail::Vxlan(vxlan) = &mut link_mut(net, link)?.detail else { return None };
    match attribute {
        "vni" => vxlan.vni = value.parse().ok()?,
        "port" => vxlan.port = value.parse().ok()?,
        "local" => vxlan.local = Some(value.parse().ok()?),
        _ => return None,
    }
    Some(())
}

fn remove_qdisc(net: &mut NetNs, name: &str, parent: &str) -> Option<()> {
    let link = net.link(name)?.index;
    let is_root = parent == "root";
    net.qdiscs.known_mut()?.retain(|it| it.link != link || it.is_root() != is_root);
    if !is_root && let Some(filters) = net.tc_filters.known_mut() {
        filters.retain(|it| it.link != link || !matches!(it.direction.as_str(), "ingress" | "egress"));
    }
    Some(())
}

fn open_socket(net: &mut NetNs, protocol: &str, port: u16) -> Option<()> {
    let protocol = match protocol {
        "tcp" => SocketProtocol::Tcp,
        "udp" => SocketProtocol::Udp,
        _ => return None,
    };
    net.sockets.known_mut()?.push(Socket {
        protocol,
        address: std::net::Ipv6Addr::UNSPECIFIED.into(),
        port,
        state: if protocol == SocketProtocol::Tcp {
            SocketState::Listening
        } else {
            SocketState::Unconnected
        },
        is_v6_only: false,
        link: None,
        receive_queue: 0,
        backlog: 0,
        program: None,
    });
    Some(())
}

/// Writes a file, which its directory lists from then on.
pub(crate) fn write_file(snapshot: &mut Snapshot, place: &Place, path: &str, content: &str) -> Option<()> {
    let files = snapshot.files_mut(place)?;
    files.insert(path.to_owned(), Observed::Known(File::text(content)));
    list(snapshot, place, path, true);
    if path == CONTAINERD_CONFIG
        && let Ok(told) = cni_directories(content)
        && let Some(node) = place.as_node().and_then(|it| snapshot.nodes.get_mut(it)?.known_mut())
    {
        // A directory that the runtime is told of now, and that nobody has filled.
        for directory in told.plugins.into_iter().chain([told.configurations]) {
            node.directories.entry(directory).or_insert(Observed::Absent);
        }
    }
    Some(())
}

/// Has a directory of a node list a name, or not any more. A directory that is not there comes with its first file.
fn list(snapshot: &mut Snapshot, place: &Place, path: &str, is_there: bool) {
    let Some(node) = place.as_node().and_then(|it| snapshot.nodes.get_mut(it)?.known_mut()) else { return };
    let Some((directory, name)) = path.rsplit_once('/') else { return };
    // A network's reservations are listed as soon as there is one.
    let is_known = node.directories.contains_key(directory);
    if !is_known && !directory.starts_with("/var/lib/cni/networks/") {
        return;
    }
    let names = node.directories.entry(directory.to_owned()).or_insert(Observed::Absent);
    match names {
        Observed::Known(names) => {
            names.retain(|it| it != name);
            if is_there {
                names.push(name.to_owned());
                names.sort();
            }
        }
        Observed::Absent if is_there => *names = Observed::Known(vec![name.to_owned()]),
        Observed::Absent | Observed::NotCollected(_) => {}
    }
}

/// Has a node's kubelet report to the API server again.
fn report(snapshot: &mut Snapshot, place: &Place) {
    let Some(name) = place.as_node() else { return };
    let nodes = snapshot.cluster.nodes.known_mut().into_iter().flatten();
    let conditions = nodes.filter(|it| it.name() == *name).flat_map(|it| &mut it.status.conditions);
    for condition in conditions.filter(|it| it.kind == "Ready" && it.status == "Unknown") {
        "True".clone_into(&mut condition.status);
    }
}

/// Leaves one process of a program in this state, or none.
fn set_process(snapshot: &mut Snapshot, place: &Place, program: &str, state: Option<&str>) {
    let processes = match place {
        Place::Node(name) => {
            snapshot.nodes.get_mut(name).and_then(Observed::known_mut).map(|it| &mut it.processes)
        }
        Place::Pod(name) => {
            snapshot.pods.get_mut(name).and_then(Observed::known_mut).map(|it| &mut it.processes)
        }
    };
    let Some(processes) = processes.and_then(Observed::known_mut) else { return };
    let pid = processes.iter().find(|it| it.program == program).map_or(0, |it| it.pid);
    processes.retain(|it| it.program != program);
    processes.extend(state.map(|state| hopwise_snapshot::Process {
        pid,
        program: program.to_owned(),
        state: state.to_owned(),
    }));
}
