//! What a node owes its pods besides carrying their packets: a network for a pod that is made now, and the programs that
//! keep it so.
//!
//! A pod gets its network as containerd's go-cni and the plugins do it: the first configuration of the directory by name,
//! every plugin that it names, flannel's subnet file, an address of host-local's range, and the bridge's own address
//! (containernetworking/plugins v1.7 `bridge.go` `ensureAddr`: another IPv4 address on the bridge is an error).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hopwise_controllers::{Family, cni::FlannelDelegate, flannel::SubnetEnv};
use hopwise_snapshot::{Element, Node, NodeName, Observed, Place, Reason, Snapshot};
use serde_json::Value;

use crate::{
    trace::{Assumption, Blocker, BlockerKind, Disposition, Unknown},
    tracer::State,
    verify::Verified,
};

/// Where network configurations lie, unless the runtime is told otherwise.
pub const CNI_CONFIGURATIONS: &str = "/etc/cni/net.d";
/// Where plugins lie, unless the runtime is told otherwise.
pub const CNI_PLUGINS: &str = "/opt/cni/bin";
/// Where host-local keeps which addresses are taken.
const RESERVATIONS: &str = "/var/lib/cni/networks";
/// Programs that a node has where others have them, and whether a node has the choice.
const PROGRAMS: [(&str, bool); 6] = [
    ("containerd", true),
    ("crio", true),
    ("dockerd", true),
    ("flanneld", false),
    ("kube-proxy", false),
    ("kubelet", false),
];

/// What a node must be able to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Duty {
    /// Give a new pod a network.
    PodNetwork,
    /// Tell the API server that it lives.
    Reports,
    /// Run a program.
    Runs {
        /// Its name.
        program: String,
    },
}

impl Duty {
    /// What it is, for a person.
    pub fn text(&self) -> String {
        match self {
            Self::PodNetwork => "a network for new pods".to_owned(),
            Self::Reports => "the API server, to report".to_owned(),
            Self::Runs { program } => format!("the program {program}"),
        }
    }
}

/// Why a new pod gets no network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoPodNetwork {
    /// There is no configuration of a network.
    NoConfiguration,
    /// The configuration that comes first cannot be read.
    NotUnderstood {
        /// Its path.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A plugin that the configuration names is not there.
    NoPlugin {
        /// Its name.
        plugin: String,
    },
    /// flannel has not written down the node's range, or something else.
    NoSubnetFile,
    /// All addresses of the range are taken.
    Exhausted {
        /// How many there are.
        n_addresses: usize,
    },
    /// The bridge holds another address than the range's first.
    BridgeAddress {
        /// The bridge.
        link: String,
        /// What it holds.
        address: ipnet::IpNet,
        /// What it should hold.
        wanted: ipnet::IpNet,
    },
}

impl NoPodNetwork {
    /// What is wrong, as a clause.
    pub fn note(&self) -> String {
        match self {
            Self::NoConfiguration => format!("{CNI_CONFIGURATIONS} holds no network configuration"),
            Self::NotUnderstood { path, why } => format!("{path} cannot be read: {why}"),
            Self::NoPlugin { plugin } => format!("{CNI_PLUGINS} has no plugin {plugin}"),
            Self::NoSubnetFile => format!("{} does not say the node's range", SubnetEnv::PATH),
            Self::Exhausted { n_addresses } => format!("all {n_addresses} addresses of the range are taken"),
            Self::BridgeAddress { link, address, wanted } => {
                format!("{link} already has {address}, which is not {wanted}")
            }
        }
    }
}

/// What the nodes of a cluster owe, each with its node.
pub(crate) fn duties(snapshot: &Snapshot) -> Vec<(NodeName, Duty)> {
    let nodes: BTreeMap<&NodeName, &Node> = snapshot
        .nodes
        .iter()
        .filter(|(name, _)| snapshot.cluster.node(name).is_some())
        .filter_map(|(name, node)| Some((name, node.known()?)))
        .collect();
    // Whose processes nobody read owes nothing that could be told.
    let programs: BTreeMap<&NodeName, BTreeSet<&str>> =
        nodes.iter().filter_map(|(name, node)| Some((*name, programs(node)?))).collect();
    // Runtimes may differ from node to node; what keeps the network is everywhere, or should be.
    let is_usual = |(program, is_choice): &&(&str, bool)| {
        let n_have = programs.values().filter(|it| it.contains(program)).count();
        if *is_choice { n_have * 2 > programs.len() } else { n_have > 0 || *program == "kubelet" }
    };
    let usual: Vec<&str> = PROGRAMS.iter().filter(is_usual).map(|(program, _)| *program).collect();
    let mut all = Vec::new();
    let posted = snapshot.cluster.nodes.known().into_iter().flatten();
    all.extend(posted.map(|it| (it.name(), Duty::Reports)));
    for (name, node) in nodes {
        // A machine without kubelet's configuration makes no pods.
        if matches!(node.files.get("/var/lib/kubelet/config.yaml"), Some(Observed::Known(_))) {
            all.push((name.clone(), Duty::PodNetwork));
        }
        if programs.contains_key(name) {
            let runs = usual.iter().map(|it| Duty::Runs { program: (*it).to_owned() });
            all.extend(runs.map(|it| (name.clone(), it)));
        }
    }
    all
}

/// The programs of a node; none where nobody read them.
fn programs(node: &Node) -> Option<BTreeSet<&str>> {
    Some(node.processes.known()?.iter().map(|it| it.program.as_str()).collect())
}

/// Does a node do what it owes?
pub(crate) fn check(snapshot: &Snapshot, node: &NodeName, duty: &Duty) -> Verified {
    let place = Place::Node(node.clone());
    if *duty == Duty::Reports {
        return reports(snapshot, node, &place);
    }
    let Some(facts) = snapshot.nodes.get(node).and_then(Observed::known) else {
        return unknown(Element::place(&place), Reason::SourceLacksIt);
    };
    match duty {
        Duty::Reports => Verified::kept(),
        Duty::Runs { program } => runs(&place, facts, program),
        Duty::PodNetwork => PodNetwork { place: &place, node: facts }.check(),
    }
}

/// The node controller sets the condition to Unknown when kubelet has not renewed it (Kubernetes 1.34,
/// `pkg/controller/nodelifecycle`): what else is wrong with a node kubelet says itself.
fn reports(snapshot: &Snapshot, node: &NodeName, place: &Place) -> Verified {
    let object = snapshot.cluster.node(node);
    let ready = object.and_then(|it| it.status.conditions.iter().find(|it| it.kind == "Ready"));
    match ready {
        Some(ready) if ready.status == "Unknown" => Verified::broken(Blocker {
            element: Element::process(place, "kubelet"),
            place: Some(place.clone()),
            kind: BlockerKind::NotReporting { message: ready.message.clone() },
        }),
        _ => Verified::kept(),
    }
}

fn runs(place: &Place, node: &Node, program: &str) -> Verified {
    let element = Element::process(place, program);
    let processes = match &node.processes {
        Observed::Known(processes) => processes,
        Observed::Absent => return unknown(element, Reason::SourceLacksIt),
        Observed::NotCollected(reason) => return unknown(element, reason.clone()),
    };
    let mut alive = processes.iter().filter(|it| it.program == program && it.state != "Z").peekable();
    let is_there = alive.peek().is_some();
    if alive.any(|it| !matches!(it.state.as_str(), "T" | "t")) {
        return Verified::kept();
    }
    let kind = BlockerKind::NotRunning { program: program.to_owned(), is_stopped: is_there };
    Verified::broken(Blocker { element, place: Some(place.clone()), kind })
}

struct PodNetwork<'a> {
    place: &'a Place,
    node: &'a Node,
}

/// What comes out early: kept so far, or the answer.
type Step<T> = Result<T, Box<Verified>>;

impl PodNetwork<'_> {
    fn check(&self) -> Verified {
        self.follow().map_or_else(|answer| *answer, |()| Verified::kept())
    }

    fn follow(&self) -> Step<()> {
        let (path, text) = self.configuration()?;
        let fault = |why: String| {
            self.broken(
                Element::file(self.place, &path),
                NoPodNetwork::NotUnderstood { path: path.clone(), why },
            )
        };
        let document: Value = serde_json::from_str(&text).map_err(|it| fault(it.to_string()))?;
        let single = std::slice::from_ref(&document);
        let plugins = document.get("plugins").and_then(Value::as_array).map_or(single, Vec::as_slice);
        let mut names = vec!["loopback".to_owned()];
        for plugin in plugins {
            let kind = plugin.get("type").and_then(Value::as_str).unwrap_or_default();
            if kind.is_empty() {
                return Err(fault("a plugin without a type".to_owned()));
            }
            names.push(kind.to_owned());
            if kind == "flannel" {
                let delegate = plugin.get("delegate").and_then(|it| it.get("type")).and_then(Value::as_str);
                names.extend([delegate.unwrap_or("bridge").to_owned(), "host-local".to_owned()]);
            }
            let ipam = plugin.get("ipam").and_then(|it| it.get("type")).and_then(Value::as_str);
            names.extend(ipam.map(str::to_owned));
        }
        self.plugins(&names)?;
        if names.iter().any(|it| it == "flannel")
            && let Ok(delegate) = FlannelDelegate::parse(&text)
        {
            let env = self.subnet()?;
            self.bridge(&delegate, &env)?;
            let network = document.get("name").and_then(Value::as_str).unwrap_or_default();
            self.addresses(network, &env)?;
        }
        Ok(())
    }

    /// The configuration that comes first, by its name.
    fn configuration(&self) -> Step<(String, String)> {
        let whole = Element::file(self.place, CNI_CONFIGURATIONS);
        let names = match self.node.directories.get(CNI_CONFIGURATIONS) {
            Some(Observed::Known(names)) => names.as_slice(),
            Some(Observed::Absent) => &[],
            Some(Observed::NotCollected(reason)) => return Err(Box::new(unknown(whole, reason.clone()))),
            None => return Err(Box::new(unknown(whole, Reason::SourceLacksIt))),
        };
        let is_configuration =
            |it: &&String| [".conf", ".conflist", ".json"].iter().any(|end| it.ends_with(end));
        let Some(name) = names.iter().filter(is_configuration).min() else {
            return Err(self.broken(whole, NoPodNetwork::NoConfiguration));
        };
        let path = format!("{CNI_CONFIGURATIONS}/{name}");
        match self.node.files.get(&path) {
            Some(Observed::Known(file)) => {
                Ok((path, String::from_utf8_lossy(file.content.bytes()).into_owned()))
            }
            Some(Observed::NotCollected(reason)) => {
                Err(Box::new(unknown(Element::file(self.place, &path), reason.clone())))
            }
            Some(Observed::Absent) | None => {
                Err(Box::new(unknown(Element::file(self.place, &path), Reason::SourceLacksIt)))
            }
        }
    }

    fn plugins(&self, names: &[String]) -> Step<()> {
        let there = match self.node.directories.get(CNI_PLUGINS) {
            Some(Observed::Known(there)) => there.as_slice(),
            Some(Observed::Absent) => &[],
            // Where plugins lie somewhere else, nothing is known of them.
            Some(Observed::NotCollected(_)) | None => return Ok(()),
        };
        match names.iter().find(|it| !there.contains(it)) {
            Some(plugin) => {
                let element = Element::file(self.place, &format!("{CNI_PLUGINS}/{plugin}"));
                Err(self.broken(element, NoPodNetwork::NoPlugin { plugin: plugin.clone() }))
            }
            None => Ok(()),
        }
    }

    fn subnet(&self) -> Step<SubnetEnv> {
        let element = Element::file(self.place, SubnetEnv::PATH);
        let text = match self.node.files.get(SubnetEnv::PATH) {
            Some(Observed::Known(file)) => String::from_utf8_lossy(file.content.bytes()).into_owned(),
            Some(Observed::Absent) => String::new(),
            Some(Observed::NotCollected(reason)) => {
                return Err(Box::new(unknown(element, reason.clone())));
            }
            None => return Err(Box::new(unknown(element, Reason::SourceLacksIt))),
        };
        match SubnetEnv::parse(&text) {
            Ok(env) if Family::ALL.into_iter().any(|it| env.pod_cidr(it).is_some()) => Ok(env),
            _ => Err(self.broken(element, NoPodNetwork::NoSubnetFile)),
        }
    }

    fn bridge(&self, delegate: &FlannelDelegate, env: &SubnetEnv) -> Step<()> {
        let device = delegate.bridge_device(env);
        let (Some(link), Some(addresses)) =
            (self.node.net.link(&device.name), self.node.net.addresses.known())
        else {
            return Ok(());
        };
        let is_ipv4 = |it: &ipnet::IpNet| it.addr().is_ipv4();
        let Some(wanted) = device.addresses.iter().find(|it| is_ipv4(it)) else { return Ok(()) };
        let own = addresses.iter().filter(|it| it.link == link.index).map(|it| it.address);
        match own.filter(is_ipv4).find(|it| it != wanted) {
            Some(address) => {
                let element = Element::address(self.place, &device.name, &address);
                let fault =
                    NoPodNetwork::BridgeAddress { link: device.name.clone(), address, wanted: *wanted };
                Err(self.broken(element, fault))
            }
            None => Ok(()),
        }
    }

    /// Is an address left? host-local keeps a file for each that is taken.
    fn addresses(&self, network: &str, env: &SubnetEnv) -> Step<()> {
        let path = format!("{RESERVATIONS}/{network}");
        let Some(Observed::Known(taken)) = self.node.directories.get(&path) else { return Ok(()) };
        let taken: BTreeSet<IpAddr> = taken.iter().filter_map(|it| it.parse().ok()).collect();
        for family in Family::ALL {
            let Some(range) = env.pod_cidr(family) else { continue };
            let length = u32::from(range.max_prefix_len() - range.prefix_len());
            // The network's own, the bridge's and the broadcast's addresses are nobody's.
            let Some(n_addresses) = 1usize.checked_shl(length).map(|it| it.saturating_sub(3)) else {
                continue;
            };
            if length < 17 && taken.iter().filter(|it| range.contains(*it)).count() >= n_addresses {
                let element = Element::file(self.place, &path);
                return Err(self.broken(element, NoPodNetwork::Exhausted { n_addresses }));
            }
        }
        Ok(())
    }

    fn broken(&self, element: Element, why: NoPodNetwork) -> Box<Verified> {
        let kind = BlockerKind::NoPodNetwork(why);
        Box::new(Verified::broken(Blocker { element, place: Some(self.place.clone()), kind }))
    }
}

fn unknown(element: Element, reason: Reason) -> Verified {
    let mut verified = Verified::kept();
    verified.state = State::Unknown;
    verified.disposition = Disposition::Unknown;
    verified.assumptions.insert(Assumption {
        element,
        reason: Unknown::NotCollected(reason),
        is_tried: false,
    });
    verified
}
