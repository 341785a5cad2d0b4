//! The ports of Services as kube-proxy sees them.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use hopwise_snapshot::{LoadBalancerIngress, Protocol, Service, ServicePort};
use ipnet::IpNet;

use crate::{
    Family,
    family::{parse_net_sloppy, parse_sloppy},
};

/// Services of another proxy carry this label (`service.kubernetes.io/service-proxy-name`).
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Headless Services carry this label, and so do their EndpointSlices.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Does kube-proxy look at an object with these labels (the selector of its informers,
/// Kubernetes 1.34 `cmd/kube-proxy/app/server.go`)?
pub(super) fn is_watched(labels: &BTreeMap<String, String>) -> bool {
    !labels.contains_key(PROXY_NAME) && !labels.contains_key(HEADLESS)
}

/// What identifies a port of a Service: chain names are made of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortName {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The port's name; empty where the Service has one port.
    pub port: String,
    /// The port's protocol.
    pub protocol: Protocol,
}

impl ServicePortName {
    /// The name of a port of a Service.
    pub fn new(service: &Service, port: &ServicePort) -> Self {
        Self {
            namespace: service.metadata.namespace.clone(),
            name: service.metadata.name.clone(),
            port: port.name.clone(),
            protocol: port.protocol,
        }
    }
}

/// `NAMESPACE/NAME` or `NAMESPACE/NAME:PORT`, as in rule comments.
impl fmt::Display for ServicePortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        if self.port.is_empty() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// A port of a Service in one address family (`BaseServicePortInfo`, Kubernetes 1.34 `pkg/proxy/serviceport.go`).
#[derive(Clone, Debug)]
pub(super) struct ProxiedPort {
    pub(super) name: ServicePortName,
    pub(super) cluster_ip: IpAddr,
    pub(super) port: u16,
    pub(super) node_port: Option<u16>,
    pub(super) external_ips: Vec<IpAddr>,
    pub(super) load_balancer_ips: Vec<IpAddr>,
    /// Empty means every client.
    pub(super) source_ranges: Vec<IpNet>,
    pub(super) health_check_node_port: Option<u16>,
    /// Seconds; none without affinity.
    pub(super) affinity_seconds: Option<u32>,
    pub(super) external_policy_local: bool,
    pub(super) internal_policy_local: bool,
}

impl ProxiedPort {
    /// Is it reachable by anything but its cluster address?
    pub(super) fn is_externally_accessible(&self) -> bool {
        self.node_port.is_some() || !self.load_balancer_ips.is_empty() || !self.external_ips.is_empty()
    }

    /// Does any traffic to it go by policy `Cluster`? What is externally accessible always does: traffic of local
    /// pods and of the node itself ignores the external policy.
    pub(super) fn uses_cluster_endpoints(&self) -> bool {
        !self.internal_policy_local || self.is_externally_accessible()
    }

    /// Does any traffic to it go by policy `Local`?
    pub(super) fn uses_local_endpoints(&self) -> bool {
        self.internal_policy_local || (self.external_policy_local && self.is_externally_accessible())
    }
}

/// The ports of a Service that kube-proxy serves in a family: none for a headless Service, an ExternalName, one
/// without an address of the family and one that another proxy serves.
pub(super) fn proxied_ports(service: &Service, family: Family) -> Vec<ProxiedPort> {
    let Some(cluster_ip) = cluster_ip(service, family) else { return Vec::new() };
    service.spec.ports.iter().map(|it| proxied_port(service, it, cluster_ip, family)).collect()
}

/// One port of a Service as kube-proxy serves it in a family.
pub(super) fn proxied(service: &Service, port: &ServicePort, family: Family) -> Option<ProxiedPort> {
    Some(proxied_port(service, port, cluster_ip(service, family)?, family))
}

fn cluster_ip(service: &Service, family: Family) -> Option<IpAddr> {
    let spec = &service.spec;
    let first = spec.cluster_ip.as_deref().unwrap_or_default();
    let is_proxied =
        is_watched(&service.metadata.labels) && !matches!(first, "" | "None") && spec.kind != "ExternalName";
    if !is_proxied {
        return None;
    }
    if spec.ip_families.is_empty() {
        return parse_sloppy(first).filter(|it| Family::of(*it) == family);
    }
    let index = spec.ip_families.iter().position(|it| it == family.api_name())?;
    parse_sloppy(spec.cluster_ips.get(index)?)
}

fn proxied_port(service: &Service, port: &ServicePort, cluster_ip: IpAddr, family: Family) -> ProxiedPort {
    let spec = &service.spec;
    let is_external = matches!(spec.kind.as_str(), "LoadBalancer" | "NodePort")
        || (spec.kind == "ClusterIP" && !spec.external_ips.is_empty());
    let external_policy_local = is_external && spec.external_traffic_policy == "Local";
    let needs_health_check = spec.kind == "LoadBalancer" && external_policy_local;
    let of_family = |it: &IpAddr| Family::of(*it) == family;
    let is_vip = |it: &&LoadBalancerIngress| it.ip_mode.as_deref().is_none_or(|mode| mode == "VIP");
    let ingress = service.status.load_balancer.ingress.iter().filter(is_vip);
    ProxiedPort {
        name: ServicePortName::new(service, port),
        cluster_ip,
        port: port.port,
        node_port: port.node_port.filter(|it| *it != 0),
        external_ips: spec.external_ips.iter().filter_map(|it| parse_sloppy(it)).filter(of_family).collect(),
        load_balancer_ips: ingress
            .filter_map(|it| parse_sloppy(it.ip.as_deref()?))
            .filter(of_family)
            .collect(),
        source_ranges: source_ranges(service, family),
        health_check_node_port: spec.health_check_node_port.filter(|it| needs_health_check && *it != 0),
        affinity_seconds: affinity_seconds(service),
        external_policy_local,
        internal_policy_local: spec.internal_traffic_policy == "Local",
    }
}

/// The clients that load balancer addresses take; a range of length 0 among them means all.
fn source_ranges(service: &Service, family: Family) -> Vec<IpNet> {
    let texts = &service.spec.load_balancer_source_ranges;
    let ranges: Vec<IpNet> = texts
        .iter()
        .filter_map(|it| parse_net_sloppy(it.trim()))
        .filter(|it| Family::of_net(it) == family)
        .collect();
    if ranges.iter().any(|it| it.prefix_len() == 0) { Vec::new() } else { ranges }
}

/// The API server fills in 10800 seconds where a Service with affinity names none.
fn affinity_seconds(service: &Service) -> Option<u32> {
    let config = service.spec.session_affinity_config.as_ref();
    let seconds = config.and_then(|it| it.client_ip.as_ref()).and_then(|it| it.timeout_seconds);
    (service.spec.session_affinity == "ClientIP").then(|| seconds.unwrap_or(10_800))
}
