//! What the facts should be, and where they are not.
//!
//! What should be comes from four sources: the API server's objects, what the controllers would write
//! (`hopwise-controllers`), the kernel's defaults, and the other nodes (a node is judged by its twins only where
//! nothing better is known). A difference is not yet a fault: it becomes one when undoing it heals a broken
//! promise.

mod addresses;
mod devices;
mod files;
mod links;
mod neighbours;
pub(crate) mod nftables;
mod ports;
mod routes;
pub(crate) mod rules;
mod sockets;
mod sysctls;
mod traffic_control;
mod tunnels;
pub(crate) mod twins;

use std::collections::BTreeMap;

use hopwise_change::{Controller, flannel_delegate, uplink};
use hopwise_controllers::{
    cni::FlannelDelegate,
    flannel::{FlannelConfig, NodeNetwork, SubnetEnv, Uplink, network},
};
use hopwise_repair::Repair;
use hopwise_snapshot::{Element, Node, NodeName, Observed, Place, PodName, Snapshot};

use crate::cause::Evidence;

/// The kinds of state, one for each general cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aspect {
    /// A rule that a controller would have written, and that is missing; or an element of a set or map of its that is
    /// missing, foreign or different.
    OwnedRule,
    /// So many rules of a controller that its table as a whole is at fault, or so many elements that the set is.
    OwnedTable,
    /// An interface: up, carrier, master, presence, address resolution, its Ethernet address.
    Link,
    /// An address of an interface.
    Address,
    /// A route.
    Route,
    /// A routing policy rule.
    RoutingRule,
    /// A neighbour entry.
    Neighbour,
    /// An entry of a forwarding database.
    Fdb,
    /// A setting of a bridge port.
    BridgePort,
    /// A kernel switch.
    Switch,
    /// An MTU.
    Size,
    /// A queueing discipline.
    Queue,
    /// A traffic control filter.
    TcFilter,
    /// A BPF program on an interface.
    Program,
    /// A setting of a tunnel device.
    Tunnel,
    /// An IPsec policy.
    Xfrm,
    /// A listening socket that a pod declares.
    Socket,
    /// A resolver configuration.
    Resolver,
}

/// Where "what should be" comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    /// The API server's objects.
    Api,
    /// What a controller would write.
    Controller(Controller),
    /// What the CNI plugins would make.
    Cni,
    /// What every node of a cluster needs.
    Need,
    /// What the kernel has by default.
    Default,
    /// What the other places of its kind have.
    Twins,
}

impl Basis {
    /// Where that comes from, for a person.
    pub fn text(self) -> String {
        match self {
            Self::Api => "by the API server's objects".to_owned(),
            Self::Controller(controller) => format!("as {controller} writes it"),
            Self::Cni => "as the network plugin makes it".to_owned(),
            Self::Need => "as every node with pods needs it".to_owned(),
            Self::Default => "by default".to_owned(),
            Self::Twins => "as on its twins".to_owned(),
        }
    }
}

/// A fact that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Of what.
    pub element: Element,
    /// Where.
    pub place: Place,
    /// What kind of state it is.
    pub aspect: Aspect,
    /// What is.
    pub observed: String,
    /// What should be.
    pub expected: String,
    /// Where that comes from.
    pub basis: Basis,
    /// Where the observed value was read: a path, a command.
    pub source: String,
    /// What puts it right.
    pub repair: Repair,
}

impl Deviation {
    /// The deviation as evidence.
    pub fn evidence(&self) -> Evidence {
        Evidence {
            element: self.element.clone(),
            observed: self.observed.clone(),
            expected: format!("{} {}", self.expected, self.basis.text()),
            source: self.source.clone(),
        }
    }
}

/// What a cluster's objects say that its nodes should hold.
pub(crate) struct Intent<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// What flannel makes on each node, where the cluster uses flannel.
    pub(crate) flannel: BTreeMap<NodeName, NodeNetwork>,
    pub(crate) uplinks: BTreeMap<NodeName, Uplink>,
    /// How the CNI plugin makes pods, where the cluster uses flannel's.
    pub(crate) cni: Option<FlannelDelegate>,
}

impl<'a> Intent<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        let mut intent = Self {
            snapshot,
            flannel: BTreeMap::new(),
            uplinks: BTreeMap::new(),
            cni: flannel_delegate(snapshot),
        };
        let config = match FlannelConfig::of_cluster(&snapshot.cluster) {
            Observed::Known(Ok(config)) => Some(config),
            _ => None,
        };
        for (name, node) in nodes(snapshot) {
            let Some(uplink) = uplink_of(snapshot, name, node) else { continue };
            if let Some(config) = &config
                && let Observed::Known(Ok(network)) = network(&snapshot.cluster, name, config, &uplink)
            {
                intent.flannel.insert(name.clone(), network);
            }
            intent.uplinks.insert(name.clone(), uplink);
        }
        intent
    }

    /// What the CNI plugin is told on a node.
    pub(crate) fn subnet_env(&self, node: &NodeName) -> Option<&SubnetEnv> {
        Some(&self.flannel.get(node)?.subnet_env)
    }

    /// The bridge that pods of a node hang on, if it is there or should be.
    pub(crate) fn bridge(&self) -> Option<&str> {
        self.cni.as_ref().map(|it| it.bridge.as_str())
    }
}

/// Everywhere that facts are not as they should be.
pub(crate) fn deviations(snapshot: &Snapshot) -> Vec<Deviation> {
    let intent = Intent::new(snapshot);
    let mut all = Vec::new();
    sysctls::find(&intent, &mut all);
    links::find(&intent, &mut all);
    addresses::find(&intent, &mut all);
    routes::find(&intent, &mut all);
    neighbours::find(&intent, &mut all);
    ports::find(&intent, &mut all);
    tunnels::find(&intent, &mut all);
    traffic_control::find(&intent, &mut all);
    rules::find(&intent, &mut all);
    nftables::find(&intent, &mut all);
    sockets::find(&intent, &mut all);
    files::find(&intent, &mut all);
    all.sort_by(|a, b| a.element.cmp(&b.element));
    all.dedup_by(|a, b| a.element == b.element);
    all
}

fn nodes(snapshot: &Snapshot) -> impl Iterator<Item = (&NodeName, &Node)> {
    snapshot.nodes.iter().filter_map(|(name, node)| Some((name, node.known()?)))
}

fn pods(snapshot: &Snapshot) -> impl Iterator<Item = (&PodName, &hopwise_snapshot::Pod)> {
    snapshot.pods.iter().filter_map(|(name, pod)| Some((name, pod.known()?)))
}

fn uplink_of(snapshot: &Snapshot, name: &NodeName, node: &Node) -> Option<Uplink> {
    let internal: Vec<_> = snapshot.cluster.node(name)?.internal_ips().collect();
    let mut own = uplink(&node.net, &internal).or_else(|| twins::uplink(snapshot, &internal))?;
    own.addresses.extend(twins::lost_addresses(snapshot, &own, &internal));
    Some(own)
}
