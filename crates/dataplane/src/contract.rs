//! What Kubernetes promises: which flows must arrive, and which must not.
//!
//! A promise is made for each source pod and node, per protocol and address family: to each Service port with
//! endpoints that it may use, or that has none though pods run that it is meant for ([`meant`]), to each declared container port of each pod, ICMP between pods, packets as large
//! as the source may send, the API server, what lies outside, and names. What a NetworkPolicy forbids is no
//! promise. A port that nobody declares is not promised.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use hopwise_controllers::{
    Family,
    endpoint_slice::target_port,
    kube_proxy::{ServiceAnswer, service_endpoints},
};
use hopwise_policy::{Peer, Policies};
use hopwise_snapshot::{
    Cluster, NodeName, NodeObject, Place, PodObject, Protocol, Service, ServicePort, Snapshot,
};

use crate::{
    duties::{Duty, duties},
    meant::meant,
    packet::FlowProtocol,
    permission::{Permission, permission, permission_to_any, policies},
    standing::standing,
    trace::{Flow, Recipient, Size},
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
    /// A node gives new pods a network, and runs what keeps it.
    Duty,
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
            Self::Duty => "duty",
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
    /// By what a node can do, and which programs run there.
    Duty(Duty),
}

impl Promise {
    /// The protocol's word of machine output: `tcp`, `udp`, `icmp`, `dns`.
    pub fn protocol(&self) -> &'static str {
        match &self.check {
            Check::Flow { flow, .. } => flow.protocol.word(),
            Check::Name { .. } => "dns",
            Check::Duty(_) => "none",
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

/// What Kubernetes promises for the objects of a snapshot.
pub fn contract(snapshot: &Snapshot) -> Contract {
    let cluster = &snapshot.cluster;
    let pods = pods(cluster);
    let mut sources: Vec<Station<'_>> = nodes(cluster);
    let n_nodes = sources.len();
    sources.extend(self::pods(cluster));
    let policies = policies(snapshot);
    let named = pods.iter().filter_map(|it| Some((it.place.as_pod()?, &it.node, it.pod?)));
    let standing = standing(snapshot, named);
    let mut draft =
        Draft { cluster, policies, standing, meant: meant_endpoints(cluster), contract: Contract::default() };
    for (at, source) in sources.iter().enumerate() {
        let is_node = at < n_nodes;
        for target in &pods {
            if draft.tries(&source.place, &target.place) {
                draft.to_pod(source, target, is_node);
            }
        }
        if !is_node {
            draft.largest_packets(source, &pods);
        }
        for service in cluster.services.known().into_iter().flatten() {
            if draft.tries_service(&source.place, service) {
                draft.to_service(source, service);
            }
        }
        draft.outside(snapshot, source);
        draft.names(snapshot, source, is_node);
    }
    for (node, duty) in duties(snapshot) {
        let (to, check) = (duty.text(), Check::Duty(duty));
        draft.contract.promises.push(Promise { from: Place::Node(node), to, kind: PromiseKind::Duty, check });
    }
    draft.contract.promises.sort();
    draft.contract.forbidden.sort();
    draft.contract
}

/// A contract that is being written.
struct Draft<'a> {
    cluster: &'a Cluster,
    policies: Policies<'a>,
    /// The pods with which all others are tried; none where every pair is.
    standing: Option<BTreeSet<Place>>,
    /// What ports of Services that have no endpoint are meant to lead to, by Service, port, protocol and family.
    meant: BTreeMap<(String, u16, Protocol, Family), Vec<SocketAddr>>,
    contract: Contract,
}

/// The endpoints that Services without any are meant to have.
fn meant_endpoints(cluster: &Cluster) -> BTreeMap<(String, u16, Protocol, Family), Vec<SocketAddr>> {
    let mut all = BTreeMap::new();
    for service in cluster.services.known().into_iter().flatten() {
        for (port, family) in
            service.spec.ports.iter().flat_map(|port| Family::ALL.into_iter().map(move |it| (port, it)))
        {
            let Some(meant) = meant(cluster, service, port, family) else { continue };
            let addresses = meant.pods.into_iter().filter_map(|pod| {
                let address = pod.ips().into_iter().find(|it| Family::of(*it) == family)?;
                Some(SocketAddr::new(address, target_port(port, pod).unwrap_or(port.port)))
            });
            let key = (service.full_name(), port.port, port.protocol, family);
            all.insert(key, addresses.collect());
        }
    }
    all
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

#[expect(clippy::wrong_self_convention, reason = "`to` is where a promised flow goes")]
impl Draft<'_> {
    /// Is this pair tried? In a large cluster one end must be a node or stand for others, or both are the same.
    fn tries(&self, from: &Place, to: &Place) -> bool {
        let stands = |it: &Place| self.standing.as_ref().is_none_or(|all| all.contains(it));
        from.as_node().is_some() || from == to || stands(from) || stands(to)
    }

    /// Does this source try this Service? In a large cluster pods that stand for no others try those of the cluster alone.
    fn tries_service(&self, from: &Place, service: &Service) -> bool {
        let is_of_cluster = matches!(
            (service.metadata.namespace.as_str(), service.metadata.name.as_str()),
            ("default", "kubernetes") | ("kube-system", "kube-dns")
        );
        let stands = self.standing.as_ref().is_none_or(|all| all.contains(from));
        from.as_node().is_some() || stands || is_of_cluster
    }

    /// Writes down a flow as what the policies make of it.
    fn add(
        &mut self,
        permission: Permission,
        kind: PromiseKind,
        to: String,
        flow: Flow,
        expectation: Expectation,
    ) {
        match permission {
            Permission::Arrives => {
                let from = flow.from.clone();
                let check = Check::Flow { flow, expectation };
                self.contract.promises.push(Promise { from, to, kind, check });
            }
            Permission::Stopped => self.contract.forbidden.push(flow),
            Permission::Open => {}
        }
    }

    fn to_pod(&mut self, source: &Station<'_>, target: &Station<'_>, is_node: bool) {
        let (Some(pod), Place::Pod(name)) = (target.pod, &target.place) else { return };
        let is_self = source.place == target.place;
        let kind = if is_node { PromiseKind::NodeToPod } else { PromiseKind::PodToPod };
        for &to in &target.addresses {
            let Some(own) = source.address(to.is_ipv6()) else { continue };
            let mut flows: Vec<(FlowProtocol, String)> = declared_ports(pod)
                .into_iter()
                .filter_map(|(protocol, port)| {
                    let text = format!("{}:{port}/{protocol}", target.place);
                    Some((FlowProtocol::of_port(protocol, port)?, text))
                })
                .collect();
            if !is_node && !is_self {
                flows.push((FlowProtocol::Icmp, target.place.to_string()));
            }
            for (protocol, text) in flows {
                let recipients = BTreeSet::from([Recipient::Place(target.place.clone())]);
                // A node may use any of its addresses; a pod has one.
                let expectation = Expectation { recipients, source: (!is_node).then_some(own) };
                let peer = Peer::Pod(name.clone());
                let permission = permission(&self.policies, (&source.place, own), &peer, protocol, to);
                self.add(permission, kind, text, Flow::new(source.place.clone(), to, protocol), expectation);
            }
        }
    }

    fn largest_packets(&mut self, source: &Station<'_>, pods: &[Station<'_>]) {
        for target in pods.iter().filter(|it| it.place != source.place) {
            let Place::Pod(name) = &target.place else { continue };
            if !self.tries(&source.place, &target.place) {
                continue;
            }
            for &to in &target.addresses {
                let Some(own) = source.address(to.is_ipv6()) else { continue };
                let peer = Peer::Pod(name.clone());
                let permission =
                    permission(&self.policies, (&source.place, own), &peer, FlowProtocol::Icmp, to);
                // What small packets may not is not promised to large ones, and not forbidden twice.
                if permission != Permission::Arrives {
                    continue;
                }
                let flow =
                    Flow { size: Size::Full, ..Flow::new(source.place.clone(), to, FlowProtocol::Icmp) };
                let recipients = BTreeSet::from([Recipient::Place(target.place.clone())]);
                let expectation = Expectation { recipients, source: Some(own) };
                self.add(permission, PromiseKind::PathMtu, target.place.to_string(), flow, expectation);
            }
        }
    }

    fn to_service(&mut self, source: &Station<'_>, service: &Service) {
        let is_api = service.metadata.namespace == "default" && service.metadata.name == "kubernetes";
        for address in service.cluster_ips() {
            let Some(own) = source.address(address.is_ipv6()) else { continue };
            for port in &service.spec.ports {
                let Some(protocol) = FlowProtocol::of_port(port.protocol, port.port) else { continue };
                let mut endpoints = usable_endpoints(self.cluster, service, port, &source.node, address);
                if endpoints.is_empty() {
                    let key = (service.full_name(), port.port, port.protocol, Family::of(address));
                    endpoints = self.meant.get(&key).cloned().unwrap_or_default();
                }
                if endpoints.is_empty() {
                    continue;
                }
                let recipients = recipients_of(self.cluster, &endpoints);
                let permission =
                    permission_to_any(&self.policies, (&source.place, own), &endpoints, protocol);
                let to = format!("svc/{}:{}/{}", service.full_name(), port.port, port.protocol);
                let kind = if is_api { PromiseKind::ApiServer } else { PromiseKind::Service };
                let flow = Flow::new(source.place.clone(), address, protocol);
                self.add(permission, kind, to, flow, Expectation { recipients, source: None });
                if is_api {
                    self.to_api_server(source, own, &endpoints);
                }
            }
        }
    }

    /// The API server by its own addresses, past its Service.
    fn to_api_server(&mut self, source: &Station<'_>, own: IpAddr, endpoints: &[SocketAddr]) {
        for endpoint in endpoints {
            let protocol = FlowProtocol::Tcp(endpoint.port());
            let permission = permission_to_any(&self.policies, (&source.place, own), &[*endpoint], protocol);
            let flow = Flow::new(source.place.clone(), endpoint.ip(), protocol);
            let recipients = recipients_of(self.cluster, &[*endpoint]);
            let expectation = Expectation { recipients, source: None };
            self.add(permission, PromiseKind::ApiServer, format!("ip/{endpoint}/tcp"), flow, expectation);
        }
    }

    fn outside(&mut self, snapshot: &Snapshot, source: &Station<'_>) {
        for target in &snapshot.outside {
            let Some(own) = source.address(target.address.is_ipv6()) else { continue };
            let Some(protocol) = FlowProtocol::of_port(target.protocol, target.port) else { continue };
            let peer = Peer::Address(target.address);
            let permission =
                permission(&self.policies, (&source.place, own), &peer, protocol, target.address);
            let flow = Flow::new(source.place.clone(), target.address, protocol);
            let recipients = BTreeSet::from([Recipient::Outside(target.address)]);
            let to = format!("ip/{}/{}", SocketAddr::new(target.address, target.port), target.protocol);
            self.add(permission, PromiseKind::Outside, to, flow, Expectation { recipients, source: None });
        }
    }

    fn names(&mut self, snapshot: &Snapshot, source: &Station<'_>, is_node: bool) {
        // A node's own resolver knows no name of the cluster; it pulls images.
        let asks_cluster =
            source.pod.is_some_and(|it| matches!(it.spec.dns_policy.as_str(), "" | "ClusterFirst"));
        if asks_cluster && !self.may_ask(source) {
            return;
        }
        let mut names = Vec::new();
        if !is_node && asks_cluster && self.cluster.service("default", "kubernetes").is_some() {
            names.push("kubernetes.default.svc");
        }
        names.extend(snapshot.outside_name.as_deref());
        for name in names {
            self.contract.promises.push(Promise {
                from: source.place.clone(),
                to: name.to_owned(),
                kind: PromiseKind::Name,
                check: Check::Name { name: name.to_owned() },
            });
        }
    }

    /// May a pod ask the cluster's name servers, as far as policies are concerned?
    fn may_ask(&self, source: &Station<'_>) -> bool {
        let Some(service) = self.cluster.service("kube-system", "kube-dns") else { return true };
        let ports = service.spec.ports.iter().filter(|it| it.protocol == Protocol::Udp);
        ports.flat_map(|port| service.cluster_ips().into_iter().map(move |it| (port, it))).all(
            |(port, address)| {
                let Some(own) = source.address(address.is_ipv6()) else { return true };
                let endpoints = usable_endpoints(self.cluster, service, port, &source.node, address);
                let protocol = FlowProtocol::Udp(port.port);
                endpoints.is_empty()
                    || permission_to_any(&self.policies, (&source.place, own), &endpoints, protocol)
                        == Permission::Arrives
            },
        )
    }
}

/// The ports that a pod's containers declare and keep open, each once.
fn declared_ports(pod: &PodObject) -> BTreeSet<(Protocol, u16)> {
    let sidecars =
        pod.spec.init_containers.iter().filter(|it| it.restart_policy.as_deref() == Some("Always"));
    let containers = pod.spec.containers.iter().chain(sidecars);
    containers.flat_map(|it| &it.ports).map(|it| (it.protocol, it.container_port)).collect()
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

/// Who may answer by these addresses: anyone, where nobody read whose they could be.
fn recipients_of(cluster: &Cluster, endpoints: &[SocketAddr]) -> BTreeSet<Recipient> {
    let recipients: BTreeSet<Recipient> = endpoints.iter().map(|it| recipient_of(cluster, it.ip())).collect();
    let is_outside = recipients.iter().any(|it| matches!(it, Recipient::Outside(_)));
    let knows_all = cluster.has_all("nodes") && cluster.has_all("pods");
    if is_outside && !knows_all { BTreeSet::new() } else { recipients }
}

/// Whose address this is, by the API server's objects.
pub(crate) fn recipient_of(cluster: &Cluster, address: IpAddr) -> Recipient {
    cluster.owner_of(address).map_or(Recipient::Outside(address), Recipient::Place)
}
