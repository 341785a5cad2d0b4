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

use hopwise_controllers::{
    Family,
    cni::FlannelDelegate,
    container_runtime::{CONTAINERD_CONFIG, CniDirectories, cni_directories},
    flannel::SubnetEnv,
    kubeconfig::{ApiServer, api_server},
};
use hopwise_snapshot::{Cluster, Element, Node, NodeName, Observed, Place, Reason, Snapshot, Workload};
use serde_json::Value;

use crate::{
    trace::{Assumption, Blocker, BlockerKind, Disposition, Unknown},
    tracer::State,
    verify::Verified,
};

pub use hopwise_controllers::container_runtime::{CNI_CONFIGURATIONS, CNI_PLUGINS};

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
/// The DaemonSets that run some of them.
const DAEMON_SETS: [(&str, &str); 2] = [("flanneld", "kube-flannel-ds"), ("kube-proxy", "kube-proxy")];
/// Programs that some node runs where a node runs the API server. Of a name the kernel keeps 15 letters.
const OF_CONTROL_PLANE: [&str; 2] = ["kube-controller", "kube-scheduler"];

/// What a node must be able to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Duty {
    /// Give a new pod a network.
    PodNetwork,
    /// Tell the API server that it lives.
    Reports,
    /// Have the address that the API server gives as its own.
    Address,
    /// Learn of Services and their endpoints.
    Services,
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
            Self::Address => "its own address".to_owned(),
            Self::Services => "the API server, for its Services".to_owned(),
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
    /// The runtime looks in another directory than the one that holds what it looks for.
    ElsewhereThan {
        /// What it looks for.
        what: String,
        /// Where it looks.
        directory: String,
        /// Where that is.
        usual: &'static str,
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
            Self::ElsewhereThan { what, directory, usual } => {
                format!("the runtime looks for {what} in {directory}, and it is in {usual}")
            }
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
        let is_wanted = || *program == "kubelet" || is_wanted_everywhere(&snapshot.cluster, program);
        if *is_choice { n_have * 2 > programs.len() } else { n_have > 0 || is_wanted() }
    };
    let usual: Vec<&str> = PROGRAMS.iter().filter(is_usual).map(|(program, _)| *program).collect();
    let mut all = Vec::new();
    let posted = snapshot.cluster.nodes.known().into_iter().flatten();
    all.extend(posted.map(|it| (it.name(), Duty::Reports)));
    // Where one of them is a program of its own the other is, too: in some distributions one program is all of them.
    let has_any = |program: &str| programs.values().any(|all| all.contains(program));
    let lacking: Vec<&str> = OF_CONTROL_PLANE.into_iter().filter(|it| !has_any(it)).collect();
    let is_split = lacking.len() < OF_CONTROL_PLANE.len();
    for (name, node) in nodes {
        // A machine without kubelet's configuration makes no pods.
        if matches!(node.files.get("/var/lib/kubelet/config.yaml"), Some(Observed::Known(_))) {
            all.push((name.clone(), Duty::PodNetwork));
        }
        if node.net.addresses.known().is_some() {
            all.push((name.clone(), Duty::Address));
        }
        if let Some(own) = programs.get(name) {
            // Where one of several control planes runs it, the others need not.
            let is_control_plane = own.contains("kube-apiserver");
            let of_control_plane = OF_CONTROL_PLANE
                .into_iter()
                .filter(|it| is_control_plane && is_split && (own.contains(it) || lacking.contains(it)));
            let runs = usual.iter().copied().chain(of_control_plane);
            all.extend(runs.map(|it| (name.clone(), Duty::Runs { program: it.to_owned() })));
            if own.contains("kube-proxy") {
                all.push((name.clone(), Duty::Services));
            }
        }
    }
    all
}

/// Does a DaemonSet want a program on every node?
fn is_wanted_everywhere(cluster: &Cluster, program: &str) -> bool {
    let Some((_, name)) = DAEMON_SETS.into_iter().find(|(it, _)| *it == program) else { return false };
    let n_nodes = cluster.nodes.known().map_or(0, Vec::len);
    let is_it = |it: &&Workload| it.kind == "DaemonSet" && it.metadata.name == name;
    let mut sets = cluster.workloads.known().into_iter().flatten().filter(is_it);
    n_nodes > 0 && sets.any(|it| it.status.desired_number_scheduled.is_some_and(|it| it as usize >= n_nodes))
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
        Duty::Address => address(snapshot, node, facts),
        Duty::Services => services(snapshot, node),
        Duty::Runs { program } => runs(&place, facts, program),
        Duty::PodNetwork => PodNetwork::new(&place, facts).check(),
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

/// Has a node an address of those that the API server says are its own?
fn address(snapshot: &Snapshot, name: &NodeName, node: &Node) -> Verified {
    let Some(object) = snapshot.cluster.node(name) else { return Verified::kept() };
    let posted: Vec<IpAddr> = object.internal_ips().collect();
    let own: BTreeSet<IpAddr> =
        node.net.addresses.known().into_iter().flatten().map(|it| it.address.addr()).collect();
    let Some(first) = posted.first().filter(|_| posted.iter().all(|it| !own.contains(it))) else {
        return Verified::kept();
    };
    Verified::broken(Blocker {
        element: Element::object("node", "", name.as_str(), Some("status.addresses")),
        place: Some(Place::Node(name.clone())),
        kind: BlockerKind::AddressNotOwn { address: *first },
    })
}

/// Does kube-proxy of a node ask an API server that there is? What its ConfigMap says counts once its log tells that
/// it asked there: until it is started anew it asks where it always did.
fn services(snapshot: &Snapshot, node: &NodeName) -> Verified {
    let Some((server, wanted)) = kube_proxy_asks_nobody(snapshot) else { return Verified::kept() };
    let logs = snapshot.cluster.logs.known().into_iter().flatten();
    let is_its = |it: &&hopwise_snapshot::ContainerLog| {
        it.container == "kube-proxy"
            && snapshot
                .cluster
                .pod(&it.pod)
                .is_some_and(|it| it.spec.node_name.as_deref() == Some(node.as_str()))
    };
    let mut lines = logs.filter(is_its).filter_map(|it| it.lines.known()).flatten();
    if !lines.any(|it| it.text.contains(&server.to_string())) {
        return Verified::kept();
    }
    let wanted = wanted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Verified::broken(Blocker {
        element: Element::object("configmap", "kube-system", "kube-proxy", Some("kubeconfig.conf")),
        place: Some(Place::Node(node.clone())),
        kind: BlockerKind::AsksNobody {
            program: "kube-proxy".to_owned(),
            server: server.to_string(),
            wanted,
        },
    })
}

/// The API server that kube-proxy is told to ask, where none is known to be there, and those that are.
pub fn kube_proxy_asks_nobody(snapshot: &Snapshot) -> Option<(ApiServer, BTreeSet<ApiServer>)> {
    let cluster = &snapshot.cluster;
    let text = cluster.config_map("kube-system", "kube-proxy")?.data.get("kubeconfig.conf")?;
    let server = api_server(text).ok()??;
    let known = api_servers(snapshot);
    // A name may stand for any address; of names only the port can be judged.
    let is_address = server.host.parse::<IpAddr>().is_ok();
    let is_told_of_host = known.iter().any(|it| it.host == server.host);
    let services = cluster.service("default", "kubernetes").map(hopwise_snapshot::Service::cluster_ips);
    let is_service = |it: &ApiServer| services.iter().flatten().any(|own| own.to_string() == it.host);
    let is_known = known.iter().any(|it| !is_service(it));
    let is_nobody = is_known && !known.contains(&server) && (is_address || is_told_of_host);
    is_nobody.then_some((server, known))
}

/// Where the API server is, by its own Service and its endpoints, by kubeadm, and by what each kubelet is told.
fn api_servers(snapshot: &Snapshot) -> BTreeSet<ApiServer> {
    let cluster = &snapshot.cluster;
    let mut all = BTreeSet::new();
    if let Some(service) = cluster.service("default", "kubernetes") {
        let addresses = service.cluster_ips().into_iter();
        let ports = || service.spec.ports.iter().map(|it| it.port);
        all.extend(
            addresses.flat_map(|it| ports().map(move |port| ApiServer { host: it.to_string(), port })),
        );
        for slice in cluster.slices_of(service) {
            let ports: Vec<u16> = slice.ports.iter().filter_map(|it| it.port).collect();
            let addresses = slice.endpoints.iter().flat_map(|it| &it.addresses);
            all.extend(
                addresses.flat_map(|it| {
                    ports.iter().map(|port| ApiServer { host: it.to_lowercase(), port: *port })
                }),
            );
        }
    }
    let kubeadm = cluster.config_map("kube-system", "kubeadm-config");
    let kubeadm = kubeadm.and_then(|it| it.data.get("ClusterConfiguration"));
    for line in kubeadm.into_iter().flat_map(|it| it.lines()) {
        if let Some(endpoint) = line.trim().strip_prefix("controlPlaneEndpoint:") {
            let endpoint = endpoint.trim().trim_matches('"');
            let has_port = endpoint.rsplit_once(':').is_some_and(|(_, it)| it.parse::<u16>().is_ok());
            let endpoint = if has_port { endpoint.to_owned() } else { format!("{endpoint}:6443") };
            all.extend(ApiServer::parse(&endpoint));
        }
    }
    for node in snapshot.nodes.values().filter_map(Observed::known) {
        if let Some(Observed::Known(file)) = node.files.get("/etc/kubernetes/kubelet.conf") {
            let text = String::from_utf8_lossy(file.content.bytes());
            all.extend(api_server(&text).ok().flatten());
        }
    }
    all
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
    directories: CniDirectories,
}

/// What comes out early: kept so far, or the answer.
type Step<T> = Result<T, Box<Verified>>;

impl<'a> PodNetwork<'a> {
    fn new(place: &'a Place, node: &'a Node) -> Self {
        let config = node.files.get(CONTAINERD_CONFIG).and_then(Observed::known);
        let text = config.map(|it| String::from_utf8_lossy(it.content.bytes()).into_owned());
        let directories = text.and_then(|it| cni_directories(&it).ok()).unwrap_or_default();
        Self { place, node, directories }
    }

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
        let directory = &self.directories.configurations;
        let whole = Element::file(self.place, directory);
        let names = match self.node.directories.get(directory) {
            Some(Observed::Known(names)) => names.as_slice(),
            Some(Observed::Absent) => &[],
            Some(Observed::NotCollected(reason)) => return Err(Box::new(unknown(whole, reason.clone()))),
            None => return Err(Box::new(unknown(whole, Reason::SourceLacksIt))),
        };
        let Some(name) = names.iter().filter(|it| is_configuration(it)).min() else {
            let usual = self.node.directories.get(CNI_CONFIGURATIONS).and_then(Observed::known);
            if directory != CNI_CONFIGURATIONS
                && usual.is_some_and(|it| it.iter().any(|it| is_configuration(it)))
            {
                return Err(self.elsewhere("network configurations", directory, CNI_CONFIGURATIONS));
            }
            return Err(self.broken(whole, NoPodNetwork::NoConfiguration));
        };
        let path = format!("{directory}/{name}");
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
        let mut there: BTreeSet<&str> = BTreeSet::new();
        for directory in &self.directories.plugins {
            match self.node.directories.get(directory) {
                Some(Observed::Known(names)) => there.extend(names.iter().map(String::as_str)),
                Some(Observed::Absent) => {}
                // Where nobody looked, any plugin may be.
                Some(Observed::NotCollected(_)) | None => return Ok(()),
            }
        }
        let Some(plugin) = names.iter().find(|it| !there.contains(it.as_str())) else { return Ok(()) };
        let directory = self.directories.plugins.last().map_or(CNI_PLUGINS, String::as_str);
        let usual = self.node.directories.get(CNI_PLUGINS).and_then(Observed::known);
        if directory != CNI_PLUGINS && usual.is_some_and(|it| it.contains(plugin)) {
            return Err(self.elsewhere("network plugins", directory, CNI_PLUGINS));
        }
        let element = Element::file(self.place, &format!("{directory}/{plugin}"));
        Err(self.broken(element, NoPodNetwork::NoPlugin { plugin: plugin.clone() }))
    }

    fn elsewhere(&self, what: &str, directory: &str, usual: &'static str) -> Box<Verified> {
        let (what, directory) = (what.to_owned(), directory.to_owned());
        let element = Element::file(self.place, CONTAINERD_CONFIG);
        self.broken(element, NoPodNetwork::ElsewhereThan { what, directory, usual })
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

/// Does a runtime take a file of this name for a configuration?
fn is_configuration(name: &str) -> bool {
    [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end))
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
