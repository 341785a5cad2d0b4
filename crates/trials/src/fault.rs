//! Faults as a person makes them by hand: one command at one place.

use std::fmt;

use hopwise_snapshot::{Address, Element, NetNs, NodeName, Place, PodName, RouteKind, Snapshot};
use ipnet::IpNet;

/// A change that somebody made by hand.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What kind of change.
    pub kind: &'static str,
    /// Where.
    pub place: Place,
    /// The shell command.
    pub command: String,
    /// The piece of state that the command changes. Where one command changes several equally: each of them.
    pub elements: Vec<Element>,
}

impl Fault {
    /// A command at a place that changes one piece of state.
    pub(crate) fn new(place: &Place, command: impl Into<String>, element: Element) -> Self {
        Self { kind: "", place: place.clone(), command: command.into(), elements: vec![element] }
    }

    /// Adds a piece of state that the command changes just as well.
    pub(crate) fn or(mut self, element: Element) -> Self {
        self.elements.push(element);
        self
    }

    /// The member of a lab that the place is, as `hopwise lab exec` calls it.
    pub fn member(&self) -> String {
        match &self.place {
            Place::Node(name) => name.to_string(),
            Place::Pod(_) => self.place.to_string(),
        }
    }

    /// Is the piece of state that was changed named by this element, or a part of it?
    pub fn is_at(&self, element: &Element) -> bool {
        self.elements.iter().any(|it| it.covers(element))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.member(), self.command)
    }
}

/// A kind of change.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Makes one, by dice; none where this cluster has nothing to change so.
    pub make: fn(&mut Scene<'_>) -> Option<Fault>,
}

/// A healthy cluster that is about to be changed, and the dice.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The cluster.
    pub snapshot: &'a Snapshot,
    /// The dice.
    pub dice: fastrand::Rng,
}

impl<'a> Scene<'a> {
    /// One of several.
    pub(crate) fn one_of<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        (!all.is_empty()).then(|| all[self.dice.usize(..all.len())].clone())
    }

    /// Any node.
    pub(crate) fn node(&mut self) -> NodeName {
        let all: Vec<NodeName> = self.snapshot.nodes.keys().cloned().collect();
        self.one_of(&all).expect("a cluster has nodes")
    }

    /// Any node as a place, with its facts.
    pub(crate) fn at_node(&mut self) -> (NodeName, Place, &'a NetNs) {
        let name = self.node();
        let place = Place::Node(name.clone());
        let net = self.snapshot.net(&place).expect("the node was read");
        (name, place, net)
    }

    /// Another node.
    pub(crate) fn other_node(&mut self, than: &NodeName) -> NodeName {
        let all: Vec<NodeName> = self.snapshot.nodes.keys().filter(|it| *it != than).cloned().collect();
        self.one_of(&all).expect("a cluster has several nodes")
    }

    /// Any pod with a network of its own, with its facts.
    pub(crate) fn at_pod(&mut self) -> (PodName, Place, &'a NetNs) {
        let all: Vec<PodName> = self.snapshot.pods.keys().cloned().collect();
        let name = self.one_of(&all).expect("a cluster has pods");
        let place = Place::Pod(name.clone());
        let net = self.snapshot.net(&place).expect("the pod was read");
        (name, place, net)
    }

    /// The node that a pod runs on.
    pub(crate) fn node_of(&self, pod: &PodName) -> NodeName {
        self.snapshot.pods[pod].known().expect("the pod was read").node.clone()
    }

    /// The node's end of a pod's veth pair.
    pub(crate) fn veth(&self, pod: &PodName) -> String {
        let net = self.snapshot.net(&Place::Pod(pod.clone())).expect("the pod was read");
        let index = net.link("eth0").and_then(|it| it.lower).expect("eth0 is one end of a pair");
        let node = Place::Node(self.node_of(pod));
        let links = self.snapshot.net(&node).and_then(|it| it.links.known()).expect("the node was read");
        links.iter().find(|it| it.index == index).expect("the other end").name.clone()
    }

    /// A pod with the node's end of its pair, at that node.
    pub(crate) fn at_veth(&mut self) -> (PodName, Place, String) {
        let (pod, _, _) = self.at_pod();
        (pod.clone(), Place::Node(self.node_of(&pod)), self.veth(&pod))
    }

    /// The range of a node's pods.
    pub(crate) fn pods_of(&mut self, node: &NodeName) -> IpNet {
        let ranges = self.snapshot.cluster.node(node).map(hopwise_snapshot::NodeObject::pod_cidrs);
        self.one_of(&ranges.unwrap_or_default()).expect("the node has a range of pods")
    }

    /// An interface of a node that pods' packets pass.
    pub(crate) fn interface(&mut self, net: &NetNs) -> String {
        let all: Vec<String> = ["eth0", "cni0", "flannel.1", "flannel-v6.1"]
            .iter()
            .filter(|it| net.link(it).is_some())
            .map(ToString::to_string)
            .collect();
        self.one_of(&all).expect("a node has interfaces")
    }

    /// 4 or 6, where the cluster has both.
    pub(crate) fn is_ipv6(&mut self) -> bool {
        let is_dual = self.snapshot.cluster.nodes.known().into_iter().flatten();
        let is_dual = is_dual.flat_map(hopwise_snapshot::NodeObject::pod_cidrs).any(|it| it.addr().is_ipv6());
        is_dual && self.dice.bool()
    }
}

/// The addresses of a link that have a global scope.
pub(crate) fn addresses<'n>(net: &'n NetNs, link: &str) -> Vec<&'n Address> {
    let Some(index) = net.link(link).map(|it| it.index) else { return Vec::new() };
    let all = net.addresses.known().into_iter().flatten();
    all.filter(|it| it.link == index && it.scope == 0).collect()
}

/// Unicast routes of the main table that lead by a gateway or to an interface, of one family.
pub(crate) fn routes(net: &NetNs, is_ipv6: bool) -> Vec<&hopwise_snapshot::Route> {
    let all = net.routes.known().into_iter().flatten();
    all.filter(|it| {
        it.table == hopwise_snapshot::tables::MAIN
            && it.kind == RouteKind::Unicast
            && it.destination.addr().is_ipv6() == is_ipv6
            && !it.destination.addr().is_multicast()
    })
    .collect()
}
