//! The whole: what was observed of a cluster at one time.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Cluster, NetNs, Node, NodeName, Observation, Observed, Place, Pod, PodName, Protocol};

/// The facts about a cluster, as observed at one time.
///
/// It holds no interpretation and no timing of the collection, so the same snapshot gives the same bytes in
/// every output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// When the collection began.
    pub taken_at: Timestamp,
    /// Where it comes from: `lab/demo`, `local`, `kubeconfig/CONTEXT`.
    pub source: String,
    /// The API server's objects.
    pub cluster: Cluster,
    /// The nodes' own state, for each node that is known by name.
    pub nodes: BTreeMap<NodeName, Observed<Node>>,
    /// The state of pods with a network namespace of their own.
    pub pods: BTreeMap<PodName, Observed<Pod>>,
    /// What the source promises to be reachable outside the cluster.
    #[serde(default)]
    pub outside: Vec<OutsideTarget>,
    /// A name outside the cluster that every pod and node must be able to resolve.
    #[serde(default)]
    pub outside_name: Option<String>,
    /// What was seen of packets that were sent on purpose, in the order in which they were sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observations: Vec<Observation>,
}

/// Something outside the cluster that pods must reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutsideTarget {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl Snapshot {
    /// An empty snapshot.
    pub fn new(taken_at: Timestamp, source: impl Into<String>) -> Self {
        Self {
            taken_at,
            source: source.into(),
            cluster: Cluster::default(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            outside: Vec::new(),
            outside_name: None,
            observations: Vec::new(),
        }
    }

    /// The network namespace of a place, where it was read.
    pub fn net(&self, place: &Place) -> Option<&NetNs> {
        match place {
            Place::Node(name) => self.nodes.get(name)?.known().map(|it| &it.net),
            Place::Pod(name) => self.pods.get(name)?.known().map(|it| &it.net),
        }
    }

    /// The network namespace of a place for changing it, where it was read.
    pub fn net_mut(&mut self, place: &Place) -> Option<&mut NetNs> {
        match place {
            Place::Node(name) => self.nodes.get_mut(name)?.known_mut().map(|it| &mut it.net),
            Place::Pod(name) => self.pods.get_mut(name)?.known_mut().map(|it| &mut it.net),
        }
    }

    /// The files of a place, where it was read.
    pub fn files(&self, place: &Place) -> Option<&BTreeMap<String, Observed<crate::File>>> {
        match place {
            Place::Node(name) => self.nodes.get(name)?.known().map(|it| &it.files),
            Place::Pod(name) => self.pods.get(name)?.known().map(|it| &it.files),
        }
    }

    /// The files of a place for changing them, where it was read.
    pub fn files_mut(&mut self, place: &Place) -> Option<&mut BTreeMap<String, Observed<crate::File>>> {
        match place {
            Place::Node(name) => self.nodes.get_mut(name)?.known_mut().map(|it| &mut it.files),
            Place::Pod(name) => self.pods.get_mut(name)?.known_mut().map(|it| &mut it.files),
        }
    }

    /// The node that a place is or runs on, as far as the snapshot or the API server says.
    pub fn node_of(&self, place: &Place) -> Option<NodeName> {
        match place {
            Place::Node(name) => Some(name.clone()),
            Place::Pod(name) => match self.pods.get(name).and_then(Observed::known) {
                Some(pod) => Some(pod.node.clone()),
                None => self.cluster.pod(name)?.spec.node_name.clone().map(NodeName),
            },
        }
    }

    /// All places that the snapshot names, nodes first.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        let nodes = self.nodes.keys().cloned().map(Place::Node);
        nodes.chain(self.pods.keys().cloned().map(Place::Pod))
    }
}
