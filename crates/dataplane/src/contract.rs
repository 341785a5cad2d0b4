//! What Kubernetes promises: which flows must arrive, and which must not.
//!
//! A promise is made for each source pod and node, per protocol and address family: to each Service port with
//! endpoints that it may use, to each declared container port of each pod, ICMP between pods, packets as large
//! as the source may send, the API server, what lies outside, and names. What a NetworkPolicy forbids is no
//! promise. A port that nobody declares is not promised.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use hopwise_controllers::{
    Family,
    kube_proxy::{ServiceAnswer, service_endpoints},
};
use hopwise_snapshot::{
    Cluster, NodeName, NodeObject, Place, PodObject, Protocol, Service, ServicePort, Snapshot,
};

use crate::{
    Network,
    packet::FlowProtocol,
    trace::{Flow, Recipient},
    tracer::Expectation,
};

/// What kind of promise it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PromiseKind {
    /// A pod reaches a pod, without translation.
    PodToPod,
    /// A node reaches a pod.
    NodeToPod,
    /// A pod or node reaches a Service.
    Service,
    /// A pod or node reaches the API server.
    ApiServer,
    /// A pod or node resolves a name.
    Name,
    /// A pod or node reaches what lies outside.
    Outside,
    /// A pod's largest packets arrive.
    PathMtu,
}

impl PromiseKind {
    /// The word of machine output.
    pub fn word(self) -> &'static str {
        match self {
            Self::PodToPod => "pod-to-pod",
            Self::NodeToPod => "node-to-pod",
            Self::Service => "service",
            Self::ApiServer => "api-server",
            Self::Name => "name",
            Self::Outside => "outside",
            Self::PathMtu => "path-mtu",
        }
    }
}

/// A flow that Kubernetes promises to arrive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Promise {
    /// Who sends.
    pub from: Place,
    /// To whom, as it is written in every output: `pod/default/b:8080/tcp`, `svc/shop/cart:80/tcp`, a name.
    pub to: String,
    /// What kind of promise it is.
    pub kind: PromiseKind,
    /// How it is checked.
    pub check: Check,
}

/// How a promise is checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// By one flow.
    Flow {
        /// The flow.
        flow: Flow,
        /// What it must do.
        expectation: Expectation,
    },
    /// By resolving a name through the source's own resolver configuration.
    Name {
        /// The name.
        name: String,
    },
}

impl Promise {
    /// The protocol's word of machine output: `tcp`, `udp`, `icmp`, `dns`.
    pub fn protocol(&self) -> &'static str {
        match &self.check {
            Check::Flow { flow, .. } => flow.protocol.word(),
            Check::Name { .. } => "dns",
        }
    }

    /// 4 or 6.
    pub fn family(&self) -> u8 {
        match &self.check {
            Check::Flow { flow, .. } if flow.is_ipv6() => 6,
            _ => 4,
        }
    }
}

/// What is promised, and what is forbidden.
#[derive(Clone, Debug, Default)]
pub struct Contract {
    /// The promises, in order.
    pub promises: Vec<Promise>,
    /// Flows that a policy forbids.
    pub forbidden: Vec<Flow>,
}

/// A source of flows, or a pod as their target.
struct Station<'a> {
    place: Place,
    node: NodeName,
    addresses: Vec<IpAddr>,
    pod: Option<&'a PodObject>,
}

impl Station<'_> {
    fn address(&self, is_ipv6: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|it| it.is_ipv6() == is_ipv6)
    }
}

/// What Kubernetes promises for the objects and the network of a snapshot.
pub fn contract(snapshot: &Snapshot, network: &Network) -> Contract {
    let mut contract = Contract::default();
    let cluster = &snapshot.cluster;
    let pods = pods(cluster);
    let mut sources: Vec<Station<'_>> = nodes(cluster);
    let n_nodes = sources.len();
    sources.extend(self::pods(cluster));
    for (at, source) in sources.iter().enumerate() {
        let is_node = at < n_nodes;
        for target in &pods {
            to_pod(&mut contract, cluster, source, target, is_node);
        }
        if !is_node {
            largest_packets(&mut contract, network, source, &pods);
        }
        for service in cluster.services.known().into_iter().flatten() {
            to_service(&mut contract, cluster, source, service);
        }
        outside(&mut contract, snapshot, source);
        names(&mut contract, snapshot, source, is_node);
    }
    contract.promises.sort();
    contract.forbidden.sort();
    contract
}

fn nodes(cluster: &Cluster) -> Vec<Station<'_>> {
    let station = |it: &NodeObject| Station {
        place: Place::Node(it.name()),
        node: it.name(),
        addresses: it.internal_ips().collect(),
        pod: None,
    };
    cluster.nodes.known().into_iter().flatten().map(station).collect()
}

/// The pods that run with a network namespace of their own.
fn pods(cluster: &Cluster) -> Vec<Station<'_>> {
    let all = cluster.pods.known().into_iter().flatten();
    let running = all.filter(|it| !it.spec.host_network && it.is_running() && !it.ips().is_empty());
    let station = |it| {
        let pod: &PodObject = it;
        let node = NodeName(pod.spec.node_name.clone()?);
        Some(Station { place: Place::Pod(pod.name()), node, addresses: pod.ips(), pod: Some(pod) })
    };
    running.filter_map(station).collect()
}

fn to_pod(
    contract: &mut Contract,
    cluster: &Cluster,
    source: &Station<'_>,
    target: &Station<'_>,
    is_node: bool,
) {
    let Some(pod) = target.pod else { return };
    let is_self = source.place == target.place;
    let kind = if is_node { PromiseKind::NodeToPod } else { PromiseKind::PodToPod };
    for &to in &target.addresses {
        let Some(own) = source.address(to.is_ipv6()) else { continue };
        let recipients = BTreeSet::from([Recipient::Place(target.place.clone())]);
        // A node may use any of its addresses; a pod has one.
        let expected_source = (!is_node).then_some(own);
        let expectation = Expectation { recipients, source: expected_source };
        let mut add = |protocol: FlowProtocol, text: String| {
            let flow = Flow::new(source.place.clone(), to, protocol);
            if is_forbidden(cluster, source, target, protocol, to) {
                contract.forbidden.push(flow);
                return;
            }
            let check = Check::Flow { flow, expectation: expectation.clone() };
            contract.promises.push(Promise { from: source.place.clone(), to: text, kind, check });
        };
        for (protocol, port) in declared_ports(pod) {
            if let Some(flow_protocol) = FlowProtocol::of_port(protocol, port) {
                add(flow_protocol, format!("{}:{port}/{protocol}", target.place));
            }
        }
        if !is_node && !is_self {
            add(FlowProtocol::Icmp, target.place.to_string());
        }
    }
}

/// The ports that a pod's containers declare and keep open, each once.
fn declared_ports(pod: &PodObject) -> BTreeSet<(Protocol, u16)> {
    let sidecars =
        pod.spec.init_containers.iter().filter(|it| it.restart_policy.as_deref() == Some("Always"));
    let containers = pod.spec.containers.iter().chain(sidecars);
    containers.flat_map(|it| &it.ports).map(|it| (it.protocol, it.container_port)).collect()
}

fn largest_packets(contract: &mut Contract, network: &Network, source: &Station<'_>, pods: &[Station<'_>]) {
    for target in pods.iter().filter(|it| it.place != source.place) {
        for &to in &target.addresses {
            let Some(own) = source.address(to.is_ipv6()) else { continue };
            let Some(size) = network.mtu_of(&source.place, own) else { continue };
            let flow = Flow { size: Some(size), ..Flow::new(source.place.clone(), to, FlowProtocol::Icmp) };
            let expectation = Expectation {
                recipients: BTreeSet::from([Recipient::Place(target.place.clone())]),
                source: Some(own),
            };
            contract.promises.push(Promise {
                from: source.place.clone(),
                to: target.place.to_string(),
                kind: PromiseKind::PathMtu,
                check: Check::Flow { flow, expectation },
            });
        }
    }
}

fn to_service(contract: &mut Contract, cluster: &Cluster, source: &Station<'_>, service: &Service) {
    let is_api = service.metadata.namespace == "default" && service.metadata.name == "kubernetes";
    for address in service.cluster_ips() {
        if source.address(address.is_ipv6()).is_none() {
            continue;
        }
        for port in &service.spec.ports {
            let Some(protocol) = FlowProtocol::of_port(port.protocol, port.port) else { continue };
            let endpoints = usable_endpoints(cluster, service, port, &source.node, address);
            if endpoints.is_empty() {
                continue;
            }
            let mut recipients = BTreeSet::new();
            for endpoint in &endpoints {
                recipients.insert(recipient_of(cluster, endpoint.ip()));
            }
            let flow = Flow::new(source.place.clone(), address, protocol);
            let check = Check::Flow { flow, expectation: Expectation { recipients, source: None } };
            let to = format!("svc/{}:{}/{}", service.full_name(), port.port, port.protocol);
            let kind = if is_api { PromiseKind::ApiServer } else { PromiseKind::Service };
            contract.promises.push(Promise { from: source.place.clone(), to, kind, check });
            if is_api {
                to_api_server(contract, cluster, source, &endpoints);
            }
        }
    }
}

/// The API server by its own addresses, past its Service.
fn to_api_server(contract: &mut Contract, cluster: &Cluster, source: &Station<'_>, endpoints: &[SocketAddr]) {
    for endpoint in endpoints {
        let flow = Flow::new(source.place.clone(), endpoint.ip(), FlowProtocol::Tcp(endpoint.port()));
        let recipients = BTreeSet::from([recipient_of(cluster, endpoint.ip())]);
        contract.promises.push(Promise {
            from: source.place.clone(),
            to: format!("ip/{endpoint}/tcp"),
            kind: PromiseKind::ApiServer,
            check: Check::Flow { flow, expectation: Expectation { recipients, source: None } },
        });
    }
}

/// The endpoints that a client on `node` may use.
fn usable_endpoints(
    cluster: &Cluster,
    service: &Service,
    port: &ServicePort,
    node: &NodeName,
    address: IpAddr,
) -> Vec<SocketAddr> {
    let endpoints = service_endpoints(cluster, service, port, node, Family::of(address));
    let Some(endpoints) = endpoints.known() else { return Vec::new() };
    match endpoints.for_cluster_ip() {
        ServiceAnswer::Forward(all) => all.iter().map(|it| it.address).collect(),
        ServiceAnswer::Reject | ServiceAnswer::Drop => Vec::new(),
    }
}

/// Whose address this is, by the API server's objects.
pub(crate) fn recipient_of(cluster: &Cluster, address: IpAddr) -> Recipient {
    let mut all_pods = cluster.pods.known().into_iter().flatten();
    let own = |it: &&PodObject| !it.spec.host_network && it.is_running() && it.ips().contains(&address);
    if let Some(pod) = all_pods.find(own) {
        return Recipient::Place(Place::Pod(pod.name()));
    }
    let mut all_nodes = cluster.nodes.known().into_iter().flatten();
    match all_nodes.find(|it| it.internal_ips().any(|own| own == address)) {
        Some(node) => Recipient::Place(Place::Node(node.name())),
        None => Recipient::Outside(address),
    }
}

fn outside(contract: &mut Contract, snapshot: &Snapshot, source: &Station<'_>) {
    for target in &snapshot.outside {
        if source.address(target.address.is_ipv6()).is_none() {
            continue;
        }
        let Some(protocol) = FlowProtocol::of_port(target.protocol, target.port) else { continue };
        let flow = Flow::new(source.place.clone(), target.address, protocol);
        let recipients = BTreeSet::from([Recipient::Outside(target.address)]);
        contract.promises.push(Promise {
            from: source.place.clone(),
            to: format!("ip/{}/{}", SocketAddr::new(target.address, target.port), target.protocol),
            kind: PromiseKind::Outside,
            check: Check::Flow { flow, expectation: Expectation { recipients, source: None } },
        });
    }
}

fn names(contract: &mut Contract, snapshot: &Snapshot, source: &Station<'_>, is_node: bool) {
    let mut add = |name: &str| {
        let check = Check::Name { name: name.to_owned() };
        contract.promises.push(Promise {
            from: source.place.clone(),
            to: name.to_owned(),
            kind: PromiseKind::Name,
            check,
        });
    };
    // A node's own resolver knows no name of the cluster; it pulls images.
    let asks_cluster =
        source.pod.is_some_and(|it| matches!(it.spec.dns_policy.as_str(), "" | "ClusterFirst"));
    if !is_node && asks_cluster && snapshot.cluster.service("default", "kubernetes").is_some() {
        add("kubernetes.default.svc");
    }
    if let Some(name) = &snapshot.outside_name {
        add(name);
    }
}

/// Does a NetworkPolicy forbid this flow?
fn is_forbidden(
    cluster: &Cluster,
    source: &Station<'_>,
    target: &Station<'_>,
    protocol: FlowProtocol,
    to: IpAddr,
) -> bool {
    let has_policies = cluster.network_policies.known().is_some_and(|it| !it.is_empty());
    has_policies
        && crate::forbidden::is_forbidden(cluster, (&source.place, &source.node), &target.place, protocol, to)
}
