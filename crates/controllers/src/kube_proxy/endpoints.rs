//! Which endpoints of a Service a client on a node may use.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use hopwise_snapshot::{Cluster, Endpoint, EndpointSlice, NodeName, Observed, PodName, Service, ServicePort};

use super::service_port::{ProxiedPort, ServicePortName, is_watched, proxied};
use crate::{Family, family::parse_sloppy};

/// The endpoints of a Service's port that kube-proxy on a node uses.
///
/// Each list is in the order of kube-proxy's rules: by the text of the address, so 10.0.0.10 stands before 10.0.0.9.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceEndpoints {
    /// For traffic of policy `Cluster`; empty also where none of the port's traffic has that policy.
    pub cluster: Vec<ServiceEndpoint>,
    /// For traffic of policy `Local`; empty also where none of the port's traffic has that policy.
    pub local: Vec<ServiceEndpoint>,
    /// Both together.
    pub reachable: Vec<ServiceEndpoint>,
    /// Has the Service a usable endpoint on any node?
    pub has_any: bool,
    internal_local: bool,
    external_local: bool,
}

/// An endpoint of a Service's port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceEndpoint {
    /// Where packets are sent to.
    pub address: SocketAddr,
    /// Does it run on the node in question?
    pub is_local: bool,
    /// Does it take new connections? False only for one that ends but still answers.
    pub is_ready: bool,
    /// The node that it runs on, where the slice says so.
    pub node: Option<NodeName>,
    /// The pod that it is, where the slice says so.
    pub pod: Option<PodName>,
}

/// Who sends to an external address (NodePort, load balancer, external IP) of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The node itself, or a pod on it.
    OnNode,
    /// Anybody else: the packet came to the node from outside.
    Elsewhere,
}

/// What a node's rules do with a packet to an address of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceAnswer<'a> {
    /// They send it to one of these.
    Forward(&'a [ServiceEndpoint]),
    /// They answer that the port is unreachable: the Service has no usable endpoint anywhere.
    Reject,
    /// They drop it: the policy is `Local`, and the usable endpoints are on other nodes.
    Drop,
}

impl ServiceEndpoints {
    /// What happens to packets to the cluster address.
    pub fn for_cluster_ip(&self) -> ServiceAnswer<'_> {
        self.answer(self.internal_local)
    }

    /// What happens to packets to a NodePort, a load balancer address or an external IP. Clients on the node
    /// skip the external traffic policy, whichever it is; with local traffic detection off, pods do not.
    pub fn for_external(&self, client: Client) -> ServiceAnswer<'_> {
        self.answer(self.external_local && client == Client::Elsewhere)
    }

    fn answer(&self, is_local: bool) -> ServiceAnswer<'_> {
        let endpoints = if is_local { &self.local } else { &self.cluster };
        match (self.has_any, endpoints.is_empty()) {
            (false, _) => ServiceAnswer::Reject,
            (true, true) => ServiceAnswer::Drop,
            (true, false) => ServiceAnswer::Forward(endpoints),
        }
    }
}

/// The endpoints of a Service's port that a client on `node` may use, as kube-proxy 1.34 decides
/// (`CategorizeEndpoints`, `pkg/proxy/topology.go`): readiness, endpoints that end but still serve, topology hints
/// and traffic policies.
///
/// [`Observed::Absent`] where kube-proxy does not serve the port in this family: headless, ExternalName, no address
/// of the family, another proxy's.
pub fn service_endpoints(
    cluster: &Cluster,
    service: &Service,
    port: &ServicePort,
    node: &NodeName,
    family: Family,
) -> Observed<ServiceEndpoints> {
    let Some(port) = proxied(service, port, family) else { return Observed::Absent };
    cluster.endpoint_slices.as_ref().map(|_| {
        let all = endpoints_of(cluster.slices_of(service), node, family);
        let endpoints = all.get(&port.name).map(Vec::as_slice).unwrap_or_default();
        categorize(endpoints, &port, node, zone_of(cluster, node))
    })
}

/// The zone of a node, empty where it has none.
pub(super) fn zone_of<'a>(cluster: &'a Cluster, node: &NodeName) -> &'a str {
    let labels = cluster.node(node).map(|it| &it.metadata.labels);
    labels.and_then(|it| it.get("topology.kubernetes.io/zone")).map_or("", String::as_str)
}

/// An endpoint with everything that decides whether it is used (`BaseEndpointInfo`, `pkg/proxy/endpoint.go`).
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    endpoint: ServiceEndpoint,
    is_serving: bool,
    is_terminating: bool,
    zones: BTreeSet<String>,
    nodes: BTreeSet<String>,
}

/// The endpoints in some slices by port, each port's in the order of their texts
/// (`pkg/proxy/endpointslicecache.go`).
pub(super) fn endpoints_of<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    node: &NodeName,
    family: Family,
) -> BTreeMap<ServicePortName, Vec<Candidate>> {
    let mut by_text: BTreeMap<ServicePortName, BTreeMap<String, Candidate>> = BTreeMap::new();
    for slice in slices.filter(|it| it.address_type == family.api_name() && is_watched(&it.metadata.labels)) {
        let service = slice.metadata.labels.get("kubernetes.io/service-name").filter(|it| !it.is_empty());
        let Some(service) = service else { continue };
        for port in &slice.ports {
            // A port without a number stands for all ports, which kube-proxy does not serve.
            let (Some(port_name), Some(number @ 1..)) = (&port.name, port.port) else { continue };
            let name = ServicePortName {
                namespace: slice.metadata.namespace.clone(),
                name: service.clone(),
                port: port_name.clone(),
                protocol: port.protocol,
            };
            let known = by_text.entry(name).or_default();
            for endpoint in &slice.endpoints {
                let Some(candidate) = candidate(endpoint, number, node) else { continue };
                let text = candidate.endpoint.address.to_string();
                if candidate.endpoint.is_local || !known.contains_key(&text) {
                    known.insert(text, candidate);
                }
            }
        }
    }
    by_text.into_iter().map(|(name, endpoints)| (name, endpoints.into_values().collect())).collect()
}

fn candidate(endpoint: &Endpoint, port: u16, node: &NodeName) -> Option<Candidate> {
    let address = parse_sloppy(endpoint.addresses.first()?)?;
    let conditions = &endpoint.conditions;
    let hints = endpoint.hints.clone().unwrap_or_default();
    let pod = endpoint.target_ref.as_ref().filter(|it| it.kind == "Pod");
    Some(Candidate {
        endpoint: ServiceEndpoint {
            address: SocketAddr::new(address, port),
            is_local: endpoint.node_name.as_deref() == Some(node.as_str()),
            is_ready: conditions.ready.unwrap_or(true),
            node: endpoint.node_name.as_deref().map(NodeName::from),
            pod: pod.map(|it| PodName::new(&it.namespace, &it.name)),
        },
        is_serving: conditions.serving.unwrap_or(true),
        is_terminating: conditions.terminating.unwrap_or(false),
        zones: hints.for_zones.into_iter().map(|it| it.name).collect(),
        nodes: hints.for_nodes.into_iter().map(|it| it.name).collect(),
    })
}

impl Candidate {
    fn is_ready(&self) -> bool {
        self.endpoint.is_ready
    }

    /// Does it end and still answer?
    fn serves_to_the_end(&self) -> bool {
        self.is_serving && self.is_terminating
    }
}

/// Which hints of the endpoints are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Topology {
    None,
    SameNode,
    SameZone,
}

pub(super) fn categorize(
    endpoints: &[Candidate],
    port: &ProxiedPort,
    node: &NodeName,
    zone: &str,
) -> ServiceEndpoints {
    let select = |keep: &dyn Fn(&Candidate) -> bool| -> Vec<ServiceEndpoint> {
        endpoints.iter().filter(|it| keep(it)).map(|it| it.endpoint.clone()).collect()
    };
    let topology = topology(endpoints, node, zone);
    let is_near = |it: &Candidate| match topology {
        Topology::None => true,
        Topology::SameNode => it.nodes.contains(node.as_str()),
        Topology::SameZone => it.zones.contains(zone),
    };
    let mut used = ServiceEndpoints {
        internal_local: port.internal_policy_local,
        external_local: port.external_policy_local,
        ..ServiceEndpoints::default()
    };
    if port.uses_cluster_endpoints() {
        used.cluster = select(&|it| it.is_ready() && is_near(it));
        if used.cluster.is_empty() {
            used.cluster = select(&Candidate::serves_to_the_end);
        }
        used.has_any = !used.cluster.is_empty();
    }
    if port.uses_local_endpoints() {
        used.has_any |= endpoints.iter().any(|it| it.is_ready() || it.serves_to_the_end());
        used.local = select(&|it| it.endpoint.is_local && it.is_ready());
        if used.local.is_empty() {
            used.local = select(&|it| it.endpoint.is_local && it.serves_to_the_end());
        }
    }
    let both = used.cluster.iter().chain(&used.local);
    let sorted: BTreeMap<String, &ServiceEndpoint> = both.map(|it| (it.address.to_string(), it)).collect();
    used.reachable = sorted.into_values().cloned().collect();
    used
}

/// Hints count where every ready endpoint has one and one of them is meant for this client
/// (`topologyModeFromHints`; node hints are on by default since 1.34).
fn topology(endpoints: &[Candidate], node: &NodeName, zone: &str) -> Topology {
    let ready = || endpoints.iter().filter(|it| it.is_ready());
    let all_name_nodes = ready().all(|it| !it.nodes.is_empty());
    let all_name_zones = ready().all(|it| !it.zones.is_empty());
    if all_name_nodes && ready().any(|it| it.nodes.contains(node.as_str())) {
        return Topology::SameNode;
    }
    if all_name_zones && ready().any(|it| it.zones.contains(zone)) {
        return Topology::SameZone;
    }
    Topology::None
}
