//! One network namespace: everything that decides about its packets, and what it counted.

mod conntrack;
mod counters;
#[cfg(fuzzing)]
pub mod fuzzing;
mod links;
mod neighbours;
mod netfilter;
mod nft_devices;
mod routes;
mod sockets;
mod sysctls;
mod traffic_control;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use hopwise_snapshot as facts;
use hopwise_snapshot::{Link, Observed, Place, Reason, Socket, XfrmPolicy};
use hopwise_sys::{
    NetNs, ProgramLimits, Root,
    netlink::{self, Family, NetlinkError, Route, Xfrm, XfrmDirection},
};
use ipnet::IpNet;

pub(crate) use conntrack::{entry as connection, sizes as conntrack_sizes};
pub(crate) use counters::{add_paired_lines, add_single_lines};

use crate::{Limits, modules::KernelModules, reason};

/// Reads the namespace `ns` of this machine.
///
/// `known` are the namespaces that the result may name where a link leads to another one; list the likely
/// ones first. Nothing is changed. Programs are started only for packet filters and IP sets, and only where
/// the kernel has some.
pub fn net_ns(ns: &NetNs, known: &[(Place, &NetNs)], limits: &Limits) -> facts::NetNs {
    let modules = match (Root::open(Path::new("/")), Root::open(Path::new("/proc"))) {
        (Ok(root), Ok(proc)) => KernelModules::read(&root, &proc),
        _ => KernelModules::default(),
    };
    read(ns, known, &Machine { limits, modules: &modules, tools: &[None] }).net
}

/// What is the same for all namespaces of a machine.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) modules: &'a KernelModules,
    /// Directories to look for programs in, each being `/` to the program; none is this process's own.
    pub(crate) tools: &'a [Option<Root>],
}

/// What reading a namespace gave.
pub(crate) struct Reading {
    pub(crate) net: facts::NetNs,
    /// The inodes of the sockets in [`facts::NetNs::sockets`], in the same order.
    pub(crate) socket_inodes: Vec<u32>,
}

/// Reads a namespace from a thread inside it.
pub(crate) fn read(ns: &NetNs, known: &[(Place, &NetNs)], machine: &Machine<'_>) -> Reading {
    let surroundings = Surroundings {
        limits: machine.limits,
        modules: machine.modules,
        tools: machine.tools,
        deadline: Instant::now() + machine.limits.namespace,
    };
    let mut reading = match ns.run(|| read_here(known, &surroundings)) {
        Ok(reading) => reading,
        Err(error) => Reading { net: nothing(&entering(&error)), socket_inodes: Vec::new() },
    };
    reading.net.inode = Observed::Known(ns.inode());
    reading
}

fn entering(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Reason::NotPermitted("CAP_SYS_ADMIN in the namespace".to_owned()),
        _ => Reason::Failed(format!("entering the namespace: {error}")),
    }
}

/// The machine around a namespace, and the time that is left for it.
struct Surroundings<'a> {
    limits: &'a Limits,
    modules: &'a KernelModules,
    tools: &'a [Option<Root>],
    deadline: Instant,
}

impl Surroundings<'_> {
    /// Is there still time to begin something?
    fn in_time(&self) -> Result<(), Reason> {
        if Instant::now() < self.deadline { Ok(()) } else { Err(Reason::TimedOut) }
    }

    /// A program may take its own time, and no more than what is left for the namespace.
    fn program_limits(&self) -> ProgramLimits {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let ProgramLimits { timeout, bytes } = self.limits.program;
        ProgramLimits { timeout: timeout.min(left).max(Duration::from_millis(1)), bytes }
    }

    /// Reads one table and converts its entries. `what` names the table.
    fn table<M, T, C>(
        &self,
        what: &str,
        read: impl FnOnce() -> Result<Vec<M>, NetlinkError>,
        convert: impl Fn(M) -> Result<C, NotUnderstood>,
    ) -> Observed<Vec<T>>
    where
        C: IntoIterator<Item = T>,
    {
        if let Err(reason) = self.in_time() {
            return Observed::NotCollected(reason);
        }
        let messages = match read() {
            Ok(messages) => messages,
            Err(error) => return Observed::NotCollected(reason::of_netlink(&error, what)),
        };
        let mut entries = Vec::with_capacity(messages.len());
        for message in messages {
            match convert(message) {
                Ok(converted) => entries.extend(converted),
                Err(NotUnderstood(it)) => {
                    return Observed::NotCollected(Reason::Failed(format!("{what}: not understood: {it}")));
                }
            }
        }
        Observed::Known(entries)
    }
}

/// A part of the kernel's answer that has no place in the snapshot. One such part hides its whole table:
/// a list with a gap would accuse the gap.
#[derive(Debug)]
struct NotUnderstood(String);

/// Reads the calling thread's namespace.
fn read_here(known: &[(Place, &NetNs)], surroundings: &Surroundings<'_>) -> Reading {
    let mut net = match Route::open(surroundings.limits.netlink) {
        Ok(mut route) => tables(&mut route, known, surroundings),
        Err(error) => nothing(&reason::of_netlink(&error, "rtnetlink")),
    };
    net.xfrm_policies = xfrm_policies(surroundings);
    net.netfilter = netfilter::netfilter(surroundings);
    net.sysctls = sysctls::sysctls(surroundings.limits.sysctls, surroundings.deadline);
    net.conntrack = conntrack::conntrack(&net.sysctls, surroundings.limits.connections);
    net.counters = protocol_counters();
    let mut socket_inodes = Vec::new();
    net.sockets = match sockets::sockets(surroundings.limits.netlink) {
        Ok(found) => {
            socket_inodes = found.iter().map(|(inode, _)| *inode).collect();
            Observed::Known(found.into_iter().map(|(_, it)| it).collect::<Vec<Socket>>())
        }
        Err(reason) => Observed::NotCollected(reason),
    };
    Reading { net, socket_inodes }
}

/// What rtnetlink knows.
fn tables(route: &mut Route, known: &[(Place, &NetNs)], surroundings: &Surroundings<'_>) -> facts::NetNs {
    let mut links = surroundings.table("links", || route.links(), |it| links::link(it).map(Some));
    sort_by_key(&mut links, |it| it.index);
    let mut net = facts::NetNs {
        namespaces: namespaces(route, &links, known),
        links,
        addresses: surroundings.table("addresses", || route.addresses(), links::address),
        ..facts::NetNs::default()
    };
    let both = |route: &mut Route| Ok([route.routes(Family::Ipv4)?, route.routes(Family::Ipv6)?].concat());
    net.routes = surroundings.table("routes", || both(route), routes::route);
    let both = |route: &mut Route| Ok([route.rules(Family::Ipv4)?, route.rules(Family::Ipv6)?].concat());
    net.rules = surroundings.table("rules", || both(route), |it| routes::rule(it).map(Some));
    net.next_hop_objects = next_hop_objects(route, surroundings);
    if let (Observed::Known(routes), Observed::Known(objects)) = (&mut net.routes, &net.next_hop_objects) {
        routes::resolve(routes, objects);
    }
    let both = |route: &mut Route| Ok([route.neighbours()?, route.proxy_neighbours()?].concat());
    net.neighbours =
        surroundings.table("neighbours", || both(route), |it| neighbours::neighbour(it).map(Some));
    sort_by_key(&mut net.neighbours, |it| (it.link, it.address, it.proxy));
    net.fdb = surroundings.table(
        "forwarding databases",
        || route.forwarding_databases(),
        |it| Ok(neighbours::fdb_entry(it)),
    );
    sort_by_key(&mut net.fdb, |it| (it.link, it.mac, it.vlan, it.on_device, it.remote));
    net.qdiscs = surroundings.table(
        "queueing disciplines",
        || route.queueing_disciplines(),
        |it| traffic_control::qdisc(&it).map(Some).map_err(|it| NotUnderstood(reason::chain(&it))),
    );
    net.tc_filters = match &net.qdiscs {
        Observed::Known(qdiscs) => {
            surroundings.table("filters", || traffic_control::filters(route, qdiscs), |it| Ok(Some(it)))
        }
        Observed::Absent => Observed::Absent,
        Observed::NotCollected(reason) => Observed::NotCollected(reason.clone()),
    };
    net
}

/// The kernel lists these by hash, in an order that says nothing.
fn sort_by_key<T, K: Ord>(list: &mut Observed<Vec<T>>, key: impl Fn(&T) -> K) {
    if let Observed::Known(list) = list {
        list.sort_by_key(key);
    }
}

/// Next hop objects came with 5.3; older kernels have none.
fn next_hop_objects(
    route: &mut Route,
    surroundings: &Surroundings<'_>,
) -> Observed<Vec<facts::NextHopObject>> {
    let objects = surroundings.table(
        "next hop objects",
        || route.next_hops(),
        |it| Ok(Some(routes::next_hop_object(it))),
    );
    match objects {
        Observed::NotCollected(Reason::Unsupported(_)) => Observed::Absent,
        other => other,
    }
}

/// Which places the numbers stand for that links speak in. Asks about one namespace after the other until
/// every number is explained.
fn namespaces(
    route: &mut Route,
    links: &Observed<Vec<Link>>,
    known: &[(Place, &NetNs)],
) -> Observed<BTreeMap<i32, Place>> {
    let links = match links {
        Observed::Known(links) => links,
        Observed::Absent => return Observed::Absent,
        Observed::NotCollected(reason) => return Observed::NotCollected(reason.clone()),
    };
    let mut unexplained: BTreeSet<i32> = links.iter().filter_map(|it| it.lower_nsid).collect();
    let mut places = BTreeMap::new();
    for (place, ns) in known {
        if unexplained.is_empty() {
            break;
        }
        match route.namespace_number(ns) {
            Ok(Some(number)) if unexplained.remove(&number) => {
                places.insert(number, place.clone());
            }
            Ok(_) => {}
            Err(error) => return Observed::NotCollected(reason::of_netlink(&error, "namespace numbers")),
        }
    }
    Observed::Known(places)
}

fn xfrm_policies(surroundings: &Surroundings<'_>) -> Observed<Vec<XfrmPolicy>> {
    // Opening the socket would load the module. Without it, only the older key sockets could make a policy.
    if surroundings.modules.surely_lacks("xfrm_user") && surroundings.modules.surely_lacks("af_key") {
        return Observed::Absent;
    }
    let policies = surroundings.table(
        "IPsec policies",
        || Xfrm::open(surroundings.limits.netlink)?.policies(),
        xfrm_policy,
    );
    match policies {
        Observed::NotCollected(Reason::Unsupported(_))
            if !Path::new("/proc/thread-self/net/pfkey").exists() =>
        {
            Observed::Absent
        }
        other => other,
    }
}

/// The policy that the kernel reported; none for those of a single socket.
fn xfrm_policy(policy: netlink::XfrmPolicy) -> Result<Option<XfrmPolicy>, NotUnderstood> {
    let net = |(address, prefix)| {
        IpNet::new(address, prefix).map_err(|_| NotUnderstood(format!("selector {address}/{prefix}")))
    };
    let direction = match policy.direction {
        XfrmDirection::In => "in",
        XfrmDirection::Out => "out",
        XfrmDirection::Forward => "fwd",
        XfrmDirection::Other(_) => return Ok(None),
    };
    Ok(Some(XfrmPolicy {
        index: policy.index,
        direction: direction.to_owned(),
        priority: policy.priority,
        blocks: policy.blocks,
        source: net(policy.source)?,
        destination: net(policy.destination)?,
        protocol: policy.protocol,
        n_templates: policy.n_templates,
        not_modelled: policy.further,
    }))
}

fn protocol_counters() -> Observed<facts::Counters> {
    let mut counters = facts::Counters::new();
    for name in ["snmp", "netstat", "snmp6"] {
        let add = if name == "snmp6" { add_single_lines } else { add_paired_lines };
        let path = format!("/proc/thread-self/net/{name}");
        match fs::read_to_string(&path) {
            Ok(text) => {
                if let Err((line, what)) = add(&mut counters, &text) {
                    return Observed::NotCollected(Reason::Failed(format!("{path}, line {line}: {what}")));
                }
            }
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && name == "snmp6" => {}
            Err(error) => {
                return Observed::NotCollected(reason::of_io(&error, &format!("reading {path}")));
            }
        }
    }
    Observed::Known(counters)
}

/// A namespace of which nothing could be read, for one reason.
pub(crate) fn nothing(reason: &Reason) -> facts::NetNs {
    fn missing<T>(reason: &Reason) -> Observed<T> {
        Observed::NotCollected(reason.clone())
    }
    facts::NetNs {
        inode: missing(reason),
        namespaces: missing(reason),
        links: missing(reason),
        addresses: missing(reason),
        routes: missing(reason),
        rules: missing(reason),
        next_hop_objects: missing(reason),
        neighbours: missing(reason),
        fdb: missing(reason),
        qdiscs: missing(reason),
        tc_filters: missing(reason),
        xfrm_policies: missing(reason),
        netfilter: facts::Netfilter {
            nft: missing(reason),
            iptables_nft: facts::SaveTexts { ipv4: missing(reason), ipv6: missing(reason) },
            iptables_legacy: facts::SaveTexts { ipv4: missing(reason), ipv6: missing(reason) },
            arptables_legacy: missing(reason),
            ipsets: missing(reason),
        },
        conntrack: facts::Conntrack {
            count: missing(reason),
            max: missing(reason),
            buckets: missing(reason),
            statistics: missing(reason),
            entries: missing(reason),
        },
        sysctls: missing(reason),
        sockets: missing(reason),
        counters: missing(reason),
    }
}
