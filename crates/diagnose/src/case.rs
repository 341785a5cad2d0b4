//! What a cause looks at.

use hopwise_dataplane::{Blocker, Network};
use hopwise_snapshot::{Node, NodeName, Observed, Place, Snapshot};

/// A cluster that something may be wrong with.
pub struct Case<'a> {
    /// The facts.
    pub snapshot: &'a Snapshot,
    /// The network that they make.
    pub network: &'a Network,
    /// What stops promised flows, each once.
    pub blockers: Vec<Blocker>,
}

impl Case<'_> {
    /// The nodes that were read.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeName, &Node)> {
        self.snapshot.nodes.iter().filter_map(|(name, node)| Some((name, node.known()?)))
    }

    /// The place of a node.
    pub fn place(name: &NodeName) -> Place {
        Place::Node(name.clone())
    }

    /// Does the cluster's API know pods of this node?
    pub fn hosts_pods(&self, node: &NodeName) -> bool {
        let pods = self.snapshot.cluster.pods.known().into_iter().flatten();
        let mut here = pods.filter(|it| it.spec.node_name.as_deref() == Some(node.as_str()));
        here.any(|it| !it.spec.host_network) || self.snapshot.pods.values().filter_map(Observed::known).any(|it| it.node == *node)
    }
}
